"""Revoking: everything below a credential dies with it, and nothing beside it."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.domain.access import ENGINE, Role, Verb
from app.domain.attempts import Outcome, Reason
from app.domain.errors import (
    AttemptSuperseded,
    InvalidName,
    InvalidRequest,
    KeyNotFound,
    RoleViolation,
    StoreUnavailable,
    TokenExpired,
    TokenRevoked,
    Unauthenticated,
)
from app.domain.json import Json
from app.domain.sessions import SessionOptions
from app.domain.tasks import RetryPolicy, Status
from app.domain.tokens import CapToken, Handle
from app.engine.ops import cancelling, credentials, revoking
from app.engine.ops.queues import Claim
from app.engine.sessions import Attached
from app.state.state import State
from tests.support.swarms import DAY, EXTERNAL, Plan, Swarm, Work, crash, refused, values
from tests.support.waiting import eventually

ROOT = "shk_" + "r" * 40
HOUR = timedelta(hours=1)
RETRY = RetryPolicy(max_attempts=5, backoff=1, jitter=0, on=("blocked", "failed", "timeout", "lost"))


async def root(swarm: Swarm) -> str:
    """The root key's text."""
    await swarm.engine.keys.ensure_root(ROOT)
    return ROOT


async def key(swarm: Swarm, *roles: Role, ttl: timedelta | None = None) -> tuple[str, str]:
    """A new key's id and text."""
    made, text = await swarm.engine.keys.create(await root(swarm), "k", frozenset(roles or Role), ttl)
    return made.id, text


async def attached(swarm: Swarm, text: str, ttl: timedelta = DAY) -> Attached:
    """An operator's session attached with a key."""
    return await swarm.engine.sessions.attach_by_key(text, "op", Role.OPERATOR, ttl, SessionOptions())


async def dispatched(swarm: Swarm, token: CapToken, **spec: Any) -> Work:
    """An attempt that this token's holder dispatched."""
    task_id = await swarm.task(**spec)
    made, _ = await swarm.engine.dispatcher.dispatch(token, task_id, EXTERNAL)
    assert made.handle is not None
    return Work(task_id, made.attempt, Handle(made.handle))


async def test_a_key_takes_everything_below_it_along(swarm: Swarm) -> None:
    """Key → session → minted token → attempt → the child attempts of its worker, to the last."""
    engine = swarm.engine
    key_id, text = await key(swarm)
    session = await attached(swarm, text)
    minted = await engine.credentials.mint(session.token, agent_id="a", role=Role.OBSERVER, ttl=HOUR)
    work = await dispatched(swarm, session.token)
    child = await swarm.external_child(work)
    grandchild = await swarm.external_child(child)
    beside = await swarm.external()

    await engine.keys.revoke(ROOT, key_id)

    await refused(Unauthenticated, engine.keys.check(text, Role.OPERATOR))
    for token in (session.token, minted.token):
        await refused(TokenRevoked, engine.verify_token(token, Verb.POLL_TASK))
    for dead in (work, child, grandchild):
        await refused(TokenRevoked, engine.workers.payload(dead.handle))
        row = await swarm.attempt(dead.task_id)
        assert (row.outcome, row.reason) == (Outcome.BLOCKED, Reason.REVOKED)
        assert await swarm.status(dead.task_id) is Status.BLOCKED
    assert (await engine.workers.payload(beside.handle)).task_id == beside.task_id


async def test_a_session_takes_its_own_along(swarm: Swarm) -> None:
    """Another session of the same key goes on."""
    engine = swarm.engine
    _, text = await key(swarm)
    first, second = await attached(swarm, text), await attached(swarm, text)
    works = [await dispatched(swarm, session.token) for session in (first, second)]

    await engine.credentials.revoke(second.token, first.session.jti)

    await refused(TokenRevoked, engine.heartbeat(first.token))
    await engine.heartbeat(second.token)
    await refused(TokenRevoked, engine.workers.payload(works[0].handle))
    await engine.workers.payload(works[1].handle)


