"""What a killed server leaves behind is found and ended by the next one, and nothing else is."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.domain.ids import IdSource
from app.domain.json import Json
from app.spawning.adapters.process import reap
from tests.support.control import TASK, job
from tests.support.pids import alive
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]

SERVER = """
import asyncio, json, sys
from pathlib import Path
from typing import Any
from app.spawning.adapters.process import ProgramList
from app.spawning.processes.programs import Program
from tests.support.control import RecordedControl, job

async def main():
    task_id, script, record = sys.argv[1:]
    programs = ProgramList({"sh": Program(path="/bin/sh", args=("-c", script))})
    control = RecordedControl()
    worker = await programs.build({"kind": "process", "program": "sh"}).spawn(job(task_id=task_id), control)
    Path(record).write_text(json.dumps(control.processes[0]))
    await worker.join()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def killed_server(script: str, tmp_path: Path, *, until: tuple[Path, ...]) -> Json:
    """The process record that a server left which started `script` and was killed when those files were there."""
    record = tmp_path / "record"
    with subprocess.Popen([sys.executable, "-c", SERVER, TASK, script, str(record)], cwd=ROOT) as server:
        try:
            files = (record, *until)
            wait_until(lambda: all(file.exists() and file.read_text().endswith(("}", "\n")) for file in files))
        finally:
            server.send_signal(signal.SIGKILL)
    return Json.of(json.loads(record.read_text()))


def test_a_whole_group_is_found_after_kill_9(tmp_path: Path) -> None:
    """The leader, its children, and one that moved to a session of its own."""
    child, stray = tmp_path / "child", tmp_path / "stray"
    script = f"sleep 1000 & echo $! > {child}; setsid sh -c 'echo $$ > {stray}; exec sleep 1000' & wait"
    record = killed_server(script, tmp_path, until=(child, stray))
    pids = [record.value["pid"], int(child.read_text()), int(stray.read_text())]
    assert all(alive(pid) for pid in pids)

    asyncio.run(reap(job(process=record), 5))
    asyncio.run(reap(job(process=record), 5))

    assert not any(alive(pid) for pid in pids)


def test_orphans_whose_leader_is_dead_are_found_by_their_marks(tmp_path: Path) -> None:
    """The group's id proves nothing any more; the environment of each does."""
    child = tmp_path / "child"
    script = f"trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > {child}; while :; do sleep 1; done' & wait"
    record = killed_server(script, tmp_path, until=(child,))
    os.kill(record.value["pid"], signal.SIGKILL)
    orphan = int(child.read_text())
    wait_until(lambda: not alive(record.value["pid"]))
    assert alive(orphan)

    asyncio.run(reap(job(process=record), 0.05))

    assert not alive(orphan)


def test_a_child_that_was_never_recorded_is_found_too(tmp_path: Path) -> None:
    """A server that died between start and record leaves nothing either."""
    ready = tmp_path / "ready"
    record = killed_server(f"echo 1 > {ready}; exec sleep 1000", tmp_path, until=(ready,))
    assert alive(record.value["pid"])

    asyncio.run(reap(job(process=None), 1))

    assert not alive(record.value["pid"])


@pytest.mark.parametrize("fields", [{"attempt": 2}, {"task_id": IdSource().task()}])
def test_another_attempts_process_is_left_alone(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Neither a retry nor another task ends it without its record."""
    ready = tmp_path / "ready"
    record = killed_server(f"echo 1 > {ready}; exec sleep 1000", tmp_path, until=(ready,))
    asyncio.run(reap(job(process=None, **fields), 0))
    assert alive(record.value["pid"])

    asyncio.run(reap(job(process=record), 1))
    assert not alive(record.value["pid"])
