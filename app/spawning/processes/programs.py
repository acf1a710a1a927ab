"""The allow-list of programs: settings decide what may run, requests never do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain import traces

if TYPE_CHECKING:
    from app.spawning.ports import Job

MAX_OUTPUT_BYTES = 8 * 1024 * 1024

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ")
_FALLBACK = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that may be started: one entry of the allow-list."""

    path: str
    """Absolute path of the program."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables that are added to the child's environment, which is otherwise reduced to a few harmless ones."""
    timeout_s: float | None = None
    """How long it may run, counted from its start, also while its task is suspended."""
    cwd: str | None = None
    """Absolute path of its working directory; by default the server's own."""
    allow_args: bool = False
    """Whether a dispatch may add arguments after these; otherwise one that names any is refused."""
    max_output_bytes: int = MAX_OUTPUT_BYTES
    """Bytes of standard output beyond which the attempt fails."""

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
        **({} if job.trace is None else _trace_variables(job.trace)),
    }


def _trace_variables(trace: str) -> dict[str, str]:
    return {name.upper(): value for name, value in traces.fields(trace).items()}
