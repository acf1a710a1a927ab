"""Gaps: no lease or session expires because the server itself could not record heartbeats."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from app.domain.attempts import Reason
from app.domain.errors import StoreUnavailable
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, QuestionStatus
from app.domain.sessions import Session
from app.domain.tasks import RetryOn, RetryPolicy, Status
from app.engine.gaps import MAX_GRACE_MS, TICK_S
from app.engine.ops import leases
from app.state.state import State
from app.state.tables import ATTEMPTS, SESSIONS
from tests.support.clocks import HandClock
from tests.support.swarms import Plan, Swarm, Work, refused

LEASE_S = 60.0
GAP_S = 600.0
GRACE_S = MAX_GRACE_MS / 1000


@dataclass
class Machine:
    """The machine's two clocks, moved by the test; `stalls` are seconds that pass right after they are read."""

    clock: HandClock
    running_ms: int = 0
    stalls: list[float] = field(default_factory=list[float])

    def __call__(self) -> tuple[int, int]:
        now = self.clock(), self.running_ms
        if self.stalls:
            self.stall(self.stalls.pop())
        return now

    def stall(self, seconds: float) -> None:
        """Let time pass in which the server does nothing."""
        self.clock.advance(seconds)
        self.running_ms += round(seconds * 1000)


@pytest.fixture
def machine(clock: HandClock) -> Machine:
    """The machine that the engine runs on."""
    return Machine(clock)


@pytest.fixture
def plan(plan: Plan, machine: Machine) -> Plan:
    """The engine looks at this machine's clocks."""
    return replace(plan, machine_clocks=machine)


async def listen(swarm: Swarm, machine: Machine, seconds: float) -> None:
    """Let time pass in which the server records heartbeats, and carry out what falls due."""
    for _ in range(round(seconds / TICK_S)):
        machine.stall(TICK_S)
        await swarm.engine.gaps.catch_up()
    assert await swarm.engine.timers.carry_out_due() == 0


async def leased(swarm: Swarm) -> Work:
    """A worker with a lease that sent a heartbeat a moment ago."""
    work = await swarm.external(lease=timedelta(seconds=LEASE_S))
    await swarm.engine.workers.heartbeat(work.handle)
    return work


def jump(swarm: Swarm, machine: Machine, seconds: float) -> None:
    """Set the machine's clock, while the server goes on."""
    del swarm
    machine.clock.advance(seconds)


def stall(swarm: Swarm, machine: Machine, seconds: float) -> None:
    """Stop the process, or put the machine to sleep."""
    del swarm
    machine.stall(seconds)


GAPS = pytest.mark.parametrize("gap", [stall, jump])


@GAPS
async def test_a_silence_that_the_server_caused_costs_no_worker_its_lease(
    swarm: Swarm, machine: Machine, gap: object
) -> None:
    """After the gap the worker has what was left of its lease before, and not more."""
    work = await leased(swarm)
    await listen(swarm, machine, 20)
    gap(swarm, machine, GAP_S)  # pyright: ignore[reportCallIssue] - one of the two above
    assert await swarm.engine.timers.carry_out_due() == 0
    await listen(swarm, machine, LEASE_S - 20 - 2)
    assert (await swarm.attempt(work.task_id)).is_live

    await listen(swarm, machine, 4)
    assert (await swarm.attempt(work.task_id)).reason is Reason.LOST


async def test_a_gap_right_after_the_check_costs_no_worker_its_lease(swarm: Swarm, machine: Machine) -> None:
    """The process is stopped between the check and the judging transaction, which leaves the lease to the next one."""
    work = await leased(swarm)
    for _ in range(2):
        machine.stalls = [GAP_S]
        await swarm.engine.timers.carry_out_due()
        assert (await swarm.attempt(work.task_id)).is_live
    assert await swarm.engine.timers.carry_out_due() == 0
    await listen(swarm, machine, LEASE_S + 1)
    assert (await swarm.attempt(work.task_id)).reason is Reason.LOST


async def test_no_lease_ends_before_the_server_listens(swarm: Swarm, machine: Machine) -> None:
    """A start that takes longer than a lease is a gap: afterwards the worker has its lease, and no more."""
    work, asked = await leased(swarm), await leased(swarm)
    swarm.engine.gaps.recording = False
    for _ in range(3):
        machine.stall(GAP_S)
        assert await swarm.engine.timers.carry_out_due() == 2
        assert (await swarm.attempt(work.task_id)).is_live
    swarm.engine.gaps.recording = True
    await swarm.engine.query_senior(asked.handle, asked.task_id, "?")
    await listen(swarm, machine, LEASE_S - 2)
    assert (await swarm.attempt(work.task_id)).is_live
    assert (await swarm.attempt(asked.task_id)).is_live

    await listen(swarm, machine, 4)
    assert (await swarm.attempt(work.task_id)).reason is Reason.LOST


