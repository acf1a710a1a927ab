"""Who may do what: verification step by step, uses, ownership, minting."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.access import Role, RoleVerbGate, Verb
from app.domain.errors import (
    AttemptSuperseded,
    BadSignature,
    Cancelled,
    HandleMistyped,
    InvalidRequest,
    NotStarted,
    RoleViolation,
    TaskNotFound,
    TokenExpired,
    TokenNotFound,
    TokenRevoked,
    TokenTaskMismatch,
    TokenUsesExhausted,
    Unauthenticated,
)
from app.domain.handles import untimed
from app.domain.json import Json
from app.domain.tasks import TaskSpec
from app.domain.tokens import CapToken, Claims, Handle, SigningKey, TokenSigner
from app.state.tables import TOKENS
from tests.support.swarms import DAY, EXTERNAL, Plan, Swarm, Work, refused, unchanged

HOUR = timedelta(hours=1)
SPEC = TaskSpec(agent="a", initial_directive="b")
REACHING = (Verb.READ_TASK_STATE, Verb.POLL_TASK, Verb.CANCEL_TASK)


async def minted(swarm: Swarm, role: Role = Role.WORKER, **options: object) -> CapToken:
    """A token that the operator minted."""
    wanted = {"agent_id": "helper", "role": role, "ttl": HOUR} | options
    return (await swarm.engine.credentials.mint(swarm.operator, **wanted)).token  # pyright: ignore[reportArgumentType] - a test's options


async def token_of(swarm: Swarm, role: Role) -> CapToken:
    """A living token of this role; the worker's is an attempt's own."""
    if role is Role.WORKER:
        return await swarm.worker_token(await swarm.external())
    return {Role.OPERATOR: swarm.operator, Role.SENIOR: swarm.senior, Role.OBSERVER: swarm.observer}[role]


@pytest.mark.parametrize("role", Role)
async def test_each_role_has_its_verbs_and_no_other(swarm: Swarm, role: Role) -> None:
    """`verify_token` lets exactly the role's verbs through."""
    token, gate = await token_of(swarm, role), RoleVerbGate()

    for verb in Verb:
        if gate.allows(role, verb):
            await swarm.engine.verify_token(token, verb)
        else:
            await refused(RoleViolation, swarm.engine.verify_token(token, verb))


async def test_verification_goes_step_by_step(swarm: Swarm) -> None:
    """Signature, expiry, role × verb, record, revocation, uses: checked in this order."""
    engine = swarm.engine
    stranger = TokenSigner([SigningKey("test", b"x" * 32)], clock=swarm.clock)
    claims = Claims(
        subject="a", role=Role.OBSERVER, jti="W-unknown", issued_at=swarm.clock(), expires_at=swarm.clock() + 60_000
    )
    forbidden, allowed = Verb.START_TASK, Verb.POLL_TASK

    # Unknown to the store, and the verb is forbidden: the verb comes first.
    unknown = engine.signer.sign(claims)
    await refused(RoleViolation, engine.verify_token(unknown, forbidden))
    await refused(TokenNotFound, engine.verify_token(unknown, allowed))
    await refused(BadSignature, engine.verify_token(stranger.sign(claims), forbidden))

    # Revoked with no use left: revocation comes first; expiry before both, a forbidden verb between.
    made = await engine.credentials.mint(
        swarm.operator, agent_id="a", role=Role.OBSERVER, ttl=timedelta(minutes=1), max_uses=1
    )
    await engine.verify_token(made.token, allowed)
    await refused(TokenUsesExhausted, engine.verify_token(made.token, allowed))
    await engine.credentials.revoke(swarm.operator, made.record.jti)
    await refused(TokenRevoked, engine.verify_token(made.token, allowed))
    await refused(RoleViolation, engine.verify_token(made.token, forbidden))
    swarm.clock.advance(61)
    await refused(TokenExpired, engine.verify_token(made.token, forbidden))
    await refused(BadSignature, engine.verify_token(stranger.sign(claims), forbidden))


