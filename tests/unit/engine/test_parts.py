"""Each part of the engine is built by itself, over a store in memory, and used."""

import asyncio
from datetime import timedelta

import pytest

from app.domain.access import Role, Verb
from app.domain.attempts import Outcome
from app.domain.errors import (
    Conflict,
    InvalidRequest,
    InvalidTransition,
    LoopPaused,
    PollTimeout,
    RoleViolation,
    StoreUnavailable,
    TokenRevoked,
    Unauthenticated,
)
from app.domain.events import Event
from app.domain.json import Json
from app.domain.outputs import OutputEvent
from app.domain.questions import Ask, Question, QuestionStatus
from app.domain.sessions import SessionOptions
from app.domain.tasks import Status
from app.domain.webhooks import WebhookSpec, WebhookStatus
from app.engine.attempts import Attempts
from app.engine.gaps import GapMonitor
from app.engine.large_reads import LargeReads
from app.engine.namespaces import Namespaces
from app.engine.ops.rules import EngineCfg
from app.engine.questions import Questions
from app.engine.recovery import Recovery
from app.engine.reports import Reports
from app.engine.resources import Resources
from app.engine.switch import DispatchSwitch
from app.engine.tasks import Tasks
from app.engine.timers import Timers
from app.engine.webhooks import Webhooks
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from app.state.state import CommitThenRaise, State
from app.state.tables import get_meta, set_meta
from tests.support.ground import CFG, EXTERNAL, HOUR, ROOT, SPEC, ZERO, Ground
from tests.support.receiver import receiving
from tests.support.waiting import eventually


async def test_transactions_raise_after_the_commit(ground: Ground) -> None:
    """What an operation wrote before it returned its refusal stays."""

    def refuse(state: State) -> CommitThenRaise[Conflict]:
        set_meta(state.db, "note", "kept")
        return CommitThenRaise(InvalidTransition("T-1", "pass", "cancel"))

    with pytest.raises(InvalidTransition):
        await ground.transactions.run("refuse", refuse)
    assert await ground.transactions.read(lambda state: get_meta(state.db, "note")) == "kept"


async def test_transactions_wake_whoever_waits(ground: Ground) -> None:
    """A commit that names a topic ends the wait for it; closing ends a wait with StoreUnavailable."""
    transactions = ground.transactions

    def probe():
        return transactions.read(lambda state: get_meta(state.db, "note"))

    def write(state: State) -> None:
        set_meta(state.db, "note", "there")
        state.wake("topic")

    waiting = asyncio.ensure_future(transactions.wait(("topic",), probe, 60.0))
    await asyncio.sleep(0)
    await transactions.run("write", write)
    async with asyncio.timeout(60):
        assert await waiting == "there"
    assert await transactions.wait(("other",), probe, 0.0) == "there"
    transactions.close()
    await ground.transactions.run("remove", lambda state: set_meta(state.db, "note", "gone"))
    with pytest.raises(StoreUnavailable):
        await transactions.wait(("topic",), lambda: asyncio.sleep(0), 60.0)
    with pytest.raises(InvalidRequest):
        transactions.hold_seconds(timedelta(days=10_000))


async def test_api_keys(ground: Ground) -> None:
    """The root key makes keys, which are checked by role, and revokes them."""
    keys = ground.keys()
    assert await keys.ensure_root(ROOT)
    assert await keys.has_root()
    key, text = await keys.create(ROOT, "ci", frozenset({Role.OPERATOR}), HOUR)
    assert (await keys.check(text, Role.OPERATOR)).id == key.id
    with pytest.raises(RoleViolation):
        await keys.check(text, Role.WORKER)
    await keys.revoke(ROOT, key.id)
    with pytest.raises(Unauthenticated):
        await keys.check(text, Role.OPERATOR)


async def test_credentials(ground: Ground) -> None:
    """A minted token is authorized until it is revoked, which ends a wait for that."""
    credentials, token = ground.credentials(), await ground.token()
    minted = await credentials.mint(token, agent_id="a", role=Role.OBSERVER, ttl=HOUR)
    assert (await credentials.authorize(minted.token, Verb.READ_TASK_STATE)).role is Role.OBSERVER
    invalid = asyncio.ensure_future(credentials.wait_until_invalid(minted.token, poll_interval_s=60.0))
    await asyncio.sleep(0)
    await credentials.revoke(token, minted.record.jti)
    async with asyncio.timeout(60):
        await invalid
    with pytest.raises(TokenRevoked):
        await credentials.whoami(minted.token)