async def test_children_die_though_their_dispatcher_is_done(swarm: Swarm) -> None:
    """An attempt that was dispatched below a revoked token dies, also when the worker between has finished."""
    engine = swarm.engine
    made = await engine.attach("o", Role.OPERATOR, DAY)
    session = await engine.sessions.read_own(made)
    work = await dispatched(swarm, made)
    child = await swarm.external_child(work)
    await swarm.submit(work)

    await engine.credentials.revoke(swarm.operator, session.jti)

    await refused(TokenRevoked, engine.workers.payload(child.handle))
    assert await swarm.status(work.task_id) is Status.PASS


async def test_a_minted_workers_attempts_die_with_its_token(swarm: Swarm) -> None:
    """What a worker dispatched with a minted token hangs below that token."""
    engine = swarm.engine
    work = await swarm.external()
    twin = await engine.credentials.mint(swarm.operator, agent_id="t", role=Role.WORKER, ttl=HOUR, task_id=work.task_id)
    child_id = await swarm.child(work)
    made, _ = await engine.dispatcher.dispatch(twin.token, child_id, EXTERNAL)

    await engine.credentials.revoke(swarm.operator, twin.record.jti)

    assert (await swarm.attempt(child_id)).reason is Reason.REVOKED
    assert made.attempt == 1
    await engine.workers.payload(work.handle)


async def test_nothing_rises_again_below_a_revoked_token(swarm: Swarm) -> None:
    """Neither the attempt that died of it nor one whose retry was planned is tried again."""
    engine = swarm.engine
    token = await engine.attach("o", Role.OPERATOR, DAY)
    jti = (await engine.sessions.read_own(token)).jti
    tasks = [await swarm.task(retry=RETRY) for _ in range(2)]
    for task_id in tasks:
        await engine.dispatcher.dispatch(token, task_id, {"kind": "queue", "queue": "q"})
    _, text = await key(swarm, Role.WORKER)
    claim = await engine.workers.claim(text, queue="q", hold=timedelta(0))
    assert claim is not None
    await engine.workers.submit(Handle(claim.handle), Json.of("no"), ok=False)
    assert (await swarm.row(claim.payload.task_id)).retry_at is not None

    await engine.credentials.revoke(swarm.operator, jti)
    await swarm.pass_time(3600)

    for task_id in tasks:
        row = await swarm.row(task_id)
        assert (row.status, row.attempt, row.retry_at) == (Status.BLOCKED, 1, None)
        assert row.last_result is not None
    assert (await swarm.row(tasks[0])).last_result == Json.of(
        {"reason": "revoked", "detail": "the token that dispatched it was revoked"}
    )


async def test_revoking_is_idempotent_and_says_what_it_cannot_find(swarm: Swarm) -> None:
    """A second revocation changes nothing; an unknown token or key raises KeyNotFound."""
    engine = swarm.engine
    made = await engine.credentials.mint(swarm.operator, agent_id="a", role=Role.OBSERVER, ttl=HOUR)
    await engine.credentials.revoke(swarm.operator, made.record.jti)
    before = await swarm.dump()
    await engine.credentials.revoke(swarm.operator, made.record.jti)
    assert await swarm.dump() == before
    await refused(KeyNotFound, engine.credentials.revoke(swarm.operator, "W-nothing"))
    await refused(KeyNotFound, engine.keys.revoke(await root(swarm), "K-nothing"))
    await refused(RoleViolation, engine.credentials.revoke(swarm.senior, made.record.jti))


async def test_parked_waits_end_when_their_credential_is_revoked(swarm: Swarm) -> None:
    """A long poll learns nothing more with a dead credential: not at its end, and it does not wait for that."""
    engine = swarm.engine
    key_id, text = await key(swarm)
    session = await attached(swarm, text)
    work = await dispatched(swarm, session.token)
    asked = await engine.query_senior(swarm.operator, await swarm.task(), "?")
    child = await swarm.child(work)
    waits = [
        engine.tasks.watch(session.token, work.task_id, HOUR),
        engine.tasks.watch(work.handle, child, HOUR),
        engine.questions.watch(session.token, asked, HOUR),
    ]
    parked = [asyncio.ensure_future(call) for call in waits]
    claiming = asyncio.ensure_future(engine.workers.claim(text, queue="q", hold=HOUR))
    bystander = asyncio.ensure_future(engine.tasks.watch(swarm.operator, child, HOUR))
    await eventually(lambda: len(engine.parts.bus._subscriptions.get("queue:1:q", ())) == 1)  # pyright: ignore[reportAttributeAccessIssue] - the bus of one process

    await engine.keys.revoke(ROOT, key_id)

    async with asyncio.timeout(60):
        for call in parked:
            await refused(TokenRevoked, call)
        await refused(Unauthenticated, claiming)
    assert not bystander.done()
    await engine.cancel_task(swarm.operator, child)
    assert (await bystander)[1]