@pytest.mark.parametrize("uses", [1, 7])
async def test_uses_are_spent_once_each(swarm: Swarm, uses: int) -> None:
    """Of many callers at once exactly as many as there are uses come through, whatever they ask for."""
    task_id = await swarm.task()
    token = await minted(swarm, Role.OBSERVER, max_uses=uses)

    def calls() -> list[object]:
        return [
            swarm.engine.verify_token(token, Verb.POLL_TASK),
            swarm.engine.read_task_state(token, task_id),
            swarm.engine.poll_task(token, task_id, timedelta(0)),
        ]

    outcomes = await asyncio.gather(*(call for _ in range(20) for call in calls()), return_exceptions=True)  # pyright: ignore[reportArgumentType,reportCallIssue] - awaitables of several kinds

    refusals = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {type(refusal) for refusal in refusals} == {TokenUsesExhausted}
    assert len(outcomes) - len(refusals) == uses


async def test_a_refusal_spends_no_use(swarm: Swarm) -> None:
    """A forbidden verb and a task that does not exist leave the token its uses."""
    token = await minted(swarm, Role.OBSERVER, max_uses=1)

    await refused(RoleViolation, swarm.engine.verify_token(token, Verb.START_TASK))
    await refused(TaskNotFound, swarm.engine.read_task_state(token, "T-nowhere"))

    await swarm.engine.verify_token(token, Verb.POLL_TASK)


async def test_a_scope_narrows_a_token(swarm: Swarm) -> None:
    """A token with scopes may do what is in its role and in its scope, and nothing else."""
    token = await minted(swarm, Role.OBSERVER, scopes=frozenset({Verb.POLL_TASK, Verb.START_TASK}))

    await swarm.engine.verify_token(token, Verb.POLL_TASK)
    await refused(RoleViolation, swarm.engine.verify_token(token, Verb.READ_TRACE))
    await refused(RoleViolation, swarm.engine.verify_token(token, Verb.START_TASK))


async def test_a_token_of_limited_uses_neither_starts_nor_dispatches(swarm: Swarm) -> None:
    """Its uses would come back with the credentials of what it starts; nothing is spent or changed."""
    work = await swarm.external()
    child = await swarm.child(work)
    token = await minted(swarm, task_id=work.task_id, max_uses=1)

    for verb in (Verb.START_TASK, Verb.DISPATCH_ATTEMPT):
        await refused(RoleViolation, swarm.engine.verify_token(token, verb))
    await unchanged(swarm, RoleViolation, swarm.engine.start_task(token, SPEC))
    await unchanged(swarm, RoleViolation, swarm.engine.dispatcher.dispatch(token, child, EXTERNAL))

    assert (await swarm.engine.read_task_state(token, child)).task.id == child


# Minting


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.SENIOR])
async def test_only_workers_and_observers_are_minted(swarm: Swarm, role: Role) -> None:
    """No token can be minted for a role that could mint or give verdicts."""
    await unchanged(
        swarm, RoleViolation, swarm.engine.credentials.mint(swarm.operator, agent_id="a", role=role, ttl=HOUR)
    )


async def test_only_operators_mint(swarm: Swarm) -> None:
    """Workers, seniors and observers do not, with tokens or handles."""
    work = await swarm.external()
    for token in (swarm.senior, swarm.observer, await swarm.worker_token(work), work.handle):
        await refused(
            RoleViolation,
            swarm.engine.credentials.mint(token, agent_id="a", role=Role.WORKER, ttl=HOUR),  # pyright: ignore[reportArgumentType] - a handle is no token
        )


async def test_a_minted_token_is_never_more_than_its_parent(swarm: Swarm) -> None:
    """It ends with its parent at the latest, and its scope is within its parent's."""
    short = await swarm.engine.attach("short", Role.OPERATOR, timedelta(seconds=10))
    ends_at = swarm.clock() + 10_000
    swarm.clock.advance(0.7)
    made = await swarm.engine.credentials.mint(short, agent_id="a", role=Role.OBSERVER, ttl=DAY)
    assert made.record.expires_at == ends_at
    swarm.clock.advance(10)
    await refused(TokenExpired, swarm.engine.verify_token(made.token, Verb.POLL_TASK))


