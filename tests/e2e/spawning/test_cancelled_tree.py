"""Cancelling a tree of tasks on a real server: no process, claim, call, question or credential of it is left."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from swarmhold.models.enums import OnDeadline, QuestionStatus, RetryOn, Role, Status, Verb
from swarmhold.models.retries import Retry
from tests.support.pids import alive
from tests.support.rigs.arena import CANCELLED, FAILED, Arena, arena, conflict
from tests.support.rigs.inside import ChildHand
from tests.support.rigs.rig import Hand
from tests.support.rigs.table import RIGS
from tests.support.waiting import eventually

MAY_USE = sorted({rig.kind for rig in RIGS.values()})


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Arena]:
    """A server whose workers may use every spawner."""
    async with arena(tmp_path, SWARMHOLD_ENGINE__WORKER_SPAWNERS=json.dumps(MAY_USE)) as made:
        await made.connect()
        yield made


@dataclass(frozen=True, slots=True)
class Family:
    """Grows a tree: each worker starts and dispatches the tasks below its own."""

    stage: Arena

    async def root(self) -> Hand:
        """The task of an operator."""
        rig, task_id = RIGS["external"](self.stage), await self.stage.task("root")
        return await rig.begin(task_id)

    async def below(self, above: Hand, name: str, *, layers: tuple[str, ...] = (), retry: Retry | None = None) -> Hand:
        """A child and its worker at work."""
        worker, rig = self.stage.worker(above.handle), RIGS[name](self.stage)
        child = await worker.start_task("coder", f"{name} below {above.task_id}", retry=retry)
        assert child.parent_task_id == above.task_id
        await rig.dispatch(child.id, layers=layers, by=worker)
        return await rig.running(child.id)


async def test_nothing_of_a_cancelled_tree_is_left_alive(stage: Arena) -> None:
    """Four levels of every spawner, parked questions, a held Final, a planned retry, and what children leave behind."""
    family = Family(stage)
    root = await family.root()
    process = await family.below(root, "process")
    queue = await family.below(process, "queue")
    function = await family.below(queue, "in_process")
    asking = await family.below(root, "external")
    backend = await family.below(asking, "operator")
    replying = await family.below(backend, "operator-replying")
    site = await family.below(root, "http")
    called = await family.below(site, "http-replying")
    workers = [root, process, queue, function, asking, backend, replying, site, called]
    held = await family.below(root, "external", layers=("senior_escalation",))
    await held.finish("no luck", ok=False)
    tried_again = await family.below(root, "queue", retry=Retry(max_attempts=2, backoff=3600, on=(RetryOn.BLOCKED,)))
    await tried_again.finish("no luck", ok=False)
    pending = await stage.worker(root.handle).start_task("coder", "never dispatched")
    passed = await family.below(root, "external")
    await passed.finish("done")
    assert isinstance(process, ChildHand)
    pids = [process.caller.pid, *await process.breed()]
    await process.turn_deaf()
    soon = datetime.now(UTC) + timedelta(hours=1)
    keys = [(await stage.worker(hand.handle).ask("May I?")).key for hand in (asking, function, replying)]
    keys.append((await stage.worker(site.handle).ask("Or?", deadline=soon, on_deadline=OnDeadline.BLOCK)).key)
    minted = await stage.operator.mint_token("helper", role=Role.WORKER, ttl=timedelta(hours=1), task_id=queue.task_id)

    await stage.operator.cancel(root.task_id, reason="enough")

    for hand in workers:
        await hand.told()
        await stage.over(hand.task_id, Status.CANCELLED, CANCELLED)
        await stage.dead(hand.handle, CANCELLED)
        await conflict("cancelled", stage.worker(hand.handle).start_task("coder", "one more"))
        await conflict("cancelled", stage.worker(hand.handle).ask("One more?"))
    await stage.over(held.task_id, Status.CANCELLED, CANCELLED)
    await stage.over(tried_again.task_id, Status.CANCELLED, FAILED)
    assert (await stage.operator.task(pending.id)).status is Status.CANCELLED
    assert (await stage.operator.task(passed.task_id)).last_result == "done"
    await eventually(lambda: not any(alive(pid) for pid in pids), awaited="the child's family to be gone")
    assert await stage.senior.open_questions() == []
    assert {(await stage.senior.question(key)).status for key in keys} == {QuestionStatus.WITHDRAWN}
    verdict = await stage.operator.verify_token(minted.token, Verb.FETCH_PROMPT)
    assert (verdict.valid, verdict.code) == (False, "token-revoked")

    async def nothing_live() -> bool:
        return not ((await stage.operator.stats()).model_extra or {})["attempts"]

    await eventually(nothing_live, awaited="no attempt to be open")


async def test_a_worker_cancels_what_is_below_it_and_nothing_else(stage: Arena) -> None:
    """Its child with that one's children ends; it goes on itself, and so does the task beside."""
    family = Family(stage)
    root = await family.root()
    child, beside = await family.below(root, "process"), await family.below(root, "in_process")
    deep = await family.below(child, "queue")
    await stage.worker(root.handle).cancel(child.task_id)

    for hand in (child, deep):
        await hand.told()
        await stage.over(hand.task_id, Status.CANCELLED, CANCELLED)
    assert (await stage.worker(beside.handle).heartbeat()).cancelled is False
    assert (await stage.worker(root.handle).heartbeat()).cancelled is False
    await stage.operator.cancel(root.task_id)
    await beside.told()