async def test_parked_waits_end_when_their_credential_expires(swarm: Swarm) -> None:
    """A long poll and a claim end at that instant: not at the end of the hold, nor at the next look without a hint."""
    engine = swarm.engine
    _, text = await key(swarm, ttl=timedelta(milliseconds=300))
    session = await attached(swarm, text)
    task_id = await swarm.task()
    asked = await engine.query_senior(swarm.operator, await swarm.task(), "?")
    polls = [engine.tasks.watch(session.token, task_id, HOUR), engine.questions.watch(session.token, asked, HOUR)]
    parked = [asyncio.ensure_future(call) for call in polls]
    claiming = asyncio.ensure_future(engine.workers.claim(text, queue="q", hold=HOUR))
    await eventually(lambda: len(engine.parts.bus._subscriptions.get("queue:1:q", ())) == 1)  # pyright: ignore[reportAttributeAccessIssue] - the bus of one process

    swarm.clock.advance(0.3)

    async with asyncio.timeout(engine.cfg.poll_interval_ms / 2000):
        for call in parked:
            await refused(TokenExpired, call)
        await refused(Unauthenticated, claiming)


async def test_news_that_comes_with_a_revocation_is_not_told(swarm: Swarm) -> None:
    """The last look of a poll is a look at its credential too: hints may be late or lost."""
    session = await attached(swarm, (await key(swarm))[1])
    task_id = await swarm.task()
    parked = asyncio.ensure_future(swarm.engine.tasks.watch(session.token, task_id, HOUR))
    await eventually(lambda: swarm.engine.parts.bus._subscriptions.get(f"task:{task_id}"))  # pyright: ignore[reportAttributeAccessIssue] - the bus of one process

    def revoke_and_settle(state: State) -> None:
        credentials.revoke(state, ENGINE, session.session.jti)
        cancelling.cancel(state, ENGINE, task_id, None)

    await swarm.engine.with_state("both", revoke_and_settle)

    await refused(TokenRevoked, parked)


async def test_a_revoked_session_is_detached(swarm: Swarm) -> None:
    """Nobody can bring it back, so nobody is shown that it is there."""
    key_id, text = await key(swarm)
    by_key, by_token = await attached(swarm, text), await attached(swarm, text)
    other = await attached(swarm, ROOT)

    await swarm.engine.credentials.revoke(swarm.operator, by_token.session.jti)
    await swarm.engine.keys.revoke(ROOT, key_id)

    for gone in (by_key, by_token):
        row = await swarm.engine.sessions.read(swarm.operator, gone.session.id)
        assert not row.attached
        assert row.detached_at is not None
    assert (await swarm.engine.sessions.read(swarm.operator, other.session.id)).attached
    detached = [event for event in await swarm.events() if event.kind == "session_detached"]
    assert [values(event)["why"] for event in detached] == ["revoked", "revoked"]
    revoked = [values(event) for event in await swarm.events() if event.kind == "token_revoked"]
    assert [set(fields) for fields in revoked] == [{"jti", "by"}, {"key_id", "by"}]


