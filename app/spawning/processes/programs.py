"""The allow-list of programs: settings decide what may run, requests never do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.spawning.ports import Job

MAX_OUTPUT_BYTES = 8 * 1024 * 1024

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ")
_FALLBACK = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One entry of the allow-list.

    `path` is absolute. `env` is added to the scrubbed environment. Arguments of a request are refused unless
    `allow_args`, and then follow `args`. `timeout_s` is counted from the start, also while the task is suspended.
    Without `cwd` it runs where the server runs. Standard output beyond `max_output_bytes` fails the attempt.
    """

    path: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float | None = None
    cwd: str | None = None
    allow_args: bool = False
    max_output_bytes: int = MAX_OUTPUT_BYTES

    def __post_init__(self) -> None:
        if not Path(self.path).is_absolute():
            raise ValueError(f"the path of a program is absolute, and {self.path!r} is not")


def environment(program: Program, job: Job, handle: str) -> dict[str, str]:
    """Return the child's whole environment; none of the server's own secrets is in it."""
    kept = {name: value for name in _KEPT if (value := os.environ.get(name)) is not None}
    return {
        **_FALLBACK,
        **kept,
        **program.env,
        "SWARMHOLD_HANDLE": handle,
        "SWARMHOLD_BASE_URL": job.base_url,
        "SWARMHOLD_TASK_ID": job.task_id,
        "SWARMHOLD_ATTEMPT": str(job.attempt),
        "SWARMHOLD_AGENT": job.agent,
    }
