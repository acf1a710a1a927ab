"""Cancelling a tree: nothing that could act, wait or be waited for is left alive under it."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from app.domain.access import ENGINE, Role, Verb
from app.domain.attempts import LIVE
from app.domain.errors import Cancelled, InvalidTransition, QuestionClosed, TokenRevoked
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline
from app.domain.tasks import RetryPolicy, Status
from app.domain.tokens import CapToken, Handle
from app.engine.ops import cancelling
from app.state.state import State
from app.state.tables import TASKS
from tests.support.clocks import HandClock
from tests.support.scripted import IN_PROCESS, ScriptedFunction
from tests.support.swarms import EXTERNAL, Plan, Swarm, Work, crash, refused, unchanged, values
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
KEY = "shk_" + "w" * 40
QUEUE: dict[str, Any] = {"kind": "queue", "queue": "q"}


TREE = """
WITH RECURSIVE tree(id) AS (
    SELECT id FROM tasks WHERE id = {root} UNION ALL SELECT t.id FROM tasks t JOIN tree ON t.parent_task_id = tree.id
) SELECT * FROM {table} WHERE {task} IN (SELECT id FROM tree) AND ({alive})
"""

PHASES = ", ".join(f"'{phase.value}'" for phase in sorted(LIVE))

ALIVE = {
    "unsettled tasks": ("tasks", "id", "status NOT IN ('pass', 'cancelled')"),
    "planned attempts": ("tasks", "id", "retry_at IS NOT NULL OR live <> 0"),
    "awaited answers": ("tasks", "id", "open_questions <> 0"),
    "live attempts": ("attempts", "task_id", f"phase IN ({PHASES})"),
    "running clocks": ("attempts", "task_id", "due_at IS NOT NULL"),
    "open questions": ("questions", "task_id", "status = 'open'"),
    "deadlines": ("questions", "task_id", "due_at IS NOT NULL"),
    "tokens": ("tokens", "task_id", "revoked_at IS NULL"),
}


async def alive_below(swarm: Swarm, root: str) -> dict[str, int]:
    """How much of what is not over in the tree."""

    def count(state: State, table: str, task: str, alive: str) -> int:
        return len(state.db.query(TREE.format(root=f"'{root}'", table=table, task=task, alive=alive), ()))

    counts = {
        name: await swarm.engine.store.read(lambda s, where=where: count(s, *where)) for name, where in ALIVE.items()
    }
    return {name: number for name, number in counts.items() if number}


async def test_nothing_of_a_tree_is_left_alive(swarm: Swarm, function: ScriptedFunction) -> None:
    """Children of every kind, parked questions, deadlines, planned retries, functions, minted tokens."""
    engine = swarm.engine
    await engine.keys.ensure_root(KEY)
    root = await swarm.external(lease=HOUR)
    running = await swarm.external_child(root)
    deep = await swarm.external_child(await swarm.external_child(running))
    pending = await swarm.child(root)
    asking = await swarm.external_child(root)
    deadline = swarm.clock() + 60_000
    key = (
        await engine.questions.ask(
            asking.handle, Ask(question=Json.of("?"), deadline=deadline, on_deadline=OnDeadline.BLOCK)
        )
    ).key
    held = await swarm.child(root)
    made, _ = await engine.dispatcher.dispatch(root.handle, held, EXTERNAL, layers=("senior_escalation",))
    await engine.workers.submit(Handle(str(made.handle)), Json.of("no"), ok=False)
    inside = await swarm.child(root)
    await engine.dispatcher.dispatch(root.handle, inside, IN_PROCESS)
    await function.called.wait()
    queued, claimed = await swarm.child(root), await swarm.child(root)
    retried = await swarm.child(root, retry=RetryPolicy(max_attempts=3, on=("blocked",)))
    for task_id in (claimed, retried, queued):
        await engine.dispatcher.dispatch(root.handle, task_id, QUEUE)
    claims = [await engine.workers.claim(KEY, queue="q", hold=timedelta(0)) for _ in range(2)]
    assert claims[1] is not None
    await engine.workers.submit(Handle(claims[1].handle), Json.of("no"), ok=False)
    passed = await swarm.external_child(root)
    below_passed = await swarm.external_child(passed)
    await swarm.submit(passed)
    minted = [
        (await engine.credentials.mint(swarm.operator, agent_id="m", role=Role.WORKER, ttl=HOUR, task_id=task_id)).token
        for task_id in (root.task_id, deep.task_id, pending, passed.task_id, queued)
    ]
    tokens = [await swarm.worker_token(work) for work in (root, running, deep, asking, below_passed)]
    parked = [
        asyncio.ensure_future(engine.poll_task(swarm.operator, root.task_id, HOUR)),
        asyncio.ensure_future(engine.await_resume(key, HOUR)),
        asyncio.ensure_future(engine.dispatcher.join(inside, 1, None)),
    ]
    await asyncio.sleep(0)

    state = await engine.cancel_task(swarm.operator, root.task_id, reason="enough")

    assert state.status is Status.CANCELLED
    assert await alive_below(swarm, root.task_id) == {}
    assert await swarm.status(passed.task_id) is Status.PASS
    for token in minted:
        await refused(TokenRevoked, engine.verify_token(token, Verb.FETCH_PROMPT))
    for token in tokens:
        await refused(Cancelled, engine.verify_token(token, Verb.FETCH_PROMPT))
    for work in (root, running, deep, asking, below_passed):
        await refused(Cancelled, engine.workers.payload(work.handle))
    async with asyncio.timeout(60):
        polled, awaited, joined = await asyncio.gather(*parked, return_exceptions=True)
    assert getattr(polled, "status", None) is Status.CANCELLED
    assert isinstance(awaited, QuestionClosed)
    assert str(getattr(joined, "outcome", None)) == "cancelled"
    await eventually(lambda: function.cancelled == 1 and not engine.dispatcher.running)
    await swarm.pass_time(30 * 86400)
    assert await alive_below(swarm, root.task_id) == {}
    assert await engine.workers.claim(KEY, queue="q", hold=timedelta(0)) is None
    assert function.calls[0].stopping


async def test_the_feed_tells_who_and_why(swarm: Swarm) -> None:
    """One event per task, with the canceller, and the reason on the one that was meant."""
    root = await swarm.external()
    child = await swarm.external_child(root)
    await swarm.engine.cancel_task(swarm.operator, root.task_id, reason="enough")

    told = {x.task_id: values(x) for x in await swarm.events() if x.kind == "task_cancelled"}

    assert told == {
        root.task_id: {"by": "operator", "reason": "enough"},
        child.task_id: {"by": "operator", "reason": f"{root.task_id} was cancelled"},
    }


async def test_cancelling_twice_changes_nothing(swarm: Swarm) -> None:
    """The second call succeeds and writes nothing; a passed task is not cancelled."""
    work, done = await swarm.external(), await swarm.external()
    await swarm.engine.cancel_task(swarm.operator, work.task_id)
    before = await swarm.dump()
    await swarm.engine.cancel_task(swarm.operator, work.task_id)
    assert await swarm.dump() == before
    await swarm.submit(done)
    await refused(InvalidTransition, swarm.engine.cancel_task(swarm.operator, done.task_id))


async def test_cancel_races_everything(swarm: Swarm) -> None:
    """Against Finals, answers, dispatches and new children, a cancelled task stays cancelled with all under it."""
    engine = swarm.engine
    for n in range(12):
        root = await swarm.external()
        child = await swarm.external_child(root)
        asking = await swarm.external_child(root)
        key = await engine.query_senior(asking.handle, asking.task_id, "?")
        pending = await swarm.child(root)
        calls: list[Any] = [
            swarm.submit(root, ok=False),
            swarm.submit(child),
            engine.resume(key, 1),
            engine.dispatcher.dispatch(root.handle, pending, EXTERNAL),
            swarm.child(root),
            engine.credentials.mint(swarm.operator, agent_id="m", role=Role.WORKER, ttl=HOUR, task_id=root.task_id),
        ]
        calls.insert(n % 7, engine.cancel_task(swarm.operator, root.task_id))
        await asyncio.gather(*calls, return_exceptions=True)

        assert await swarm.status(root.task_id) is Status.CANCELLED
        assert await alive_below(swarm, root.task_id) == {}


async def test_nothing_comes_to_life_under_a_cancelled_task(swarm: Swarm) -> None:
    """A child that had passed may be judged again, but neither dispatched nor given a token."""
    root = await swarm.external()
    child = await swarm.external_child(root)
    await swarm.submit(child)
    await swarm.engine.cancel_task(swarm.operator, root.task_id)
    await swarm.engine.tasks.override(swarm.senior, child.task_id, ok=False)

    error = await unchanged(swarm, Cancelled, swarm.engine.dispatcher.dispatch(swarm.operator, child.task_id, EXTERNAL))
    mint = swarm.engine.credentials.mint(
        swarm.operator, agent_id="m", role=Role.WORKER, ttl=HOUR, task_id=child.task_id
    )
    await unchanged(swarm, Cancelled, mint)

    assert error.task_id == root.task_id


async def test_a_worker_cancels_what_it_started(swarm: Swarm) -> None:
    """A child and all under it, and itself with it when it means itself."""
    root = await swarm.external()
    child = await swarm.external_child(root)
    grandchild = await swarm.external_child(child)
    await swarm.engine.cancel_task(root.handle, child.task_id)
    assert await swarm.status(grandchild.task_id) is Status.CANCELLED
    assert await swarm.status(root.task_id) is Status.RUNNING
    token: CapToken = await swarm.worker_token(root)
    await swarm.engine.cancel_task(token, root.task_id)
    await refused(Cancelled, swarm.submit(root))


async def _wide_tree(swarm: Swarm) -> Work:
    """A task with more children than one transaction cancels, and a grandchild below one of them that passed."""
    root = await swarm.external(lease=HOUR)
    for _ in range(2 * cancelling.BATCH):
        await swarm.child(root)
    passed = await swarm.external_child(root)
    await swarm.external_child(passed)
    await swarm.submit(passed)
    return root


async def test_a_large_tree_is_cancelled_in_batches_before_the_reply(swarm: Swarm) -> None:
    """One transaction cancels the root and leaves the rest to others; the reply comes when all is done."""
    engine = swarm.engine
    root = await _wide_tree(swarm)
    await engine.with_state("cancel", lambda state: cancelling.cancel(state, ENGINE, root.task_id, None))
    assert await swarm.status(root.task_id) is Status.CANCELLED

    state = await engine.cancel_task(swarm.operator, root.task_id)

    assert state.status is Status.CANCELLED
    assert await alive_below(swarm, root.task_id) == {}
    assert await engine.store.read(cancelling.unfinished) == []


async def test_a_large_tree_is_cancelled_whole_by_one_call(swarm: Swarm) -> None:
    """Nothing below it is alive once the call returns."""
    root = await _wide_tree(swarm)
    await swarm.engine.cancel_task(swarm.operator, root.task_id)
    assert await alive_below(swarm, root.task_id) == {}
    assert await swarm.engine.store.read(cancelling.unfinished) == []


async def test_the_next_server_finishes_a_cancellation_that_a_crash_interrupted(plan: Plan) -> None:
    """What was cancelled first is the root; the mark beside it survives the crash."""
    engine = plan.engine()
    await engine.start()
    swarm = await Swarm.over(engine, plan)
    root = await _wide_tree(swarm)
    await engine.store.transact("cancel", lambda state: cancelling.cancel(state, ENGINE, root.task_id, None))
    left = await alive_below(swarm, root.task_id)
    await crash(engine)

    async with plan.engine() as again:
        swarm = await Swarm.over(again, plan)
        await eventually(lambda: _is_over(swarm, root.task_id))

    assert left["unsettled tasks"] > cancelling.BATCH


async def _is_over(swarm: Swarm, root: str) -> bool:
    return await alive_below(swarm, root) == {} and await swarm.engine.store.read(cancelling.unfinished) == []


async def test_many_tasks_of_the_silent_are_cancelled_in_batches(plan: Plan, clock: HandClock) -> None:
    """No transaction cancels more than two batches, with trees below the tasks; tasks started later stay."""
    plan = replace(plan, cfg=replace(plan.cfg, keepalive_on_idle=False))
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        work = await swarm.external()
        for _ in range(cancelling.BATCH + 5):
            await swarm.child(work)
        tasks = [work.task_id, *[await swarm.task() for _ in range(3 * cancelling.BATCH)]]
        clock.advance(3600)
        before = len(await swarm.kinds())

        await engine.sessions.detach_unresponsive()
        await engine.heartbeat(swarm.operator)
        clock.advance(1)
        later = await swarm.task()

        async def is_done() -> bool:
            return await engine.store.read(cancelling.unfinished) == []

        await eventually(is_done)
        assert {await swarm.status(task) for task in tasks} == {Status.CANCELLED}
        assert await alive_below(swarm, work.task_id) == {}
        assert await swarm.status(later) is Status.PENDING
        assert (await swarm.kinds())[before:].count("task_cancelled") == len(tasks) + cancelling.BATCH + 5


async def test_one_transaction_cancels_few_tasks_of_a_session(swarm: Swarm) -> None:
    """The others are left to those that follow, also after a crash."""
    tasks = [await swarm.task() for _ in range(2 * cancelling.BATCH)]
    session = (await swarm.engine.sessions.read_own(swarm.operator)).id

    def run(state: State) -> int:
        cancelling.cancel_tasks_of(state, session)
        return sum(TASKS.get(state.db, task) == before for task, before in rows.items())

    rows = {task: await swarm.row(task) for task in tasks}
    assert await swarm.engine.store.transact("cancel", run) == len(tasks) - cancelling.BATCH