async def test_a_question_right_after_the_gap_costs_no_worker_its_lease(swarm: Swarm, machine: Machine) -> None:
    """Asked by the worker or an operator, and answered, before anything else has noticed the gap."""
    asking, asked_about = await leased(swarm), await leased(swarm)
    machine.stall(GAP_S)
    keys = [
        await swarm.engine.query_senior(asking.handle, asking.task_id, "?"),
        await swarm.engine.query_senior(swarm.operator, asked_about.task_id, "?"),
    ]
    assert await swarm.engine.timers.carry_out_due() == 0
    for key in keys:
        await swarm.engine.resume(key, "yes")
    await listen(swarm, machine, LEASE_S / 2)
    assert (await swarm.attempt(asking.task_id)).is_live
    assert (await swarm.attempt(asked_about.task_id)).is_live


@pytest.mark.parametrize("left_s", [LEASE_S - GAP_S, 1])
async def test_a_transaction_that_a_gap_interrupted_costs_no_worker_its_lease(
    swarm: Swarm, machine: Machine, left_s: float
) -> None:
    """It began before or within the gap, and was committed when the other leases had moved, by its own clock."""
    work = await leased(swarm)
    began_at = machine.clock() + round((GAP_S + left_s - LEASE_S) * 1000)
    stall(swarm, machine, GAP_S)
    assert await swarm.engine.gaps.catch_up()

    def heartbeat(state: State) -> None:
        state.now = began_at
        attempt = ATTEMPTS.get(state.db, work.task_id, work.attempt)
        assert attempt is not None
        leases.record_heartbeat(state, swarm.engine.cfg, attempt, always=True)

    await swarm.engine.store.transact("heartbeat", heartbeat)
    assert await swarm.engine.timers.carry_out_due() == 0
    await listen(swarm, machine, LEASE_S - 2)
    assert (await swarm.attempt(work.task_id)).is_live
    await listen(swarm, machine, 8)
    assert (await swarm.attempt(work.task_id)).reason is Reason.LOST


async def test_a_worker_that_is_heard_after_the_gap_goes_on(swarm: Swarm, machine: Machine) -> None:
    """Its heartbeat renews the lease as ever."""
    work = await leased(swarm)
    machine.stall(GAP_S)
    assert await swarm.engine.timers.carry_out_due() == 0
    for _ in range(5):
        await listen(swarm, machine, LEASE_S / 2)
        assert not (await swarm.engine.workers.heartbeat(work.handle)).cancelled
    await swarm.submit(work)
    assert await swarm.status(work.task_id) is Status.PASS


async def test_a_clock_that_is_set_back_neither_ends_nor_prolongs_a_lease(swarm: Swarm, machine: Machine) -> None:
    """Heartbeats go on renewing leases, and a missing one counts after one lease, not after the jump as well."""
    heard, silent = await leased(swarm), await leased(swarm)
    machine.clock.advance(-86_400)
    await listen(swarm, machine, LEASE_S / 2)
    await swarm.engine.workers.heartbeat(heard.handle)
    await listen(swarm, machine, LEASE_S / 2 + 2)

    assert (await swarm.attempt(silent.task_id)).reason is Reason.LOST
    assert (await swarm.attempt(heard.task_id)).is_live