async def test_a_token_ends_at_the_millisecond_that_was_told(swarm: Swarm) -> None:
    """Although a token itself counts in whole seconds."""
    swarm.clock.advance(0.4)
    made = await swarm.engine.credentials.mint(
        swarm.operator, agent_id="a", role=Role.OBSERVER, ttl=timedelta(seconds=1.5)
    )
    told = await swarm.engine.credentials.inspect(swarm.operator, made.token, Verb.POLL_TASK)
    assert told.expires_at == made.record.expires_at == swarm.clock() + 1500

    swarm.clock.advance(1.499)
    await swarm.engine.verify_token(made.token, Verb.POLL_TASK)
    swarm.clock.advance(0.001)
    await refused(TokenExpired, swarm.engine.verify_token(made.token, Verb.POLL_TASK))


async def test_a_minted_tokens_scope_is_within_its_parents(plan: Plan) -> None:
    """Where observers may mint, what they mint has no verb that they lack."""
    plan = replace(plan, gate=RoleVerbGate().allowing(Role.OBSERVER, Verb.MINT_WORKER_TOKEN))
    narrow = frozenset({Verb.MINT_WORKER_TOKEN, Verb.POLL_TASK})
    async with plan.engine() as engine:
        operator = await engine.attach("o", Role.OPERATOR, DAY)
        parent = await engine.credentials.mint(operator, agent_id="p", role=Role.OBSERVER, ttl=HOUR, scopes=narrow)
        for asked in (None, frozenset({Verb.POLL_TASK, Verb.READ_TRACE})):
            child = await engine.credentials.mint(
                parent.token, agent_id="c", role=Role.OBSERVER, ttl=HOUR, scopes=asked
            )
            assert child.record.scope is not None
            assert set(child.record.scope.split()) <= narrow
            await refused(RoleViolation, engine.verify_token(child.token, Verb.READ_TRACE))


async def test_minting_says_what_is_wrong(swarm: Swarm) -> None:
    """A task that is not there or is cancelled, no time, no uses."""
    task_id = await swarm.task()
    await refused(TaskNotFound, minted(swarm, task_id="T-nowhere"))
    await refused(InvalidRequest, minted(swarm, ttl=timedelta(0)))
    await refused(InvalidRequest, minted(swarm, max_uses=0))
    await swarm.engine.cancel_task(swarm.operator, task_id)
    await unchanged(swarm, Cancelled, minted(swarm, task_id=task_id))


async def test_inspection_tells_of_another_token(swarm: Swarm) -> None:
    """What is wrong with a token is a value; inspecting spends a use of the token that is inspected."""
    made = await swarm.engine.credentials.mint(swarm.operator, agent_id="a", role=Role.OBSERVER, ttl=HOUR, max_uses=2)

    first = await swarm.engine.credentials.inspect(swarm.operator, made.token, Verb.POLL_TASK)
    assert (first.valid, first.code, first.role, first.subject, first.uses_left) == (True, None, Role.OBSERVER, "a", 1)
    codes = []
    for text, verb in (
        (made.token, Verb.START_TASK),
        (made.token, Verb.POLL_TASK),
        (made.token, Verb.POLL_TASK),
        (CapToken("nonsense"), Verb.POLL_TASK),
    ):
        codes.append((await swarm.engine.credentials.inspect(swarm.operator, text, verb)).code)
    assert codes == ["role-violation", None, "token-uses-exhausted", "bad-signature"]
    await refused(RoleViolation, swarm.engine.credentials.inspect(swarm.senior, made.token, Verb.POLL_TASK))
    work = await swarm.external()
    token = await swarm.worker_token(work)
    await swarm.submit(work)
    spent = await swarm.engine.credentials.inspect(swarm.operator, token, Verb.FETCH_PROMPT)
    assert (spent.valid, spent.code) == (False, "attempt-superseded")
    other = await swarm.external()
    token = await swarm.worker_token(other)
    await refused(
        TaskNotFound, swarm.engine.credentials.inspect(swarm.operator, token, Verb.READ_TASK_STATE, "T-nowhere")
    )


