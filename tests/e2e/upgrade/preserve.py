"""Preserve the data directory of a release in the middle of its work, so that later releases are started on it.

    python -m tests.e2e.upgrade.preserve tests/e2e/upgrade/schema-0002.tar.xz

It runs the `swarmhold` of its own environment; for an older release set PYTHONPATH to that release's checkout. It
speaks HTTP alone, so that it fits every release. What is left behind is good for ten years.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.support.ports import LOOPBACK, free_port
from tests.support.waiting import wait_until

TEN_YEARS = 315_360_000
NOTES = "notes.json"


def main(target: Path) -> None:
    """Write the archive."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        with _serving(data) as http:
            notes = _work(http, (data / "root.key").read_text().strip())
        (data / NOTES).write_text(json.dumps(notes, indent=2))
        with tarfile.open(target, "w:xz") as archive:
            for path in sorted(data.iterdir()):
                if path.suffix != ".lock":
                    archive.add(path, path.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


@contextlib.contextmanager
def _serving(data: Path) -> Iterator[httpx.Client]:
    port = free_port()
    lives = {"SWARMHOLD_ENGINE__HANDLE_LIFE": str(TEN_YEARS), "SWARMHOLD_DATA_DIR": str(data)}
    # Releases before schema 0004 have no such limit; leave it out for them.
    lives["SWARMHOLD_LIMITS__SESSION_LIFE"] = str(TEN_YEARS)
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **lives})
    try:
        with httpx.Client(base_url=f"http://{LOOPBACK}:{port}/v1", trust_env=False) as http:
            wait_until(lambda: _answers(http))
            yield http
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get(str(http.base_url).replace("/v1/", "/readyz")).is_success
    except httpx.TransportError:
        return False


def _work(http: httpx.Client, root_key: str) -> dict[str, Any]:
    """Leave one task in each state that has to go on: what to go on with, by name."""

    def call(credential: str, path: str, body: Any) -> Any:
        reply = http.post(path, json=body, headers={"Authorization": f"Bearer {credential}"})
        assert reply.is_success, reply.text
        return reply.json() if reply.content else None

    attached = call(root_key, "/operator/sessions", {"operator_id": "past", "role": "operator", "ttl": TEN_YEARS})
    token = attached["token"]

    def task(agent: str, spawner: dict[str, Any] | None) -> tuple[str, str | None]:
        body = {"agent": agent, "initial_directive": f"What the {agent} is to do.", "labels": {"made": "in the past"}}
        made = call(token, "/operator/tasks", body)["id"]
        if spawner is None:
            return made, None
        return made, call(token, f"/operator/tasks/{made}/dispatch", {"spawner": spawner}).get("worker_handle")

    passed, handle = task("passed", {"kind": "external"})
    call(handle or "", "/worker/output", {"type": "progress", "stage": "half"})
    call(handle or "", "/worker/submit", {"said": "done"})
    held, held_handle = task("holder", {"kind": "external"})
    asking, asking_handle = task("asker", {"kind": "external"})
    question = call(asking_handle or "", "/worker/questions", {"question": "Go on?", "choices": ["yes", "no"]})
    queued, _ = task("queued", {"kind": "queue", "queue": "past"})
    pending, _ = task("pending", None)
    return {
        "made_at": int(time.time()),
        "token": token,
        "passed": passed,
        "held": {"task": held, "handle": held_handle},
        "asking": {"task": asking, "handle": asking_handle, "question": question["key"]},
        "queued": queued,
        "pending": pending,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