async def test_a_store_that_was_away_is_a_gap(swarm: Swarm, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away nothing is judged; when it is back, the workers have the time that it was away."""
    work = await leased(swarm)

    async def away() -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(swarm.engine.store, "check", away)
    for _ in range(round(GAP_S / TICK_S)):
        machine.stall(TICK_S)
        await refused(StoreUnavailable, swarm.engine.timers.carry_out_due())
    monkeypatch.undo()

    assert await swarm.engine.timers.carry_out_due() == 0
    assert (await swarm.attempt(work.task_id)).is_live


async def test_a_store_that_refuses_some_operations_is_a_gap(swarm: Swarm, machine: Machine) -> None:
    """On a full disk the check may pass while heartbeats fail: as long as any operation does, nobody is lost."""
    work = await leased(swarm)

    def fail(_: State) -> None:
        raise StoreUnavailable("the disk is full")

    for _ in range(round(2 * LEASE_S / TICK_S)):
        machine.stall(TICK_S)
        await refused(StoreUnavailable, swarm.engine.transactions.run("heartbeat", fail))
        assert await swarm.engine.gaps.catch_up()

    assert await swarm.engine.timers.carry_out_due() == 0
    assert (await swarm.attempt(work.task_id)).is_live
    await listen(swarm, machine, LEASE_S + 1)
    assert (await swarm.attempt(work.task_id)).reason is Reason.LOST


async def test_a_handle_that_expired_within_the_gap_opens_again(swarm: Swarm, machine: Machine) -> None:
    """The worker's call comes before anything else has noticed the gap."""
    work = await leased(swarm)
    machine.stall(swarm.engine.cfg.worker_token_life_ms / 1000 + GAP_S)
    await swarm.submit(work)
    assert await swarm.status(work.task_id) is Status.PASS


async def test_sessions_are_not_silent_because_the_server_was_deaf(swarm: Swarm, machine: Machine) -> None:
    """Sessions stay attached after the gap, and are detached when they miss their heartbeats then."""
    cfg = swarm.engine.cfg
    silence_s = cfg.heartbeat_interval_ms * cfg.heartbeat_miss_threshold / 1000
    session_id = (await swarm.engine.sessions.read_own(swarm.operator)).id
    machine.stall(silence_s * 2)
    await swarm.engine.sessions.detach_unresponsive()
    assert (await _session(swarm, session_id)).attached

    await listen(swarm, machine, silence_s + 2)
    await swarm.engine.sessions.detach_unresponsive()
    assert not (await _session(swarm, session_id)).attached


async def _session(swarm: Swarm, session_id: str) -> Session:
    def run(state: State) -> Session:
        found = SESSIONS.get(state.db, session_id)
        assert found is not None
        return found

    return await swarm.engine.store.read(run)


@pytest.mark.parametrize(("gap_s", "grace_s"), [(10.0, 10.0), (GAP_S, GRACE_S)])
async def test_a_deadline_within_the_gap_leaves_time_to_answer(
    swarm: Swarm, machine: Machine, gap_s: float, grace_s: float
) -> None:
    """It is carried out after a grace of the gap's length, half a minute at most; until then an answer counts."""
    answered, unanswered = [await _asked(swarm, machine, gap_s / 2) for _ in range(2)]
    machine.stall(gap_s)
    assert await swarm.engine.timers.carry_out_due() == 2
    await swarm.engine.questions.answer(swarm.senior, answered, Json.of("yes"))
    machine.stall(TICK_S)
    assert await swarm.engine.timers.carry_out_due() == 1
    await listen(swarm, machine, grace_s)

    assert (await swarm.engine.questions.read(swarm.senior, answered)).answered_by == "senior"
    late = await swarm.engine.questions.read(swarm.senior, unanswered)
    assert (late.status, late.answered_by) == (QuestionStatus.ANSWERED, "deadline")


async def _asked(swarm: Swarm, machine: Machine, after_s: float) -> str:
    work = await swarm.external()
    deadline = machine.clock() + round(after_s * 1000)
    ask = Ask(
        question=Json.of("Ship?"),
        deadline=deadline,
        on_deadline=OnDeadline.DEFAULT,
        default_answer=Json.of("no"),
    )
    return (await swarm.engine.questions.ask(work.handle, ask)).key


async def test_an_attempt_timeout_within_the_gap_lets_the_worker_speak_first(swarm: Swarm, machine: Machine) -> None:
    """The timeout stays where it was; a result that was ready is taken within the grace."""
    task_ids = [await swarm.task(attempt_timeout_ms=5_000) for _ in range(2)]
    ready, _ = [await swarm.external(task_id) for task_id in task_ids]
    machine.stall(GAP_S)
    assert await swarm.engine.timers.carry_out_due() == 2
    await swarm.submit(ready)
    await listen(swarm, machine, GRACE_S)

    assert [await swarm.status(task_id) for task_id in task_ids] == [Status.PASS, Status.BLOCKED]
    assert (await swarm.attempt(task_ids[1])).reason is Reason.TIMEOUT


async def test_a_retry_within_the_gap_waits_for_the_grace(swarm: Swarm, machine: Machine) -> None:
    """It starts when the grace is over."""
    policy = RetryPolicy(max_attempts=2, backoff=5.0, jitter=0.0, on=(RetryOn.BLOCKED.value,))
    task_id = await swarm.task(retry=policy)
    work = Work(task_id, 1, (await swarm.external(task_id)).handle)
    await swarm.submit(work, ok=False)
    machine.stall(GAP_S)
    await swarm.engine.timers.carry_out_due()
    assert (await swarm.row(task_id)).attempt == 1


async def test_the_time_between_two_servers_is_a_gap_for_deadlines_too(plan: Plan, machine: Machine) -> None:
    """A deadline that passed while no server ran leaves its grace to those who answer after the start."""
    async with plan.engine() as first:
        swarm = await Swarm.over(first, plan)
        key = await _asked(swarm, machine, 5)
    machine.stall(GAP_S)
    async with plan.engine() as second:
        swarm = await Swarm.over(second, plan)
        assert await second.timers.carry_out_due() == 1
        assert (await second.questions.read(swarm.senior, key)).status is QuestionStatus.OPEN
        await listen(swarm, machine, GRACE_S)
        assert (await second.questions.read(swarm.senior, key)).answered_by == "deadline"