# Ownership


async def family(swarm: Swarm) -> dict[str, Work]:
    """A worker's own task, its child, its grandchild, its parent and a stranger, all of them running."""
    parent = await swarm.external()
    own = await swarm.external_child(parent)
    child = await swarm.external_child(own)
    grandchild = await swarm.external_child(child)
    return {
        "parent": parent,
        "own": own,
        "child": child,
        "grandchild": grandchild,
        "foreign": await swarm.external(),
    }


@pytest.mark.parametrize("verb", sorted(RoleVerbGate().verbs(Role.WORKER)))
async def test_ownership_of_workers(swarm: Swarm, verb: Verb) -> None:
    """A worker reaches its own task; reading, cancelling and starting also its descendants, dispatching those alone."""
    tasks = await family(swarm)
    allowed = {"own", "child", "grandchild"} if verb in {*REACHING, Verb.START_TASK} else {"own"}
    if verb is Verb.DISPATCH_ATTEMPT:
        allowed = {"child", "grandchild"}
    token = await swarm.worker_token(tasks["own"])
    twin = await minted(swarm, task_id=tasks["own"].task_id)

    for name, work in tasks.items():
        for bearer in (token, twin):
            call = swarm.engine.verify_token_for_task(bearer, verb, work.task_id)
            if name in allowed:
                await call
            else:
                error = await refused(TokenTaskMismatch, call)
                assert error.task_id == work.task_id
    await refused(TaskNotFound, swarm.engine.verify_token_for_task(token, verb, "T-nowhere"))


async def test_others_reach_every_task(swarm: Swarm) -> None:
    """Operators, seniors and observers are outside the ownership gate."""
    work = await swarm.external()
    for token in (swarm.operator, swarm.senior, swarm.observer):
        await swarm.engine.verify_token_for_task(token, Verb.READ_TASK_STATE, work.task_id)
        assert (await swarm.engine.read_task_state(token, work.task_id)).task.id == work.task_id


async def test_the_operations_themselves_hold_the_gate(swarm: Swarm) -> None:
    """What the gate says is what the worker's calls do, with a handle as with a token."""
    tasks = await family(swarm)
    engine, own = swarm.engine, tasks["own"]
    answer = Json.of("x")

    for bearer in (own.handle, await swarm.worker_token(own)):
        for name in ("own", "child", "grandchild"):
            await engine.read_task_state(bearer, tasks[name].task_id)
            await engine.poll_task(bearer, tasks[name].task_id, timedelta(0))
        for name in ("parent", "foreign"):
            task_id = tasks[name].task_id
            await unchanged(swarm, TokenTaskMismatch, engine.read_task_state(bearer, task_id))
            await unchanged(swarm, TokenTaskMismatch, engine.poll_task(bearer, task_id, timedelta(0)))
            await unchanged(swarm, TokenTaskMismatch, engine.cancel_task(bearer, task_id))
        for name in ("parent", "child", "foreign"):
            task_id = tasks[name].task_id
            await unchanged(swarm, TokenTaskMismatch, engine.fetch_prompt(bearer, task_id))
            await unchanged(swarm, TokenTaskMismatch, engine.fetch_worker_payload(bearer, task_id))
            await unchanged(swarm, TokenTaskMismatch, engine.workers.submit(bearer, answer, ok=True, task_id=task_id))
            await unchanged(swarm, TokenTaskMismatch, engine.query_senior(bearer, task_id, "?"))
            await unchanged(swarm, TokenTaskMismatch, engine.post_result(bearer, task_id, 1))
        for name in ("own", "parent", "grandchild", "foreign"):
            await unchanged(swarm, TokenTaskMismatch, engine.dispatcher.dispatch(bearer, tasks[name].task_id, EXTERNAL))

    await engine.cancel_task(own.handle, tasks["child"].task_id)
    await refused(Cancelled, engine.fetch_prompt(tasks["grandchild"].handle, tasks["grandchild"].task_id))


