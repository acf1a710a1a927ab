"""A state machine of calls by several actors, held against a model after every step.

`SWARMHOLD_TEST_HISTORIES` sets how many histories each test makes.
"""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import currently_in_test_context, event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.domain.access import Role, Verb
from app.domain.errors import EngineError
from app.domain.events import Event
from app.domain.json import Json
from app.domain.outputs import OutputEvent
from app.domain.questions import Ask, OnDeadline
from app.domain.tasks import RetryPolicy, TaskSpec
from app.domain.tokens import CapToken, Handle
from app.state.opening import open_store
from app.state.state import State
from tests.property.rows import (
    Rows,
    credentials_stay_within_bounds,
    nothing_waits_for_nothing,
    same_attempt,
    same_question,
    same_task,
)
from tests.support.clocks import HandClock
from tests.support.model import Model, ModelAttempt, ModelQuestion, ModelTask, Retry
from tests.support.swarms import YEAR, Plan, Swarm, crash

HISTORIES = int(os.environ.get("SWARMHOLD_TEST_HISTORIES", "40"))

KEY = "shk_" + "w" * 40
NOW = timedelta(0)
SESSIONS = 3
MAX_DEPTH = 2

PICK = st.integers(0, 10**6)
VALUES = st.sampled_from([None, True, "a", "b", {"uphold": True}, [1, {"x": 2.5}]])
SECONDS = st.sampled_from([0, 1, 3, 9, 10, 30, 61, 600, 1801, 8 * 86_400, -2, -700])


@cache
def _template() -> Path:
    """A database file with all tables and nothing in them."""
    path = Path(tempfile.mkdtemp(prefix="swarmhold-template-")) / "empty.db"

    async def make() -> None:
        store = open_store(path)
        await store.open()
        await store.close()

    asyncio.run(make())
    return path