async def test_a_workers_key_takes_its_claims_along(swarm: Swarm) -> None:
    """Its handles are invalid at once; the task is retried by another worker if its policy says so, else blocked."""
    engine = swarm.engine
    key_id, text = await key(swarm, Role.WORKER)
    retried, blocked, asking, done, others = [await swarm.task(retry=retry) for retry in (RETRY, *(4 * [None]))]
    claims: dict[str, Handle] = {}
    for task_id in (retried, blocked, asking, done, others):
        await engine.dispatcher.dispatch(swarm.operator, task_id, {"kind": "queue", "queue": "q"})
        claim = await engine.workers.claim(
            ROOT if task_id is others else text, queue="q", hold=timedelta(0), worker_name="w"
        )
        assert claim is not None
        claims[task_id] = Handle(claim.handle)
    question = await engine.query_senior(claims[asking], asking, "?")
    await engine.workers.submit(claims[done], Json.of(1), ok=True)

    await engine.keys.revoke(ROOT, key_id)

    for task_id in (retried, blocked, asking):
        await refused(AttemptSuperseded, engine.workers.submit(claims[task_id], Json.of("late"), ok=True))
        await refused(AttemptSuperseded, engine.workers.payload(claims[task_id]))
    rows = [await swarm.row(task_id) for task_id in (retried, blocked, asking, done, others)]
    assert [row.status.value for row in rows] == ["running", "blocked", "suspended", "pass", "running"]
    assert [row.live for row in rows] == [False, False, False, False, True]
    await engine.workers.payload(claims[others])
    await swarm.pass_time(1)
    again = await engine.workers.claim(ROOT, queue="q", hold=timedelta(0))
    assert again is not None
    assert (again.payload.task_id, again.payload.attempt) == (retried, 2)
    await engine.resume(question, "yes")
    assert (await swarm.row(asking)).status is Status.BLOCKED
    assert (await swarm.attempt(blocked)).reason is Reason.LOST


async def test_dispatch_races_revocation(swarm: Swarm) -> None:
    """Whichever comes first, no attempt of a revoked token stays alive."""
    engine = swarm.engine
    for _ in range(5):
        token = await engine.attach("o", Role.OPERATOR, DAY)
        jti = (await engine.sessions.read_own(token)).jti
        tasks = [await swarm.task() for _ in range(6)]
        calls = [engine.dispatcher.dispatch(token, task_id, EXTERNAL) for task_id in tasks]
        calls.insert(3, engine.credentials.revoke(swarm.operator, jti))  # pyright: ignore[reportArgumentType] - calls of two kinds
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        for outcome in outcomes:
            assert outcome is None or isinstance(outcome, tuple | TokenRevoked), outcome
        for task_id in tasks:
            row = await swarm.row(task_id)
            assert not row.live
            assert row.status is (Status.BLOCKED if row.attempt else Status.PENDING)


async def test_a_workers_dispatch_races_revocation(swarm: Swarm) -> None:
    """What a worker dispatches hangs where its own attempt does, and is not missed either."""
    engine = swarm.engine
    for _ in range(5):
        token = await engine.attach("o", Role.OPERATOR, DAY)
        jti = (await engine.sessions.read_own(token)).jti
        works = [await dispatched(swarm, token) for _ in range(6)]
        children = [await swarm.child(work) for work in works]
        calls = [
            engine.dispatcher.dispatch(w.handle, child, EXTERNAL) for w, child in zip(works, children, strict=True)
        ]
        calls.insert(3, engine.credentials.revoke(swarm.operator, jti))  # pyright: ignore[reportArgumentType] - calls of two kinds
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        for outcome in outcomes:
            assert outcome is None or isinstance(outcome, tuple | TokenRevoked), outcome
        assert not any([(await swarm.row(task_id)).live for task_id in (*children, *(w.task_id for w in works))])


async def test_attaching_and_claiming_race_the_keys_revocation(swarm: Swarm) -> None:
    """Whichever comes first, no session and no claimed attempt of a revoked key stays alive."""
    engine = swarm.engine
    for _ in range(5):
        key_id, text = await key(swarm)
        tasks = [await swarm.task() for _ in range(4)]
        for task_id in tasks:
            await engine.dispatcher.dispatch(swarm.operator, task_id, {"kind": "queue", "queue": "q"})
        calls: list[Any] = [attached(swarm, text) for _ in range(4)]
        calls += [engine.workers.claim(text, queue="q", hold=timedelta(0)) for _ in range(4)]
        calls.insert(4, engine.keys.revoke(ROOT, key_id))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        for outcome in outcomes:
            if isinstance(outcome, Attached):
                await refused(TokenRevoked, engine.sessions.read_own(outcome.token))
            elif isinstance(outcome, Claim):
                await refused(AttemptSuperseded, engine.workers.payload(Handle(outcome.handle)))
            else:
                assert outcome is None or isinstance(outcome, Unauthenticated), outcome
        for task_id in tasks:
            await engine.tasks.mark(swarm.operator, task_id, ok=False)