async def test_a_minted_token_without_a_task_has_none(swarm: Swarm) -> None:
    """It reads data, and everything that is about a task is refused."""
    token = await minted(swarm)
    work = await swarm.external()
    await swarm.engine.set_resource("k", 1)

    assert await swarm.engine.fetch_data(token, "k") == 1
    await refused(TokenTaskMismatch, swarm.engine.task_id_from_token(token))
    await refused(TokenTaskMismatch, swarm.engine.workers.payload(token))
    await refused(TokenTaskMismatch, swarm.engine.read_task_state(token, work.task_id))
    await refused(TokenTaskMismatch, swarm.engine.start_task(token, SPEC))
    await refused(TokenTaskMismatch, swarm.engine.workers.submit(token, Json.of(1), ok=True))


async def test_a_minted_token_means_the_latest_attempt(swarm: Swarm) -> None:
    """Bound to a task it waits for the first attempt, then acts in whichever is the latest."""
    task_id = await swarm.task()
    token = await minted(swarm, task_id=task_id)
    assert await swarm.engine.task_id_from_token(token) == task_id
    await refused(NotStarted, swarm.engine.fetch_prompt(token, task_id))

    work = await swarm.external(task_id)
    assert (await swarm.engine.fetch_worker_payload(token, task_id)).attempt == 1
    await swarm.submit(work, "no", ok=False)
    await swarm.external(task_id)

    assert (await swarm.engine.fetch_worker_payload(token, task_id)).attempt == 2
    await swarm.engine.workers.submit(token, Json.of("yes"), ok=True)
    assert (await swarm.row(task_id)).last_result == Json.of("yes")


async def test_task_ids_are_those_of_workers(swarm: Swarm) -> None:
    """Tokens of others are bound to no task."""
    work = await swarm.external()
    assert await swarm.engine.task_id_from_token(await swarm.worker_token(work)) == work.task_id
    for token in (swarm.operator, swarm.senior, swarm.observer):
        await refused(TokenTaskMismatch, swarm.engine.task_id_from_token(token))
    await refused(BadSignature, swarm.engine.task_id_from_token(CapToken("x")))
    await refused(TokenNotFound, swarm.engine.credentials.attempt_token("T-nowhere", 1))


# Handles


async def test_a_handle_is_distinguished_from_other_texts(swarm: Swarm) -> None:
    """Mistyped, unknown, expired and superseded handles raise four different errors."""
    engine, work = swarm.engine, await swarm.external(lease=timedelta(seconds=60))
    assert await engine.task_id_from_handle(work.handle.text) == work.task_id
    text = work.handle.text
    mistyped = text[:-1] + ("0" if text[-1] != "0" else "1")

    await refused(HandleMistyped, engine.task_id_from_handle(mistyped))
    await refused(HandleMistyped, engine.workers.payload(Handle("wh-")))
    await refused(TokenNotFound, engine.task_id_from_handle(engine.parts.mint.new(swarm.clock())))
    swarm.clock.advance(engine.cfg.worker_token_life_ms / 1000)
    await refused(TokenExpired, engine.task_id_from_handle(text))
    assert await engine.timers.carry_out_due() == 0
    assert await engine.task_id_from_handle(text) == work.task_id
    await refused(AttemptSuperseded, engine.workers.payload(work.handle))


async def test_a_handle_opens_its_attempt_and_nothing_else(swarm: Swarm) -> None:
    """What only operators, seniors and observers do is refused to a handle."""
    work = await swarm.external()
    engine, handle = swarm.engine, work.handle
    await refused(RoleViolation, engine.tasks.mark(handle, work.task_id, ok=True))  # pyright: ignore[reportArgumentType] - a handle is no token
    await refused(RoleViolation, engine.tasks.override(handle, work.task_id, ok=True))  # pyright: ignore[reportArgumentType] - as above
    await refused(RoleViolation, engine.switch.pause(handle))  # pyright: ignore[reportArgumentType] - as above
    await refused(RoleViolation, engine.heartbeat(handle))  # pyright: ignore[reportArgumentType] - as above
    await refused(RoleViolation, engine.questions.answer(handle, "R-1", Json.of(1)))  # pyright: ignore[reportArgumentType] - as above


