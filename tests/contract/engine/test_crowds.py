"""Many callers at once against one engine, over each store: after every round what must always hold is held.

The histories in `tests/property` know what every call must come to, one after another; here nobody knows the order, so
only what is true in any order is asked. `SWARMHOLD_TEST_CROWDS` sets how many seeded crowds there are and
`SWARMHOLD_TEST_SEED` where their seeds begin.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.attempts import Attempt, Phase
from app.domain.errors import Busy, EngineError, LoopPaused
from app.domain.json import Json, same_json
from app.domain.outputs import Final, OutputEvent
from app.domain.questions import Ask, OnDeadline, QuestionStatus
from app.domain.sessions import SessionOptions
from app.domain.tasks import SETTLED, RetryPolicy, Status, Task, TaskSpec
from app.domain.tokens import CapToken, Handle
from app.engine.ops.scans import stranded
from app.spawning.adapters.in_process import FunctionJob
from app.state.state import State
from app.state.tables import API_KEYS, ATTEMPTS, OUTPUTS, QUESTIONS, TASKS, TOKENS
from tests.support.swarms import YEAR, Plan, Swarm, crash

CROWDS = int(os.environ.get("SWARMHOLD_TEST_CROWDS", "2"))
SEED = int(os.environ.get("SWARMHOLD_TEST_SEED", "0"))
ROUNDS, WIDTH, CALLS = 6, 10, 10

ROOT = "shk_" + "r" * 40
NOW = timedelta(0)
RETRY = RetryPolicy(
    max_attempts=3, backoff=5.0, multiplier=1.0, jitter=0.0, on=("blocked", "failed", "timeout", "lost")
)
SPAWNERS: tuple[dict[str, Any], ...] = (
    {"kind": "external"},
    {"kind": "queue", "queue": "q"},
    {"kind": "in_process", "function": "f"},
)
SEARCHES = [table.search() for table in (TASKS, ATTEMPTS, QUESTIONS, TOKENS, API_KEYS, OUTPUTS)]


class Crowd:
    """Callers, what they hold, and what they were acknowledged."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.random = random.Random(seed)
        self.reach = self.random.choice([2, 4, 8])
        self.tasks: list[str] = []
        self.handles: list[tuple[Handle, str, int]] = []
        self.keys: list[str] = []
        self.finals: dict[tuple[str, int], tuple[Any, bool]] = {}
        self.answers: dict[str, Any] = {}
        self.dying = False
        plan.functions.register("f", self.work)

    async def work(self, job: FunctionJob) -> Any:
        """A worker of this process: good, bad or broken."""
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        match self.random.randrange(3):
            case 0:
                raise RuntimeError(job.task_id)
            case 1:
                return Final(value=Json.of("bad"), ok=False)
            case _:
                return "good"

    async def begin(self) -> None:
        """An engine with operators, some of whom came with a key."""
        self.engine = self.plan.engine()
        await self.engine.start()
        self.swarm = await Swarm.over(self.engine, self.plan)
        await self.engine.keys.ensure_root(ROOT)
        self.api_keys = [await self.engine.keys.create(ROOT, f"k{n}", frozenset(Role), None) for n in range(3)]
        self.operators = [await self.engine.attach(f"o{n}", Role.OPERATOR, YEAR) for n in range(3)]
        for _, text in self.api_keys:
            made = await self.engine.sessions.attach_by_key(text, "k", Role.OPERATOR, YEAR, SessionOptions())
            self.operators.append(made.token)

    async def restart(self) -> None:
        """Another engine over the same store, as after a kill."""
        self.dying = True
        await crash(self.engine)
        self.engine = self.swarm.engine = self.plan.engine()
        await self.engine.start()
        self.dying = False

    # Choosing

    def late(self, found: list[Any]) -> Any:
        """One of the latest few, now and then any."""
        return self.random.choice(found[-self.reach :] if self.random.random() < 0.8 else found)

    def operator(self) -> CapToken:
        """Any of them, also one that was revoked."""
        return self.random.choice(self.operators)

    # Calling

    async def act(self) -> None:
        """Some calls, one after another."""
        for _ in range(CALLS):
            weights = [weight for weight, _ in CALLABLE]
            [(_, call)] = self.random.choices(CALLABLE, weights)
            try:
                await call(self)
            except Busy as error:
                if not self.dying and not isinstance(error, LoopPaused):
                    raise
            except EngineError:
                pass  # refusals are what the histories look at

    async def start(self) -> None:
        retry = RETRY if self.random.random() < 0.6 else None
        timeout = self.random.choice([None, None, 20_000])
        spec = TaskSpec(agent="a", initial_directive="d", retry=retry, attempt_timeout_ms=timeout)
        self.tasks.append(await self.engine.start_task(self.operator(), spec))

    async def dispatch(self) -> None:
        layers = ("senior_escalation",) if self.random.random() < 0.4 else ()
        lease = self.random.choice([None, timedelta(seconds=5)])
        spawner = self.random.choice(SPAWNERS)
        made, _ = await self.engine.dispatcher.dispatch(
            self.operator(), self.late(self.tasks), spawner, lease=lease, layers=layers
        )
        if made.handle is not None:
            self.handles.append((Handle(made.handle), made.task_id, made.attempt))

    async def claim(self) -> None:
        _, text = self.random.choice(self.api_keys)
        found = await self.engine.workers.claim(text, queue="q", hold=NOW)
        if found is not None:
            self.handles.append((Handle(found.handle), found.payload.task_id, found.payload.attempt))

    async def submit(self) -> None:
        handle, task_id, number = self.late(self.handles)
        value, ok = self.random.choice("ab"), self.random.random() < 0.5
        await self.engine.workers.submit(handle, Json.of(value), ok=ok)
        assert self.finals.setdefault((task_id, number), (value, ok)) == (value, ok)

    async def emit(self) -> None:
        await self.engine.workers.emit(self.late(self.handles)[0], OutputEvent.partial(1))

    async def beat(self) -> None:
        await self.engine.workers.heartbeat(self.late(self.handles)[0])

    async def child(self) -> None:
        handle = self.late(self.handles)[0]
        self.tasks.append(await self.engine.start_task(handle, TaskSpec(agent="c", initial_directive="d")))
        made, _ = await self.engine.dispatcher.dispatch(handle, self.tasks[-1], SPAWNERS[0])
        self.handles.append((Handle(str(made.handle)), made.task_id, made.attempt))

    async def ask(self) -> None:
        on = self.random.choice(list(OnDeadline))
        ask = Ask(
            question=Json.of("?"),
            deadline=self.plan.clock() + self.random.choice([2_000, 40_000]),
            on_deadline=on,
            default_answer=Json.of("default") if on is OnDeadline.DEFAULT else None,
            escalate_to="chief" if on is OnDeadline.ESCALATE else None,
        )
        if self.handles and self.random.random() < 0.5:
            made = await self.engine.questions.ask(self.late(self.handles)[0], ask)
        else:
            made = await self.engine.questions.ask(self.operator(), ask, task_id=self.late(self.tasks))
        self.keys.append(made.key)

    async def answer(self) -> None:
        page = await self.engine.questions.page(self.swarm.senior, status=QuestionStatus.OPEN)
        key = self.late([question.key for question in page.items] or self.keys)
        value = self.random.choice(["y", "n", {"uphold": True}])
        await self.engine.questions.answer(self.swarm.senior, key, Json.of(value))
        assert same_json(self.answers.setdefault(key, value), value)

    async def cancel(self) -> None:
        await self.engine.cancel_task(self.operator(), self.late(self.tasks))

    async def judge(self) -> None:
        task_id, ok = self.late(self.tasks), self.random.random() < 0.4
        if self.random.random() < 0.5:
            await self.engine.tasks.mark(self.operator(), task_id, ok=ok)
        else:
            await self.engine.tasks.override(self.swarm.senior, task_id, ok=ok)

    async def adopt(self) -> None:
        _, task_id, number = self.late(self.handles)
        await self.engine.attempts.adopt_late(self.swarm.operator, task_id, number, 0)

    async def mint(self) -> None:
        task_id = self.late(self.tasks)
        await self.engine.credentials.mint(self.operator(), agent_id="m", role=Role.WORKER, ttl=YEAR, task_id=task_id)

    async def attach(self) -> None:
        _, text = self.random.choice(self.api_keys)
        made = await self.engine.sessions.attach_by_key(text, "k", Role.OPERATOR, YEAR, SessionOptions())
        self.operators.append(made.token)

    async def switch(self) -> None:
        engine, senior = self.engine, self.swarm.senior
        await (engine.switch.pause(senior) if self.random.random() < 0.3 else engine.switch.resume(senior))

    async def revoke(self) -> None:
        if self.random.random() < 0.5:
            await self.engine.keys.revoke(ROOT, self.random.choice(self.api_keys)[0].id)
        else:
            row = await self.engine.sessions.read_own(self.random.choice(self.operators[1:]))
            await self.engine.credentials.revoke(self.swarm.operator, row.jti)

    async def pass_time(self) -> None:
        self.swarm.clock.advance(self.random.choice([1, 3, 6, 25]))
        await self.engine.timers.carry_out_due()