class Histories(RuleBasedStateMachine):
    """One engine on a file, one model, and the calls made to both."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.home = Path(tempfile.mkdtemp(prefix="swarmhold-history-"))
        self.clock = HandClock()
        self.model = Model(max_depth=MAX_DEPTH)
        self.workers: list[tuple[Handle, ModelAttempt]] = []
        self.minted: list[tuple[CapToken, ModelTask, int]] = []
        self.cursors: list[int] = []
        self.known: dict[str, ModelTask] = {}
        self.finals: dict[tuple[str, int], Any] = {}
        self.answers: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()

    def run(self, call: Awaitable[Any]) -> Any:
        """Wait for a call."""
        return self.loop.run_until_complete(call)

    def outcome(self, call: Awaitable[Any], expected: str | None) -> Any:
        """What the call returned; it must raise what the model says, and nothing else."""
        found, raised = self.run(_settled(call))
        assert raised == expected, f"{raised} instead of {expected}"
        self.count(expected or "done")
        return found

    def count(self, what: str) -> None:
        """Count what happened."""
        self.counts[what] += 1
        if currently_in_test_context():
            event(what)

    @initialize()
    def begin(self) -> None:
        """An engine with a few operators."""
        shutil.copy(_template(), self.home / "history.db")
        self.plan = Plan(store_url=str(self.home / "history.db"), clock=self.clock)
        self.plan.cfg = replace(self.plan.cfg, max_spawn_depth=MAX_DEPTH)
        self.run(self._begin())

    async def _begin(self) -> None:
        engine = self.plan.engine()
        await engine.start()
        self.swarm = await Swarm.over(engine, self.plan)
        await engine.keys.ensure_root(KEY)
        self.sessions = [await engine.attach(f"o{n}", Role.OPERATOR, YEAR) for n in range(SESSIONS)]
        self.jtis = [(await engine.sessions.read_own(token)).jti for token in self.sessions]

    def teardown(self) -> None:
        """Stop the engine and leave nothing behind."""
        if hasattr(self, "swarm"):
            self.run(self.swarm.engine.stop())
        self.loop.close()
        shutil.rmtree(self.home)

    # Choosing

    def task(self, pick: int, wanted: Callable[[ModelTask], bool] | None = None) -> ModelTask:
        """Some task, more often one that is wanted or, by itself, one to which something may still happen."""
        tasks = self.model.tasks
        if pick % 4:
            likely = wanted or (lambda task: task.status not in ("pass", "cancelled"))
            tasks = [task for task in tasks if likely(task)] or tasks
        return tasks[(pick // 4) % len(tasks)]

    def worker(self, pick: int) -> tuple[Handle, ModelAttempt]:
        """Some handle, more often of a live attempt; those whose attempt is long over are actors too."""
        workers = self.workers
        if pick % 4:
            workers = [found for found in workers if found[1].live] or workers
        return workers[(pick // 4) % len(workers)]

    def session(self, pick: int) -> tuple[CapToken, int]:
        """Some operator that was not revoked."""
        living = [n for n in range(SESSIONS) if n not in self.model.revoked]
        return self.sessions[living[pick % len(living)]], living[pick % len(living)]

    def new_task(self, task_id: str, parent: ModelTask | None, retry: Retry | None, timeout_s: int | None) -> None:
        """Both know of it from now on."""
        task = ModelTask(task_id, parent, retry, None if timeout_s is None else timeout_s * 1000)
        self.model.tasks.append(task)
        self.known[task_id] = task

    has_tasks = precondition(lambda self: bool(self.model.tasks))
    has_workers = precondition(lambda self: bool(self.workers))
    has_questions = precondition(lambda self: any(task.questions for task in self.model.tasks))

    # Operators

    @rule(
        pick=PICK,
        retried=st.sampled_from([None, ("blocked", "lost"), ("timeout",), ("blocked", "timeout", "lost")]),
        timeout_s=st.sampled_from([None, None, 20, 700]),
    )
    def start(self, pick: int, retried: tuple[str, ...] | None, timeout_s: int | None) -> None:
        """A task, perhaps with a retry policy and a timeout."""
        retry = Retry(2 + pick % 2, 25_000, retried) if retried else None
        self.new_task(self.run(self._start(self.session(pick)[0], retry, timeout_s)), None, retry, timeout_s)

    async def _start(self, bearer: Any, retry: Retry | None, timeout_s: int | None) -> str:
        policy = None
        if retry is not None:
            policy = RetryPolicy(max_attempts=retry.max_attempts, backoff=25.0, multiplier=1.0, jitter=0.0, on=retry.on)
        timeout_ms = None if timeout_s is None else timeout_s * 1000
        spec = TaskSpec(agent="a", initial_directive="d", retry=policy, attempt_timeout_ms=timeout_ms)
        return await self.swarm.engine.start_task(bearer, spec)

    @has_tasks
    @rule(pick=PICK, lease_s=st.sampled_from([None, 5, 60]), escalates=st.booleans())
    def dispatch_external(self, pick: int, lease_s: int | None, escalates: bool) -> None:
        """To a worker that gets the handle."""
        (token, root), task = self.session(pick), self.task(pick // SESSIONS, _dispatchable)
        self._dispatch(token, root, task, lease_s, escalates)

    def _dispatch(self, bearer: Any, root: int, task: ModelTask, lease_s: int | None, escalates: bool) -> bool:
        call = self.swarm.engine.dispatcher.dispatch(
            bearer,
            task.id,
            {"kind": "external"},
            lease=None if lease_s is None else timedelta(seconds=lease_s),
            layers=("senior_escalation",) if escalates else (),
        )
        made = self.outcome(call, self.model.may_dispatch(task))
        if made is not None:
            attempt = self.model.dispatch(
                task,
                self.clock(),
                kind="external",
                root=root,
                lease_ms=None if lease_s is None else lease_s * 1000,
                escalates=escalates,
                priority=0,
            )
            self.workers.append((Handle(made[0].handle), attempt))
        return made is not None

    @has_tasks
    @rule(pick=PICK, priority=st.integers(0, 1), escalates=st.booleans())
    def dispatch_to_queue(self, pick: int, priority: int, escalates: bool) -> None:
        """To whoever claims it."""
        (token, root), task = self.session(pick), self.task(pick // SESSIONS, _dispatchable)
        call = self.swarm.engine.dispatcher.dispatch(
            token,
            task.id,
            {"kind": "queue", "queue": "q", "priority": priority},
            layers=("senior_escalation",) if escalates else (),
        )
        if self.outcome(call, self.model.may_dispatch(task)) is not None:
            self.model.dispatch(
                task, self.clock(), kind="queue", root=root, lease_ms=None, escalates=escalates, priority=priority
            )

    @rule()
    def claim(self) -> None:
        """One of those that wait with the highest priority, or nothing."""
        found = self.run(self.swarm.engine.workers.claim(KEY, queue="q", hold=NOW))
        waiting = self.model.claimable()
        assert (found is None) == (not waiting)
        if found is not None:
            [attempt] = [a for a in waiting if (a.task.id, a.number) == (found.payload.task_id, found.payload.attempt)]
            self.model.claim(attempt, self.clock())
            self.workers.append((Handle(found.handle), attempt))

    @has_tasks
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """A task with everything under it."""
        task = self.task(pick)
        self.outcome(self.swarm.engine.cancel_task(self.swarm.operator, task.id), self.model.cancel(task))

    @has_tasks
    @rule(pick=PICK, ok=st.booleans(), senior=st.booleans(), value=VALUES, given_value=st.booleans())
    def judge(self, pick: int, ok: bool, senior: bool, value: Any, given_value: bool) -> None:
        """A verdict."""
        task, json = self.task(pick), Json.of(value) if given_value else None
        engine = self.swarm.engine
        if senior:
            call = engine.tasks.override(self.swarm.senior, task.id, ok=ok, value=json)
        else:
            call = engine.tasks.mark(self.swarm.operator, task.id, ok=ok, value=json)
        self.outcome(call, self.model.judge(task, ok=ok, by_senior=senior, value=value, given=given_value))

    @has_tasks
    @rule(pick=PICK, prompt=st.sampled_from(["d", "e", "f"]))
    def inject(self, pick: int, prompt: str) -> None:
        """Another prompt for the next attempt."""
        task = self.task(pick)
        call = self.swarm.engine.tasks.inject_directive(self.swarm.senior, task.id, prompt)
        self.outcome(call, self.model.inject(task, prompt))

    @has_tasks
    @rule(pick=PICK, value=VALUES)
    def post(self, pick: int, value: Any) -> None:
        """An interim result."""
        task = self.task(pick)
        call = self.swarm.engine.post_result(self.swarm.operator, task.id, value)
        self.outcome(call, self.model.post(task, value))

    @has_workers
    @rule(pick=PICK, index=st.integers(0, 1), senior=st.booleans())
    def adopt(self, pick: int, index: int, senior: bool) -> None:
        """A late result."""
        _, attempt = self.worker(pick)
        token = self.swarm.senior if senior else self.swarm.operator
        call = self.swarm.engine.attempts.adopt_late(token, attempt.task.id, attempt.number, index)
        self.outcome(call, self.model.adopt(attempt, index, by_senior=senior))

    @has_tasks
    @rule(pick=PICK)
    def mint(self, pick: int) -> None:
        """A worker token for a task."""
        (token, root), task = self.session(pick), self.task(pick // SESSIONS)
        call = self.swarm.engine.credentials.mint(
            token, agent_id="m", role=Role.WORKER, ttl=YEAR, task_id=task.id, scopes=frozenset({Verb.FETCH_DATA})
        )
        made = self.outcome(call, "Cancelled" if task.is_cancelled() else None)
        if made is not None:
            self.minted.append((made.token, task, root))

    @precondition(lambda self: len(self.model.revoked) < SESSIONS - 1)
    @rule(pick=st.integers(0, 20))
    def revoke(self, pick: int) -> None:
        """Now and then an operator's session, with everything below it."""
        root = pick % SESSIONS
        if pick < SESSIONS and root not in self.model.revoked:
            self.run(self.swarm.engine.credentials.revoke(self.swarm.operator, self.jtis[root]))
            self.model.revoke(root)

    @rule(paused=st.booleans())
    def switch(self, paused: bool) -> None:
        """The loop."""
        engine, senior = self.swarm.engine, self.swarm.senior
        self.run(engine.switch.pause(senior) if paused else engine.switch.resume(senior))
        self.model.paused = paused

    # Workers

    @has_workers
    @rule(pick=PICK, value=VALUES, ok=st.booleans())
    def submit(self, pick: int, value: Any, ok: bool) -> None:
        """A Final, perhaps of a worker that is long over."""
        handle, attempt = self.worker(pick)
        before = {question.key for question in attempt.task.questions}
        _, raised = self.run(_settled(self.swarm.engine.workers.submit(handle, Json.of(value), ok=ok)))
        self.count(f"submit {raised}")
        state = self.run(self.swarm.engine.read_task_state(self.swarm.operator, attempt.task.id))
        held = next(iter(set(state.suspended_on) - before), "")
        assert self.model.submit(attempt, value, ok, self.clock(), held) == raised

    @has_workers
    @rule(pick=PICK)
    def emit(self, pick: int) -> None:
        """An output, which is a heartbeat."""
        handle, attempt = self.worker(pick)
        call = self.swarm.engine.workers.emit(handle, OutputEvent.partial(1))
        expected = self.model.worker_refusal(attempt)
        self.outcome(call, expected)
        if expected is None:
            attempt.outputs += 1
            attempt.renew_by_traffic(self.clock())

    @has_workers
    @rule(pick=PICK)
    def beat(self, pick: int) -> None:
        """A heartbeat; a cancelled worker gets an error."""
        handle, attempt = self.worker(pick)
        expected = self.model.worker_refusal(attempt)
        pulse = self.outcome(self.swarm.engine.workers.heartbeat(handle), None if expected == "Cancelled" else expected)
        if expected is None:
            attempt.renew(self.clock())
        if pulse is not None:
            assert pulse.cancelled == (expected == "Cancelled")

    @has_workers
    @rule(pick=PICK)
    def start_child(self, pick: int) -> None:
        """A task below the worker's own."""
        handle, attempt = self.worker(pick)
        task_id = self.outcome(self._start(handle, None, None), self.model.may_start_child(attempt))
        if task_id is not None:
            self.new_task(task_id, attempt.task, None, None)
            attempt.renew_by_traffic(self.clock())

    @has_workers
    @rule(pick=PICK, other=PICK)
    def dispatch_child(self, pick: int, other: int) -> None:
        """By a worker: its own children only."""
        handle, attempt = self.worker(pick)
        children = self.model.children(attempt.task)
        children = [task for task in children if _dispatchable(task)] or children
        task = children[other % len(children)] if children and other % 4 else self.task(other)
        refusal = self.model.worker_refusal(attempt)
        if refusal is None and task.parent is not attempt.task:
            refusal = "TokenTaskMismatch"
        if refusal is not None:
            self.outcome(self.swarm.engine.dispatcher.dispatch(handle, task.id, {"kind": "external"}), refusal)
        elif self._dispatch(handle, attempt.root, task, None, False):
            attempt.renew_by_traffic(self.clock())

    @has_workers
    @rule(pick=PICK, other=PICK)
    def cancel_by_worker(self, pick: int, other: int) -> None:
        """Its own task and what is below it."""
        handle, attempt = self.worker(pick)
        task = self.task(other)
        refusal = self.model.worker_refusal(attempt)
        if refusal is None and attempt.task not in task.lineage():
            refusal = "TokenTaskMismatch"
        expected = refusal or self.model.cancel(task)
        self.outcome(self.swarm.engine.cancel_task(handle, task.id), expected)
        if expected is None:
            attempt.renew_by_traffic(self.clock())

    @has_workers
    @rule(pick=PICK, other=PICK)
    def look(self, pick: int, other: int) -> None:
        """By a worker, on its own task or a descendant: a heartbeat too."""
        handle, attempt = self.worker(pick)
        task = self.task(other, lambda task: attempt.task in task.lineage())
        expected = self.model.worker_refusal(attempt)
        if expected is None and attempt.task not in task.lineage():
            expected = "TokenTaskMismatch"
        found = self.outcome(self.swarm.engine.tasks.watch(handle, task.id, NOW), expected)
        if expected is None:
            assert found[0].status.value == task.status
            assert list(found[0].suspended_on) == [question.key for question in task.open()]
            attempt.renew_by_traffic(self.clock())

    @has_workers
    @rule(pick=PICK)
    def fetch(self, pick: int) -> None:
        """The prompt and the answers so far."""
        handle, attempt = self.worker(pick)
        expected = self.model.worker_refusal(attempt)
        payload = self.outcome(self.swarm.engine.workers.payload(handle), expected)
        if expected is None:
            answered = {q.key for q in attempt.task.questions if q.status == "answered"}
            assert payload.prompt == attempt.prompt
            assert {answer["key"] for answer in payload.answers} == answered
            attempt.renew_by_traffic(self.clock())

    # Questions

    @has_tasks
    @rule(
        pick=PICK,
        by_worker=st.booleans(),
        on=st.sampled_from([*OnDeadline, OnDeadline.KEEP_WAITING, OnDeadline.KEEP_WAITING]),
        seconds=st.sampled_from([2, 40, 3600]),
        default=VALUES,
    )
    def ask(self, pick: int, by_worker: bool, on: OnDeadline, seconds: int, default: Any) -> None:
        """About a task, by its worker or by an operator, with any policy."""
        deadline = self.clock() + seconds * 1000
        asked = Ask(
            question=Json.of("?"),
            deadline=deadline,
            on_deadline=on,
            default_answer=Json.of(default) if on is OnDeadline.DEFAULT else None,
            escalate_to="chief" if on is OnDeadline.ESCALATE else None,
        )
        attempt = None
        if by_worker and self.workers:
            handle, attempt = self.worker(pick)
            task, expected = attempt.task, self.model.worker_refusal(attempt)
            call = self.swarm.engine.questions.ask(handle, asked)
        else:
            task = self.task(pick, lambda task: task.status in ("pending", "running", "suspended"))
            expected = self.model.may_ask(task)
            call = self.swarm.engine.questions.ask(self.swarm.operator, asked, task_id=task.id)
        made = self.outcome(call, expected)
        if made is not None:
            due = None if on is OnDeadline.KEEP_WAITING else deadline
            question = ModelQuestion(made.key, task, False, on.value, default, due)
            self.model.ask(question, self.clock(), by=attempt)

    @has_questions
    @rule(pick=PICK, value=VALUES)
    def answer(self, pick: int, value: Any) -> None:
        """Some question, old ones too; open ones more often."""
        questions = [question for task in self.model.tasks for question in task.questions]
        open_ones = [question for question in questions if question.status == "open"]
        choice = open_ones if open_ones and pick % 4 else questions
        question = choice[(pick // 4) % len(choice)]
        call = self.swarm.engine.questions.answer(self.swarm.senior, question.key, Json.of(value))
        self.outcome(call, self.model.answer(question, value, self.clock()))

    # Time and death

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: int) -> None:
        """Whatever is due then happens; when the machine's clock is set back, nothing is."""
        self.run(self.swarm.pass_time(seconds))
        self.model.carry_out_due(self.clock())

    @rule(pick=st.integers(0, 3))
    def die(self, pick: int) -> None:
        """Now and then the server is killed and started again: only leases change by that."""
        if pick == 0:
            before = self.run(self.swarm.dump()) | {"attempts": []}
            self.run(crash(self.swarm.engine))
            self.swarm.engine = self.plan.engine()
            self.run(self.swarm.engine.start())
            assert self.run(self.swarm.dump()) | {"attempts": []} == before
            self.model.restart(self.clock())

    # What must hold after every step

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        """Rows, invariants of the description, and the feed."""
        if not hasattr(self, "swarm"):
            return
        rows: Rows = self.run(self.swarm.engine.store.read(Rows))
        assert set(rows.tasks) == set(self.known)
        for task in self.model.tasks:
            same_task(task, rows.tasks[task.id])
            for attempt in task.attempts:
                same_attempt(attempt, rows.attempts[(task.id, attempt.number)], rows, self.finals)
            for question in task.questions:
                same_question(question, rows.questions[question.key], self.answers)
        assert len(rows.attempts) == sum(len(task.attempts) for task in self.model.tasks)
        assert len(rows.questions) == sum(len(task.questions) for task in self.model.tasks)
        nothing_waits_for_nothing(rows)
        credentials_stay_within_bounds(self.known, rows)
        self._follow()

    def _follow(self) -> None:
        """The feed behind the last cursor, a page at a time."""
        found: list[Event] = self.run(self.swarm.events(after=self.cursors[-1] if self.cursors else 0))
        for happened in found:
            assert not self.cursors or happened.cursor > self.cursors[-1]
            self.cursors.append(happened.cursor)
        # One writer commits in order, so what was followed piece by piece is the whole.
        assert self.run(self.swarm.engine.store.read(_count_events)) == len(self.cursors)


def _count_events(state: State) -> int:
    return int(state.db.query("SELECT count(*) FROM events", ())[0][0])


def _dispatchable(task: ModelTask) -> bool:
    return task.status in ("pending", "running", "blocked") and not task.live


async def _settled(call: Awaitable[Any]) -> tuple[Any, str | None]:
    """What it returned, or the name of the error that it raised."""
    try:
        return await call, None
    except EngineError as error:
        return None, type(error).__name__