# API keys


async def test_keys_have_roles_and_an_end(swarm: Swarm) -> None:
    """A key attaches as its roles only, and until its end only; unknown, revoked and expired look the same."""
    engine = swarm.engine
    _, text = await key(swarm, Role.OBSERVER, ttl=timedelta(seconds=60))

    assert (await engine.keys.check(text, Role.OBSERVER)).role_set == {Role.OBSERVER}
    await refused(RoleViolation, engine.keys.check(text, Role.OPERATOR))
    await refused(RoleViolation, engine.sessions.attach_by_key(text, "o", Role.OPERATOR, HOUR, SessionOptions()))
    reasons = set()
    swarm.clock.advance(60)
    for wrong in (text, "shk_unknown", ""):
        reasons.add(str(await refused(Unauthenticated, engine.keys.check(wrong, Role.OBSERVER))))
    assert len(reasons) == 1


async def test_a_session_never_outlives_its_key(swarm: Swarm) -> None:
    """The session's token ends with the key's time."""
    _, text = await key(swarm, ttl=timedelta(seconds=60))
    session = await attached(swarm, text, DAY)
    assert session.session.expires_at == swarm.clock() + 60_000

    swarm.clock.advance(61)

    await refused(TokenExpired, swarm.engine.heartbeat(session.token))


async def test_only_the_root_key_manages_keys(swarm: Swarm) -> None:
    """Another key with every role does not."""
    engine = swarm.engine
    key_id, text = await key(swarm)

    await refused(RoleViolation, engine.keys.create(text, "k", frozenset({Role.WORKER}), None))
    await refused(RoleViolation, engine.keys.page(text))
    await refused(RoleViolation, engine.keys.revoke(text, key_id))
    await refused(Unauthenticated, engine.keys.page("shk_none"))
    assert [x.name for x in (await engine.keys.page(ROOT)).items] == ["root", "k"]


async def test_keys_are_checked_when_they_are_made(swarm: Swarm) -> None:
    """A name, a role, a positive time."""
    engine, top = swarm.engine, await root(swarm)
    worker = frozenset({Role.WORKER})
    await refused(InvalidName, engine.keys.create(top, "", worker, None))
    await refused(InvalidName, engine.keys.create(top, "k" * 201, worker, None))
    await refused(InvalidRequest, engine.keys.create(top, "k", frozenset(), None))
    await refused(InvalidRequest, engine.keys.create(top, "k", worker, timedelta(0)))


async def test_the_root_key_is_replaced_by_configuration(swarm: Swarm) -> None:
    """Another root text revokes the one before with all its sessions; the root is not revoked by itself."""
    engine = swarm.engine
    assert not await engine.keys.has_root()
    assert await engine.keys.ensure_root(ROOT)
    assert not await engine.keys.ensure_root(ROOT)
    assert await engine.keys.has_root()
    session = await attached(swarm, ROOT)
    [only] = (await engine.keys.page(ROOT)).items
    await refused(InvalidRequest, engine.keys.revoke(ROOT, only.id))

    assert await engine.keys.ensure_root("shk_" + "n" * 40)

    await refused(Unauthenticated, engine.keys.page(ROOT))
    await refused(TokenRevoked, engine.heartbeat(session.token))


async def test_a_late_result_of_a_revoked_attempt_is_refused(swarm: Swarm) -> None:
    """A revoked credential raises TokenRevoked, not the conflict of its attempt."""
    token = await swarm.engine.attach("o", Role.OPERATOR, DAY)
    work = await dispatched(swarm, token)
    await swarm.engine.credentials.revoke(swarm.operator, (await swarm.engine.sessions.read_own(token)).jti)

    await refused(TokenRevoked, swarm.submit(work))
    assert AttemptSuperseded.code != TokenRevoked.code