Call = Callable[[Crowd], Awaitable[None]]


def _if(wanted: Callable[[Crowd], bool], call: Call) -> Call:
    async def maybe(crowd: Crowd) -> None:
        await (call(crowd) if wanted(crowd) else Crowd.start(crowd))

    return maybe


def _of_task(call: Call) -> Call:
    return _if(lambda crowd: bool(crowd.tasks), call)


def _of_worker(call: Call) -> Call:
    return _if(lambda crowd: bool(crowd.handles), call)


CALLABLE: list[tuple[int, Call]] = [
    (6, Crowd.start),
    (20, _of_task(Crowd.dispatch)),
    (8, Crowd.claim),
    (12, _of_worker(Crowd.submit)),
    (2, _of_worker(Crowd.emit)),
    (2, _of_worker(Crowd.beat)),
    (5, _of_worker(Crowd.child)),
    (10, _of_task(Crowd.ask)),
    (14, _if(lambda crowd: bool(crowd.keys), Crowd.answer)),
    (3, _of_task(Crowd.cancel)),
    (6, _of_task(Crowd.judge)),
    (1, _of_worker(Crowd.adopt)),
    (2, _of_task(Crowd.mint)),
    (1, Crowd.attach),
    (3, Crowd.switch),
    (1, Crowd.revoke),
    (3, Crowd.pass_time),
]