async def test_sessions(ground: Ground) -> None:
    """A session that misses its heartbeats is detached, and comes back with one."""
    sessions = ground.sessions()
    token = await sessions.attach("o", Role.OPERATOR, HOUR, SessionOptions())
    ground.clock.advance(3)
    await sessions.detach_unresponsive()
    assert not (await sessions.read_own(token)).attached
    await sessions.heartbeat(token)
    assert (await sessions.read_own(token)).attached


async def test_tasks(ground: Ground) -> None:
    """A task is started, awaited and cancelled."""
    tasks, token = ground.tasks(), await ground.token()
    task_id = (await tasks.start(token, SPEC)).task.id
    watching = asyncio.ensure_future(tasks.watch(token, task_id, HOUR))
    await asyncio.sleep(0)
    await tasks.cancel(token, task_id)
    async with asyncio.timeout(60):
        state, done = await watching
    assert (state.task.status, done) == (Status.CANCELLED, True)


async def test_workers_and_attempts(ground: Ground) -> None:
    """A worker fetches, reports and submits; the attempt shows its outputs."""
    workers, attempts, token = ground.workers(), Attempts(ground.transactions, CFG), await ground.token()
    task_id, handle = await ground.work()
    assert (await workers.payload(handle)).prompt == "Do it."
    await workers.emit(handle, OutputEvent.progress("read"))
    assert not (await workers.heartbeat(handle)).cancelled
    await workers.submit(handle, Json.of("done"), ok=True)
    assert [row.outcome for row in (await attempts.page(token, task_id)).items] == [Outcome.PASS]
    assert [str(row.type) for row in await attempts.tail(task_id, 1)] == ["progress", "final"]


async def test_resources(ground: Ground) -> None:
    """A named value is stored and read."""
    resources, token = Resources(ground.transactions, LargeReads(ground.transactions)), await ground.token()
    await resources.put(token, "a", Json.of([1]))
    await resources.put_trusted("a", Json.of([2]))
    assert (await resources.read(token, "a"))[0] == Json.of([2])


async def test_questions(ground: Ground) -> None:
    """A worker asks, a senior answers, and the waiter gets the answer."""
    questions = Questions(ground.transactions, layers=ground.layers, cfg=EngineCfg())
    _, handle = await ground.work()
    asked = await questions.ask(handle, Ask(question=Json.of("?")))
    with pytest.raises(PollTimeout):
        await questions.await_answer(asked.key, ZERO)
    await questions.answer(await ground.token(Role.SENIOR), asked.key, Json.of("so"))
    assert await questions.await_answer(asked.key, ZERO) == Json.of("so")


async def test_the_switch_and_the_dispatcher(ground: Ground) -> None:
    """Nothing is dispatched while dispatching is paused; a dispatch that may wait starts when it is resumed."""
    switch, dispatcher = DispatchSwitch(ground.transactions, keys=ground.keys()), ground.dispatcher()
    token, senior = await ground.token(), await ground.token(Role.SENIOR)
    task_id = await ground.task()
    await switch.pause(senior)
    assert (await switch.state(senior)).own.paused
    with pytest.raises(LoopPaused):
        await dispatcher.dispatch(token, task_id, EXTERNAL)
    waiting = asyncio.ensure_future(dispatcher.dispatch(token, task_id, EXTERNAL, wait=HOUR))
    await asyncio.sleep(0)
    await switch.resume(senior)
    tasks = ground.tasks()
    await eventually(lambda: status_is(tasks, task_id, Status.RUNNING))
    await tasks.cancel(token, task_id)
    async with asyncio.timeout(60):
        _, outcome = await waiting
    assert outcome is not None
    assert outcome.outcome is Outcome.CANCELLED
    await dispatcher.stop()


async def status_is(tasks: Tasks, task_id: str, status: Status) -> bool:
    return (await tasks.find(task_id)).status is status


async def test_recovery_finds_nothing_in_a_new_store(ground: Ground) -> None:
    """Nobody is taken over where nobody was left; an attempt of a worker elsewhere needs no process."""
    await ground.work()
    recovery = Recovery(
        ground.transactions, dispatcher=ground.dispatcher(), nodes=ground.nodes(), bus=ground.bus, cfg=CFG
    )
    assert await recovery.recover() == 0


async def test_timers_carry_out_what_is_due(ground: Ground) -> None:
    """A lease that ran out ends its attempt, by the running loop."""
    timers = Timers(
        ground.transactions,
        gaps=ground.gaps(),
        dispatcher=ground.dispatcher(),
        layers=ground.layers,
        clock=ground.clock,
    )
    tasks, token = ground.tasks(), await ground.token()
    task_id = await ground.task()
    await ground.dispatcher().dispatch(token, task_id, EXTERNAL, lease=timedelta(seconds=1))
    running = asyncio.ensure_future(timers.run())
    ground.clock.advance(2)
    async with asyncio.timeout(30):
        assert (await tasks.poll(token, task_id, HOUR)).task.status is Status.BLOCKED
    running.cancel()
    await asyncio.wait({running})