async def test_a_spent_credential_earns_a_conflict_everywhere(swarm: Swarm) -> None:
    """After the Final, every use of the handle or token raises AttemptSuperseded."""
    engine, work = swarm.engine, await swarm.external()
    child = await swarm.child(work)
    token = await swarm.worker_token(work)
    await engine.set_resource("k", 1)
    await swarm.submit(work)

    for bearer in (work.handle, token):
        for call in (
            engine.workers.payload(bearer),
            engine.fetch_prompt(bearer, work.task_id),
            engine.read_task_state(bearer, work.task_id),
            engine.read_task_state(bearer, child),
            engine.poll_task(bearer, child, timedelta(0)),
            engine.cancel_task(bearer, child),
            engine.start_task(bearer, SPEC),  # pyright: ignore[reportArgumentType] - workers start tasks with handles too
            engine.dispatcher.dispatch(bearer, child, EXTERNAL),
            engine.query_senior(bearer, work.task_id, "?"),
            engine.post_result(bearer, work.task_id, 1),
            engine.workers.heartbeat(bearer),
            engine.resources.read(bearer, "k"),
            engine.tasks.why(bearer, work.task_id),
            engine.attempts.page(bearer, work.task_id),
        ):
            await unchanged(swarm, AttemptSuperseded, call)
    await refused(AttemptSuperseded, engine.verify_token(token, Verb.FETCH_DATA))
    await refused(AttemptSuperseded, engine.verify_token_for_task(token, Verb.FETCH_PROMPT, work.task_id))


@pytest.mark.parametrize("timed", [True, False])
async def test_a_long_handle_of_an_earlier_release_is_valid(swarm: Swarm, timed: bool) -> None:
    """It has no time, so that its plain digest is stored; one that nobody made is unknown either way."""
    work, mint = await swarm.external(), swarm.engine.parts.mint
    digest = mint.digest(work.handle.text)
    if not timed:
        plain = untimed(digest)
        await swarm.engine.with_state("age", lambda s: s.db.change(f"UPDATE handles SET digest = '{plain}'", ()))  # noqa: S608

    assert (await swarm.engine.workers.payload(work.handle)).task_id == work.task_id
    await swarm.submit(work)
    await refused(TokenNotFound, swarm.engine.workers.payload(Handle(mint.new(swarm.clock()))))


async def test_handles_are_stored_as_digests_only(swarm: Swarm) -> None:
    """No table has a handle's or a key's text."""
    work = await swarm.external()
    await swarm.engine.keys.ensure_root("shk_" + "a" * 40)
    everything = repr(await swarm.dump())

    assert work.handle.text not in everything
    assert work.handle.text.removeprefix("wh-") not in everything
    assert "shk_" not in everything
    assert swarm.operator.text not in everything
    assert (await swarm.engine.store.read(lambda s: TOKENS.get(s.db, "W-1"))) is None


async def test_the_root_key_may_be_one_that_was_known_before(swarm: Swarm) -> None:
    """The configuration goes back to an earlier root key, or names a key that was made for something else."""
    engine, first, second = swarm.engine, "shk_" + "a" * 40, "shk_" + "b" * 40
    assert await engine.keys.ensure_root(first)
    assert await engine.keys.ensure_root(second)
    assert await engine.keys.ensure_root(first)
    await engine.keys.check_root(first)
    await refused(Unauthenticated, engine.keys.check_root(second))

    _, worker = await engine.keys.create(first, "w", frozenset({Role.WORKER}), HOUR)
    assert await engine.keys.ensure_root(worker)
    swarm.clock.advance(DAY.total_seconds())
    await engine.keys.check_root(worker)
    await refused(Unauthenticated, engine.keys.check_root(first))