@dataclass(frozen=True, slots=True)
class Crowd:
    """More credentials below a key than one transaction revokes."""

    key_id: str
    tokens: list[CapToken]
    works: list[Work]
    claim: Handle

    @classmethod
    async def below_a_key(cls, swarm: Swarm) -> "Crowd":
        """Sessions, tokens that the last of them minted, attempts, and a claim of another dispatcher's attempt."""
        key_id, text = await key(swarm)
        sessions = [await attached(swarm, text) for _ in range(revoking.BATCH + 5)]
        last, mint = sessions[-1].token, swarm.engine.credentials.mint
        minted = [await mint(last, agent_id="a", role=Role.OBSERVER, ttl=HOUR) for _ in range(revoking.BATCH)]
        works = [await dispatched(swarm, last) for _ in range(revoking.BATCH + 5)]
        await swarm.engine.dispatcher.dispatch(swarm.operator, await swarm.task(), {"kind": "queue", "queue": "crowd"})
        claim = await swarm.engine.workers.claim(text, queue="crowd", hold=timedelta(0))
        assert claim is not None
        tokens = [session.token for session in sessions] + [one.token for one in minted]
        return cls(key_id, tokens, works, Handle(claim.handle))

    async def refused(self, swarm: Swarm) -> None:
        """Check that nothing of it can act."""
        for token in self.tokens:
            await refused(TokenRevoked, swarm.engine.verify_token(token, Verb.POLL_TASK))
        for work in self.works:
            await refused(TokenRevoked, swarm.engine.workers.payload(work.handle))
            assert (await swarm.attempt(work.task_id)).reason is Reason.REVOKED
        await refused(AttemptSuperseded, swarm.engine.workers.payload(self.claim))


async def test_a_crowd_is_revoked_in_batches_before_the_reply(swarm: Swarm) -> None:
    """One transaction revokes the key and leaves the rest to others; the reply comes when nothing of it can act."""
    crowd = await Crowd.below_a_key(swarm)

    def revoke(state: State) -> int:
        credentials.revoke_key(state, crowd.key_id, by="test")
        return len(revoking.left_below(state, crowd.key_id) or [])

    left = await swarm.engine.store.transact("revoke", revoke)
    await swarm.engine.keys.revoke(ROOT, crowd.key_id)

    assert left == len(crowd.tokens) + len(crowd.works) + 1
    await crowd.refused(swarm)
    assert await swarm.engine.store.read(revoking.unfinished) == []


async def test_the_next_server_finishes_a_revocation_that_a_crash_interrupted(plan: Plan) -> None:
    """The key is refused at once; the mark beside it survives the crash, and the rest follows before the start ends."""
    engine = plan.engine()
    await engine.start()
    swarm = await Swarm.over(engine, plan)
    crowd = await Crowd.below_a_key(swarm)

    def begin(state: State) -> int:
        credentials.revoke_key(state, crowd.key_id, by="test")
        left = revoking.left_below(state, crowd.key_id) or []
        revoking.revoke_all(state, left[: revoking.BATCH])
        return len(left)

    assert await engine.store.transact("revoke", begin) > 2 * revoking.BATCH
    await crash(engine)

    async with plan.engine() as again:
        swarm = await Swarm.over(again, plan)
        await again.keys.ensure_root(ROOT)
        await crowd.refused(swarm)


async def test_a_call_that_a_stop_cuts_off_says_so(plan: Plan) -> None:
    """Its caller was not cancelled and hears that the rest is unsure; the next server does the rest."""
    engine = plan.engine()
    await engine.start()
    swarm = await Swarm.over(engine, plan)
    key_id, text = await key(swarm)
    token = (await attached(swarm, text)).token
    call = asyncio.create_task(engine.keys.revoke(ROOT, key_id))
    while not any(task.get_name() == f"batches below {key_id}" for task in asyncio.all_tasks()):
        await engine.check()

    await crash(engine)

    assert (await refused(StoreUnavailable, call)).unsure
    async with plan.engine() as again:
        await again.keys.ensure_root(ROOT)
        await refused(TokenRevoked, again.verify_token(token, Verb.POLL_TASK))