async def test_the_feed_and_reports(ground: Ground) -> None:
    """A stream gives what happens from now on; the counts have it too."""
    reports = Reports(
        ground.transactions,
        registries=ground.registries,
        catalog=ground.catalog(),
        layers=ground.layers,
        listeners=ground.listeners(),
        feed=ground.feed,
    )
    token = await ground.token(Role.OBSERVER)
    await ground.feed.open()
    async with ground.feed.follow() as stream, asyncio.timeout(60):
        session = await anext(stream) if await ground.token() else None
        task_id = await ground.task()
        kinds = [(await anext(stream)) for _ in range(2)]
    assert isinstance(session, Event)
    assert isinstance(kinds[1], Event)
    assert kinds[1].task_id == task_id
    assert (await reports.stats(token))["tasks"]["pending"] == 1
    assert "external" in (await reports.registered(token))["spawners"]
    await ground.feed.close()


class Bridge:
    """A senior bridge that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def ask(self, question: Question) -> None:
        self.shown.append(question.key)

    async def withdrawn(self, key: str, reason: str) -> None:
        self.shown.remove(key)


async def test_couriers(ground: Ground) -> None:
    """A registered bridge is shown open and new questions, and notified when one is answered."""
    questions, couriers, bridge = (
        Questions(ground.transactions, layers=ground.layers, cfg=EngineCfg()),
        ground.couriers(),
        Bridge(),
    )
    _, handle = await ground.work()
    first = await questions.ask(handle, Ask(question=Json.of("?")))
    couriers.register("desk", bridge)
    couriers.start()
    await eventually(lambda: bridge.shown == [first.key])
    await questions.answer_trusted(first.key, Json.of("so"))
    await eventually(lambda: bridge.shown == [])
    assert (await questions.read(await ground.token(Role.SENIOR), first.key)).status is QuestionStatus.ANSWERED
    await couriers.stop()
    await ground.feed.close()


async def test_webhooks_and_deliveries(ground: Ground) -> None:
    """A webhook is sent what it wants, and is paused and resumed."""
    async with receiving() as receiver:
        sender = WebhookSender(SenderSettings(allow=(receiver.url,)))
        names = Namespaces(ground.transactions)
        webhooks = Webhooks(
            ground.transactions,
            keys=ground.keys(),
            namespaces=names,
            mint=ground.mint,
            signer=ground.signer,
            sender=sender,
        )
        await ground.keys().ensure_root(ROOT)
        spec = WebhookSpec(name="w", url=receiver.url, kinds=("task_created",))
        row, receiver.secret = await webhooks.create(ROOT, spec)
        deliveries = webhooks.deliveries(
            store=ground.store,
            events=ground.feed,
            bus=ground.bus,
            clock=ground.clock,
            node=lambda: "N-1",
            cfg=CFG,
        )
        assert deliveries is not None
        running = asyncio.ensure_future(deliveries.run())
        task_id = await ground.task()
        await eventually(lambda: [event["task_id"] for event in receiver.events] == [task_id])
        assert (await webhooks.pause(ROOT, row.id)).status is WebhookStatus.PAUSED
        assert (await webhooks.resume(ROOT, row.id)).status is WebhookStatus.ACTIVE
        running.cancel()
        await asyncio.wait({running})
        await sender.aclose()


async def test_a_gap_moves_the_lease_of_whoever_could_not_be_heard(ground: Ground) -> None:
    """Both clocks are given; a tick that is late by minutes is a gap, and the lease ends that much later."""
    running = [0]
    gaps = GapMonitor(
        ground.transactions,
        store=ground.store,
        peers=ground.nodes(),
        clocks=lambda: (ground.clock(), running[0]),
    )
    tasks, token = ground.tasks(), await ground.token()
    task_id = await ground.task()
    await ground.dispatcher().dispatch(token, task_id, EXTERNAL, lease=timedelta(seconds=60))
    await gaps.begin()
    assert not await gaps.catch_up()

    ground.clock.advance(600)
    running[0] += 600_000
    assert await gaps.catch_up()
    timers = Timers(
        ground.transactions, gaps=gaps, dispatcher=ground.dispatcher(), layers=ground.layers, clock=ground.clock
    )
    await timers.carry_out_due()
    assert await status_is(tasks, task_id, Status.RUNNING)