class Rows:
    """What is stored, and what has no next event."""

    def __init__(self, state: State) -> None:
        found: list[list[Any]] = [search.all(state.db) for search in SEARCHES]
        self.tasks: dict[str, Task] = {row.id: row for row in found[0]}
        self.attempts: dict[tuple[str, int], Attempt] = {(row.task_id, row.attempt): row for row in found[1]}
        self.questions = {row.key: row for row in found[2]}
        self.revoked = {row.jti: row.revoked_at is not None for row in found[3]}
        self.revoked |= {row.id: row.revoked_at is not None for row in found[4]}
        self.tokens = found[3]
        self.finals = Counter((row.task_id, row.attempt) for row in found[5] if row.type.value == "final")
        self.stranded = stranded(state)

    def is_cancelled(self, task_id: str | None) -> bool:
        """Whether the task, or one above it, was cancelled."""
        while task_id is not None:
            if self.tasks[task_id].status is Status.CANCELLED:
                return True
            task_id = self.tasks[task_id].parent_task_id
        return False


def check_tasks(rows: Rows) -> None:
    """One live attempt at most, and only where the task says so; a task that waits has something to wait for."""
    assert not rows.stranded
    live = [attempt for attempt in rows.attempts.values() if attempt.is_live]
    assert sorted((a.task_id, a.attempt) for a in live) == sorted(
        (t.id, t.attempt) for t in rows.tasks.values() if t.live
    )
    open_ones = Counter(q.task_id for q in rows.questions.values() if q.status is QuestionStatus.OPEN)
    for task in rows.tasks.values():
        assert task.open_questions == open_ones[task.id]
        assert (task.status is Status.SUSPENDED) == (task.open_questions > 0)
        if task.status is not Status.RUNNING:
            assert task.retry_at is None
        elif not task.live:
            assert task.retry_at is not None or task.attempt == 0
        if rows.is_cancelled(task.id):
            assert task.status in SETTLED  # what had passed may be overruled later, but never runs again
    for attempt in live:
        waits = rows.tasks[attempt.task_id].status is Status.SUSPENDED
        assert attempt.phase is Phase.HELD or (attempt.paused_at is not None) == waits


def check_credentials(rows: Rows) -> None:
    """Nothing lives below what was revoked or cancelled."""
    for token in rows.tokens:
        assert rows.revoked[token.jti] or not rows.revoked.get(token.parent_jti or "", False)
        assert token.revoked_at is not None or not rows.is_cancelled(token.task_id)
    for attempt in rows.attempts.values():
        if attempt.is_live:
            assert not rows.revoked.get(attempt.parent_jti or "", False)
            if attempt.kind == "queue" and attempt.phase is Phase.RUNNING and attempt.process is not None:
                assert not rows.revoked[attempt.process.value["key"]]


def check_promises(crowd: Crowd, rows: Rows) -> None:
    """What was acknowledged is there, once."""
    for key, attempt in rows.attempts.items():
        assert rows.finals[key] + (attempt.final_seq is not None) == (attempt.final is not None)
    for key, (value, ok) in crowd.finals.items():
        assert (rows.attempts[key].final, rows.attempts[key].final_ok) == (Json.of(value), ok)
    for key, value in crowd.answers.items():
        assert rows.questions[key].answer == Json.of(value)


async def check_feed(crowd: Crowd, after: int) -> int:
    """Read the feed after a cursor, compare it with what was written, and return its new end."""
    cursors = [event.cursor for event in await crowd.swarm.events(after=after)]
    assert cursors == sorted(set(cursors))
    return cursors[-1] if cursors else after


@pytest.mark.timeout(120 + 60 * CROWDS)
@pytest.mark.parametrize("seed", range(SEED, SEED + CROWDS))
async def test_a_crowd_breaks_nothing(plan: Plan, seed: int) -> None:
    """Whatever comes at once, also when the server is killed in the middle of it."""
    crowd, cursor = Crowd(plan, seed), 0
    await crowd.begin()
    try:
        for number in range(ROUNDS):
            acting = asyncio.gather(*(crowd.act() for _ in range(WIDTH)))
            if number % 3 == 2:
                for _ in range(crowd.random.randrange(1, 60)):
                    await asyncio.sleep(0)
                await crowd.restart()
            await acting
            await crowd.engine.timers.carry_out_due()
            rows = await crowd.engine.store.read(Rows)
            check_tasks(rows)
            check_credentials(rows)
            check_promises(crowd, rows)
            cursor = await check_feed(crowd, cursor)
    finally:
        await crowd.engine.stop()
