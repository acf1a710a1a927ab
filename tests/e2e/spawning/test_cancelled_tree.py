"""Cancelling a tree of tasks on a real server: no process, claim, call, question or credential of it is left."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from swarmhold.models.attempts import Retry
from swarmhold.models.enums import OnDeadline, QuestionStatus, RetryOn, Role, Status, Verb
from tests.support.pids import alive
from tests.support.rigs.inside import ChildWorker
from tests.support.rigs.rig import ControlledWorker
from tests.support.rigs.stage import CANCELLED, FAILED, Stage, conflict, open_stage
from tests.support.rigs.table import RIGS
from tests.support.waiting import eventually

MAY_USE = sorted({rig.kind for rig in RIGS.values()})


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A server whose workers may use every spawner."""
    opened = {
        "SWARMHOLD_SPAWN__WORKER_SPAWNERS": json.dumps(MAY_USE),
        "SWARMHOLD_SPAWN__WORKER_FUNCTIONS": json.dumps(["obey"]),
    }
    async with open_stage(tmp_path, **opened) as made:
        await made.connect()
        yield made


@dataclass(frozen=True, slots=True)
class Tree:
    """Grows a tree: each worker starts and dispatches the tasks below its own."""

    stage: Stage

    async def root(self) -> ControlledWorker:
        """The task of an operator."""
        rig, task_id = RIGS["external"](self.stage), await self.stage.task("root")
        return await rig.begin(task_id)

    async def child(
        self, parent: ControlledWorker, name: str, *, layers: tuple[str, ...] = (), retry: Retry | None = None
    ) -> ControlledWorker:
        """A child and its worker at work."""
        caller, rig = self.stage.worker(parent.handle), RIGS[name](self.stage)
        child = await caller.start_task("coder", f"{name} of {parent.task_id}", retry=retry)
        assert child.parent_task_id == parent.task_id
        await rig.dispatch(child.id, layers=layers, by=caller)
        return await rig.running(child.id)


async def test_nothing_of_a_cancelled_tree_is_left_alive(stage: Stage) -> None:
    """Four levels of every spawner, parked questions, a held Final, a planned retry, and what children leave behind."""
    tree = Tree(stage)
    root = await tree.root()
    process = await tree.child(root, "process")
    queue = await tree.child(process, "queue")
    function = await tree.child(queue, "in_process")
    asking = await tree.child(root, "external")
    backend = await tree.child(asking, "operator")
    replying = await tree.child(backend, "operator-replying")
    site = await tree.child(root, "http")
    called = await tree.child(site, "http-replying")
    workers = [root, process, queue, function, asking, backend, replying, site, called]
    held = await tree.child(root, "external", layers=("senior_escalation",))
    await held.finish("no luck", ok=False)
    tried_again = await tree.child(root, "queue", retry=Retry(max_attempts=2, backoff=3600, on=(RetryOn.BLOCKED,)))
    await tried_again.finish("no luck", ok=False)
    pending = await stage.worker(root.handle).start_task("coder", "never dispatched")
    passed = await tree.child(root, "external")
    await passed.finish("done")
    assert isinstance(process, ChildWorker)
    pids = [process.caller.pid, *await process.start_children()]
    await process.ignore_sigterm()
    soon = datetime.now(UTC) + timedelta(hours=1)
    keys = [(await stage.worker(worker.handle).ask("May I?")).key for worker in (asking, function, replying)]
    keys.append((await stage.worker(site.handle).ask("Or?", deadline=soon, on_deadline=OnDeadline.BLOCK)).key)
    minted = await stage.operator.mint_token("helper", role=Role.WORKER, ttl=timedelta(hours=1), task_id=queue.task_id)

    await stage.operator.cancel(root.task_id, reason="enough")

    for worker in workers:
        await worker.stop_noticed()
        await stage.over(worker.task_id, Status.CANCELLED, CANCELLED)
        await stage.dead(worker.handle, CANCELLED)
        await conflict("cancelled", stage.worker(worker.handle).start_task("coder", "one more"))
        await conflict("cancelled", stage.worker(worker.handle).ask("One more?"))
    await stage.over(held.task_id, Status.CANCELLED, CANCELLED)
    await stage.over(tried_again.task_id, Status.CANCELLED, FAILED)
    assert (await stage.operator.task(pending.id)).status is Status.CANCELLED
    assert (await stage.operator.task(passed.task_id)).last_result == "done"
    await eventually(lambda: not any(alive(pid) for pid in pids), awaited="the child's processes to be gone")
    assert await stage.senior.open_questions() == []
    assert {(await stage.senior.question(key)).status for key in keys} == {QuestionStatus.WITHDRAWN}
    verdict = await stage.operator.verify_token(minted.token, Verb.FETCH_PROMPT)
    assert (verdict.valid, verdict.code) == (False, "token-revoked")

    async def nothing_live() -> bool:
        return not (await stage.operator.stats()).attempts

    await eventually(nothing_live, awaited="no attempt to be open")


async def test_a_worker_cancels_its_descendants_and_nothing_else(stage: Stage) -> None:
    """Its child with that one's children ends; it goes on itself, and so does the task beside."""
    tree = Tree(stage)
    root = await tree.root()
    child, beside = await tree.child(root, "process"), await tree.child(root, "in_process")
    deep = await tree.child(child, "queue")
    await stage.worker(root.handle).cancel(child.task_id)

    for worker in (child, deep):
        await worker.stop_noticed()
        await stage.over(worker.task_id, Status.CANCELLED, CANCELLED)
    assert (await stage.worker(beside.handle).heartbeat()).cancelled is False
    assert (await stage.worker(root.handle).heartbeat()).cancelled is False
    await stage.operator.cancel(root.task_id)
    await beside.stop_noticed()
