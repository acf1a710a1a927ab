"""A release is started on what an earlier one left: a node stopped in the middle of its work goes on with it."""

import asyncio
import json
import tarfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.bootstrap.keyring import open_keyring
from app.cli import database
from app.config import load
from app.state import audit_log, migrations
from swarmhold import Job, SwarmholdClient
from swarmhold.models.enums import Status
from swarmhold.models.shapes import JsonValue
from swarmhold.models.spawners import ExternalSpawner
from tests.conftest import StartServer
from tests.e2e.upgrade.preserve import NOTES
from tests.support.processes import ServerProcess
from tests.support.sources import ROOT

HERE = ROOT / "tests" / "e2e" / "upgrade"
PRESERVED = sorted(path.name for path in HERE.glob("schema-*.tar.xz"))
SOON = timedelta(seconds=60)

# What was preserved grows old; it is here to be gone on with.
KEEPING = {f"SWARMHOLD_RETENTION__{kind}": "never" for kind in ("FINISHED", "BLOCKED", "EVENTS", "SESSIONS")}


@pytest.fixture(params=PRESERVED)
def past(request: pytest.FixtureRequest, data_dir: Path) -> dict[str, Any]:
    """A data directory as an earlier release left it; the notes say what is in it."""
    with tarfile.open(HERE / request.param) as archive:
        archive.extractall(data_dir, filter="data")
    return json.loads((data_dir / NOTES).read_text())


@pytest.fixture
def node(past: dict[str, Any], data_dir: Path, start_server: StartServer) -> ServerProcess:
    """This release on that directory."""
    return start_server(data_dir=data_dir, settings=KEEPING)


async def test_what_waited_goes_on(past: dict[str, Any], node: ServerProcess) -> None:
    """The parked question is answered, old handles stay valid, queued attempts are claimed, and results are kept."""
    async with SwarmholdClient(node.url) as server:
        operator = await server.attach_operator(node.root_key(), "present")
        senior = await server.attach_senior(node.root_key(), "present")
        passed = await operator.task(past["passed"])
        assert (passed.status, passed.last_result) == (Status.PASS, {"said": "done"})
        assert [output.type for output in await operator.output(passed.id, 1)] == ["progress", "final"]

        asker = server.worker(past["asking"]["handle"])
        await senior.answer(past["asking"]["question"], "yes")
        assert await asker.await_answer(past["asking"]["question"], deadline=SOON) == "yes"
        await asker.submit({"went": "on"})
        holder = server.worker(past["held"]["handle"])
        assert (await holder.prompt()).prompt == "What the holder is to do."
        await holder.submit_text("held out")

        async def work(job: Job) -> JsonValue:
            worker.stop()
            return job.prompt

        worker = server.queue_worker(node.root_key(), "past", work)
        await asyncio.wait_for(worker.run(), SOON.total_seconds())
        attempt = await operator.dispatch(past["pending"], ExternalSpawner())
        await server.worker(attempt.worker_handle or "").submit("begun")

        ids = (past["asking"]["task"], past["held"]["task"], past["queued"], past["pending"])
        settled = [await operator.wait_for(id, deadline=SOON) for id in ids]
        assert [(one.status, one.last_result) for one in settled] == [
            (Status.PASS, {"went": "on"}),
            (Status.PASS, "held out"),
            (Status.PASS, "What the queued is to do."),
            (Status.PASS, "begun"),
        ]
        assert await server.admin(node.root_key()).webhooks() == []


def test_the_audit_log_of_before_is_sealed(node: ServerProcess) -> None:
    """Rows from before there were keys for them are sealed by one row, once; the whole log verifies."""
    node.restart()
    settings = load(environ={"SWARMHOLD_DATA_DIR": str(node.data_dir)}).settings
    ring = open_keyring(settings.keys_path)
    rows, broken = database.read(
        settings, lambda state: (audit_log.page(state.db, 0), audit_log.verify(state.db, ring.seal()))
    )

    assert broken is None
    assert ring.audit_sealed
    unsealed = [row.seq for row in rows if row.seal_key is None]
    assert [row.seq for row in rows if row.action == audit_log.SEALED] == [len(unsealed) + 1] * bool(unsealed)


def test_the_newest_schema_is_preserved() -> None:
    """A new migration needs a preserved database of its schema: `python -m tests.e2e.upgrade.preserve`."""
    assert f"schema-{migrations.head()}.tar.xz" in PRESERVED
