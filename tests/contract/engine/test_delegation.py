"""What workers hand down: the rights, the life and the gates of what they dispatch, retries included."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role, RoleVerbGate, Verb
from app.domain.attempts import Outcome, Phase, Reason
from app.domain.delegation import ALWAYS, HANDED_DOWN, OWN_TASK, WorkerRules
from app.domain.errors import DispatchFailed, RoleViolation, SpawnDepthExceeded, TokenExpired, TokenTaskMismatch
from app.domain.json import Json
from app.domain.sessions import OperatorKind
from app.domain.tasks import RetryOn, RetryPolicy, Status, TaskSpec
from app.domain.tokens import Bearer, CapToken, Handle
from app.spawning.ports import SpawnRefused
from tests.support.scripted import Hook
from tests.support.swarms import DAY, EXTERNAL, OPEN, Plan, Swarm, Work, refused, unchanged, with_cfg
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
LONG = timedelta(seconds=60)
QUEUE: dict[str, Any] = {"kind": "queue", "queue": "q"}
NARROW = frozenset({Verb.START_TASK, Verb.DISPATCH_ATTEMPT})
ONCE_MORE = RetryPolicy(max_attempts=2, backoff=0.0, jitter=0.0, on=(RetryOn.BLOCKED.value, RetryOn.LOST.value))


async def minted(swarm: Swarm, work: Work, scopes: frozenset[Verb] | None = None, ttl: timedelta = HOUR) -> CapToken:
    """A worker token for the task of this work."""
    made = await swarm.engine.credentials.mint(
        swarm.operator, agent_id="helper", role=Role.WORKER, ttl=ttl, scopes=scopes, task_id=work.task_id
    )
    return made.token


async def begun(swarm: Swarm, bearer: Bearer, **spec: Any) -> str:
    """A child task that this worker started."""
    wanted: dict[str, Any] = {"agent": "child", "initial_directive": "Help."} | spec
    return (await swarm.engine.tasks.start(bearer, TaskSpec(**wanted))).task.id


async def delegated(swarm: Swarm, bearer: Bearer, **options: Any) -> Work:
    """A running attempt of a new child task, dispatched by this worker."""
    task_id = await begun(swarm, bearer)
    made, _ = await swarm.engine.dispatcher.dispatch(bearer, task_id, EXTERNAL, **options)
    assert made.handle is not None
    return Work(task_id, made.attempt, Handle(made.handle))


async def verbs_of(swarm: Swarm, bearer: Bearer) -> frozenset[Verb]:
    """Every verb that the credential may use."""
    found: set[Verb] = set()
    for verb in Verb:
        try:
            await swarm.engine.credentials.authorize(bearer, verb)
        except RoleViolation:
            continue
        found.add(verb)
    return frozenset(found)


# Rights


async def test_a_child_has_its_dispatchers_verbs_or_fewer(swarm: Swarm) -> None:
    """Handle and token alike, down any number of levels; what every worker needs it has in any case."""
    work = await swarm.external()
    whole = await delegated(swarm, work.handle)
    assert await verbs_of(swarm, whole.handle) == RoleVerbGate().verbs(Role.WORKER)

    token = await minted(swarm, whole, NARROW | {Verb.FETCH_DATA, Verb.MARK_PASS})
    child = await delegated(swarm, token)
    grandchild = await delegated(swarm, child.handle)
    for one in (child, grandchild):
        for bearer in (one.handle, await swarm.worker_token(one)):
            assert await verbs_of(swarm, bearer) == ALWAYS | OWN_TASK | NARROW | {Verb.FETCH_DATA}

    least = await delegated(swarm, await minted(swarm, grandchild, NARROW))
    await unchanged(swarm, RoleViolation, swarm.engine.fetch_data(least.handle, "k"))
    await unchanged(swarm, RoleViolation, swarm.engine.query_senior(least.handle, least.task_id, "?"))
    await unchanged(swarm, RoleViolation, swarm.engine.cancel_task(least.handle, least.task_id))
    await swarm.engine.fetch_prompt(least.handle, least.task_id)
    await swarm.engine.verify_token(await swarm.worker_token(least), Verb.VERIFY_TOKEN)
    assert (await swarm.engine.read_task_state(least.handle, least.task_id)).task.live
    await swarm.submit(least)
    assert await swarm.status(least.task_id) is Status.PASS


async def test_a_worker_that_may_not_read_reads_its_own_task_alone(swarm: Swarm) -> None:
    """Tasks below it are read by those whose dispatcher could read tasks below its own."""
    work = await swarm.external()
    child = await delegated(swarm, await minted(swarm, work, NARROW))
    below = await begun(swarm, child.handle)
    await refused(TokenTaskMismatch, swarm.engine.read_task_state(child.handle, below))
    await refused(TokenTaskMismatch, swarm.engine.poll_task(child.handle, below, timedelta(0)))
    reader = await delegated(swarm, await minted(swarm, work, NARROW | {Verb.READ_TASK_STATE}))
    below = await begun(swarm, reader.handle)
    assert (await swarm.engine.read_task_state(reader.handle, below)).task.id == below


async def test_what_operators_dispatch_has_all_rights_of_workers(swarm: Swarm) -> None:
    """Also when the task was started by a worker that has fewer."""
    work = await swarm.external()
    task_id = await begun(swarm, await minted(swarm, work, NARROW))
    mine = await swarm.external(task_id)
    row = await swarm.attempt(task_id)
    assert (row.scope, row.credential_ends_at) == (None, None)
    assert await verbs_of(swarm, mine.handle) == RoleVerbGate().verbs(Role.WORKER)


async def test_children_go_on_after_their_parents_final(swarm: Swarm) -> None:
    """They are tasks of their own."""
    work = await swarm.external()
    child = await delegated(swarm, work.handle)
    await swarm.submit(work)
    grandchild = await delegated(swarm, child.handle)
    for one in (grandchild, child):
        await swarm.submit(one, "mine")
        assert (await swarm.row(one.task_id)).last_result == Json.of("mine")


# Life


async def test_a_child_never_outlives_a_token_of_fixed_life(swarm: Swarm) -> None:
    """Whatever is renewed: its credential ends with the token, and so do those of what it dispatches."""
    work = await swarm.external()
    child = await delegated(swarm, await minted(swarm, work, ttl=timedelta(minutes=10)))
    ends_at = swarm.clock() + 600_000
    await swarm.pass_time(300)
    grandchild = await delegated(swarm, child.handle)
    for one in (child, grandchild):
        pulse = await swarm.engine.workers.heartbeat(one.handle)
        assert pulse.expires_at == ends_at
        assert (await swarm.attempt(one.task_id)).credential_ends_at == ends_at
        token = await swarm.worker_token(one)
        assert swarm.engine.signer.verify(token).expires_at <= ends_at + 999
    await swarm.pass_time(299.9)
    await swarm.engine.workers.heartbeat(grandchild.handle)
    swarm.clock.advance(0.1)
    for one in (child, grandchild):
        for bearer in (one.handle, await swarm.worker_token(one)):
            await refused(TokenExpired, swarm.engine.workers.payload(bearer))
    await swarm.pass_time(0)
    for one in (child, grandchild):
        row = await swarm.attempt(one.task_id)
        assert (row.reason, row.detail) == (Reason.LOST, "the token that dispatched it expired")
    assert (await swarm.attempt(work.task_id)).is_live


@pytest.mark.parametrize("spawner", [EXTERNAL, QUEUE], ids=["external", "queue"])
async def test_the_end_of_a_token_does_not_wait_for_an_answer_or_a_claim(swarm: Swarm, spawner: dict[str, Any]) -> None:
    """A suspended task's other clocks stand still; those of a credential do not."""
    work = await swarm.external()
    token = await minted(swarm, work, ttl=timedelta(minutes=10))
    task_id = await begun(swarm, token)
    made, _ = await swarm.engine.dispatcher.dispatch(token, task_id, spawner)
    if made.handle is not None:
        key = await swarm.engine.query_senior(Handle(made.handle), task_id, "May I?")
        await swarm.pass_time(600)
        await refused(TokenExpired, swarm.engine.workers.payload(Handle(made.handle)))
        await swarm.engine.resume(key, "yes")
    await swarm.pass_time(600)
    row = await swarm.attempt(task_id)
    assert (row.phase, row.reason) == (Phase.ENDED, Reason.LOST)


async def test_a_retry_ends_with_the_token_too(swarm: Swarm) -> None:
    """It keeps the rights of the attempt that it repeats, and is given up when their life is over."""
    work = await swarm.external()
    token = await minted(swarm, work, NARROW, ttl=timedelta(minutes=10))
    ends_at = swarm.clock() + 600_000
    task_id = await begun(swarm, token, retry=ONCE_MORE)
    await swarm.engine.dispatcher.dispatch(token, task_id, QUEUE)
    await swarm.pass_time(600)
    await swarm.pass_time(0)
    assert await swarm.status(task_id) is Status.BLOCKED
    assert (await swarm.row(task_id)).last_result == Json.of(
        {"reason": "revoked", "detail": "the token that dispatched it expired"}
    )
    token = await minted(swarm, work, NARROW, ttl=timedelta(minutes=10))
    task_id = await begun(swarm, token, retry=ONCE_MORE)
    await swarm.engine.dispatcher.dispatch(token, task_id, QUEUE)
    root = await swarm.root_key()
    claim = await swarm.engine.workers.claim(root, queue="q", hold=timedelta(0))
    assert claim is not None
    await swarm.engine.workers.submit(Handle(claim.handle), Json.of("no"), ok=False)
    await swarm.pass_time(0)
    first, again = await swarm.attempt(task_id, 1), await swarm.attempt(task_id, 2)
    assert again.rights == first.rights
    assert again.credential_ends_at == ends_at + 600_000


async def test_a_sessions_end_does_not_end_what_it_dispatched(swarm: Swarm) -> None:
    """Its token has no fixed life in this sense: what it dispatches goes on, and so do children."""
    short = await swarm.engine.attach("short", Role.OPERATOR, timedelta(seconds=10))
    task_id = await swarm.task()
    made, _ = await swarm.engine.dispatcher.dispatch(short, task_id, EXTERNAL)
    assert made.handle is not None
    child = await delegated(swarm, Handle(made.handle))
    await swarm.pass_time(60)
    await swarm.submit(child)


# What acts is what is checked


async def test_the_spawner_that_carries_the_attempt_is_checked(plan: Plan) -> None:
    """A layer that puts another spawner in place of an open one opens nothing, and closes nothing."""
    rules = replace(OPEN, layers=OPEN.layers | {"operator_delegate"})
    async with with_cfg(plan, workers=rules).engine() as engine:
        swarm = await Swarm.over(engine, plan)
        swarm.operator = await engine.attach_with_ids("o", Role.OPERATOR, DAY, operator_backend_id="ai")
        work = await swarm.external()
        task_id = await begun(swarm, work.handle)
        call = engine.dispatcher.dispatch(work.handle, task_id, EXTERNAL, layers=("operator_delegate",))
        error = await unchanged(swarm, DispatchFailed, call)
        assert "'operator'" in error.reason
    rules = replace(rules, spawners=frozenset({"operator", "external"}))
    async with with_cfg(plan, workers=rules).engine() as engine:
        swarm = replace(swarm, engine=engine)
        await engine.dispatcher.dispatch(work.handle, task_id, QUEUE, layers=("operator_delegate",))
        assert (await swarm.attempt(task_id)).kind == "operator"


async def test_workers_ask_for_open_layers_and_functions_alone(plan: Plan) -> None:
    """Also by a name that no layer has; base layers are no exception."""
    rules = WorkerRules(functions=frozenset({"identity"}))
    async with with_cfg(plan, workers=rules).engine() as engine:
        swarm = await Swarm.over(engine, plan)
        work = await swarm.external()
        task_id = await begun(swarm, work.handle)
        dispatch = engine.dispatcher.dispatch
        for layer in ("main_ai", "operator_delegate", "one", "audit", "nonsense"):
            await unchanged(
                swarm, DispatchFailed, dispatch(work.handle, task_id, EXTERNAL, layers=("long_hold", layer))
            )
        for spawner in (
            {"kind": "in_process", "function": "scripted"},
            {"kind": "in_process", "function": "none"},
            {"kind": "process", "program": "none"},
            {"kind": "operator", "backend_id": "ai"},
        ):
            error = await unchanged(swarm, DispatchFailed, dispatch(work.handle, task_id, spawner))
            assert "may" in error.reason
        _, outcome = await dispatch(
            work.handle, task_id, {"kind": "in_process", "function": "identity"}, layers=("long_hold",), wait=LONG
        )
        assert outcome is not None
        assert outcome.outcome is Outcome.PASS


async def test_a_retry_is_checked_again(plan: Plan) -> None:
    """Against the settings of its time: what was closed meanwhile does not start again."""
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        work = await swarm.external()
        task_id = await begun(swarm, work.handle, retry=ONCE_MORE)
        await engine.dispatcher.dispatch(work.handle, task_id, QUEUE)
        mine = await swarm.task(retry=ONCE_MORE)
        await engine.dispatcher.dispatch(swarm.operator, mine, QUEUE)
    async with with_cfg(plan, workers=replace(OPEN, spawners=frozenset({"external"}))).engine() as engine:
        swarm = replace(swarm, engine=engine)
        root = await swarm.root_key()
        for _ in range(2):
            claim = await engine.workers.claim(root, queue="q", hold=timedelta(0))
            assert claim is not None
            await engine.workers.submit(Handle(claim.handle), Json.of("no"), ok=False)
        await swarm.pass_time(0)
        assert (await swarm.row(task_id)).attempt == 1
        result = (await swarm.row(task_id)).last_result
        assert result is not None
        assert "may not use the spawner 'queue'" in result.text
        assert (await swarm.row(mine)).attempt == 2


# Gates


async def gated(swarm: Swarm, hook: Hook, **kinds: Any) -> Work:
    """A running attempt that a spawn hook agreed to."""
    token = await swarm.engine.attach_with_ids("main", Role.OPERATOR, DAY, hook_id="h", **kinds)
    task_id = await swarm.task()
    made, _ = await swarm.engine.dispatcher.dispatch(token, task_id, EXTERNAL, layers=("main_ai",))
    hook.verdict.set_result(None)
    await runs(swarm, task_id)
    assert made.handle is not None
    return Work(task_id, 1, Handle(made.handle))


async def runs(swarm: Swarm, task_id: str, number: int = 1) -> None:
    """Wait until the attempt runs."""

    async def is_running() -> bool:
        row = await swarm.row(task_id)
        return row.attempt == number and (await swarm.attempt(task_id, number)).phase is Phase.RUNNING

    await eventually(is_running)


async def test_a_gate_stands_before_whatever_its_worker_dispatches(swarm: Swarm) -> None:
    """Not asked for, for an automated agent, two levels down, and again before a retry."""
    engine, hook = swarm.engine, Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    work = await gated(swarm, hook, operator_kind_overrides={"child": OperatorKind.AUTOMATE})
    hook = Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    child_id = await begun(swarm, work.handle, retry=replace(ONCE_MORE, max_attempts=3))
    made, _ = await engine.dispatcher.dispatch(work.handle, child_id, EXTERNAL)
    assert made.handle is not None
    await hook.asked.wait()
    assert (await swarm.attempt(child_id)).phase is Phase.WAITING
    hook.verdict.set_result(None)
    await runs(swarm, child_id)

    hook = Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    below = await begun(swarm, Handle(made.handle), retry=ONCE_MORE)
    await engine.dispatcher.dispatch(Handle(made.handle), below, QUEUE)
    await hook.asked.wait()
    hook.verdict.set_result(None)
    claim = await engine.workers.claim(await swarm.root_key(), queue="q", hold=LONG)
    assert claim is not None
    hook = Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    await engine.workers.submit(Handle(claim.handle), Json.of("no"), ok=False)
    await swarm.pass_time(0)
    await hook.asked.wait()
    row = await swarm.attempt(below)
    assert (row.attempt, row.phase, row.rights.gates) == (2, Phase.WAITING, ("h",))


async def test_a_gate_that_refuses_refuses_children(swarm: Swarm) -> None:
    """A token that was minted for the worker's task goes through it as well."""
    engine, hook = swarm.engine, Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    work = await gated(swarm, hook)
    token = await minted(swarm, work)
    for bearer in (work.handle, token):
        hook = Hook(agree=False)
        hook.verdict.set_exception(SpawnRefused("not you"))
        await engine.register_spawn_hook("h", hook)
        task_id = await begun(swarm, bearer)
        _, outcome = await engine.dispatcher.dispatch(bearer, task_id, EXTERNAL, wait=LONG)
        assert outcome is not None
        assert (outcome.outcome, outcome.reason) == (Outcome.BLOCKED, Reason.REFUSED)


async def test_no_gate_is_inherited_from_an_attempt_that_went_through_none(swarm: Swarm) -> None:
    """The session names a hook, but nobody asked for it, or it was automated away."""
    for layers, kind in (((), None), (("main_ai",), OperatorKind.AUTOMATE)):
        token = await swarm.engine.attach_with_ids("main", Role.OPERATOR, DAY, hook_id="h", kind=kind)
        made, _ = await swarm.engine.dispatcher.dispatch(token, await swarm.task(), EXTERNAL, layers=layers)
        assert made.handle is not None
        child = await delegated(swarm, Handle(made.handle))
        row = await swarm.attempt(child.task_id)
        assert (row.phase, row.rights.gates) == (Phase.RUNNING, ())


async def test_gates_from_before_they_were_recorded_are_inherited(swarm: Swarm) -> None:
    """An attempt that an older server prepared went through the hook that its session names."""
    engine, hook = swarm.engine, Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    work = await gated(swarm, hook)
    await engine.register_spawn_hook("h", Hook(agree=False))
    await engine.with_state("as before", lambda s: s.db.change("UPDATE attempts SET gates = NULL", ()))
    task_id = await begun(swarm, work.handle)
    await engine.dispatcher.dispatch(work.handle, task_id, EXTERNAL)
    assert (await swarm.attempt(task_id)).rights.gates == ("h",)


async def test_a_gate_outlives_the_session_that_named_it(swarm: Swarm) -> None:
    """The hook is recorded with the attempt: nothing falls open when the session's row is gone."""
    engine, hook = swarm.engine, Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    work = await gated(swarm, hook)
    await engine.register_spawn_hook("h", Hook(agree=False))
    await engine.with_state("forget", lambda s: s.db.change("DELETE FROM sessions WHERE hook_id = 'h'", ()))
    task_id = await begun(swarm, work.handle)
    await engine.dispatcher.dispatch(work.handle, task_id, EXTERNAL)
    row = await swarm.attempt(task_id)
    assert (row.phase, row.rights.gates) == (Phase.WAITING, ("h",))


# Resources in prompts


async def test_resources_are_put_in_where_the_author_may_read_them(swarm: Swarm) -> None:
    """The author of a directive is the caller that started the task, not its dispatcher."""
    engine = swarm.engine
    await engine.set_resource("k", "SECRET")
    directive = "Say {{resource:k}}."
    work = await swarm.external()
    blind = await minted(swarm, work, NARROW)
    for author, dispatcher, prompt in (
        (swarm.operator, swarm.operator, "Say SECRET."),
        (work.handle, work.handle, "Say SECRET."),
        (work.handle, swarm.operator, "Say SECRET."),
        (blind, blind, directive),
        (blind, work.handle, directive),
        (blind, swarm.operator, directive),
    ):
        task_id = await begun(swarm, author, initial_directive=directive)
        made, _ = await engine.dispatcher.dispatch(dispatcher, task_id, EXTERNAL, layers=("input_inject",))
        assert made.handle is not None
        assert (await engine.workers.payload(Handle(made.handle))).prompt == prompt


async def test_the_prompt_of_a_senior_stays_text(swarm: Swarm) -> None:
    """A placeholder in it is not expanded; the next attempt has the task's own directive again, which is."""
    engine = swarm.engine
    await engine.set_resource("k", "SECRET")
    task_id = await swarm.task(directive="Say {{resource:k}}.")
    await engine.tasks.inject_directive(swarm.senior, task_id, "Shout {{resource:k}}!")
    work = await swarm.external(task_id, layers=("input_inject",))
    assert (await engine.workers.payload(work.handle)).prompt == "Shout {{resource:k}}!"
    await swarm.submit(work, "no", ok=False)
    work = await swarm.external(task_id, layers=("input_inject",))
    assert (await engine.workers.payload(work.handle)).prompt == "Say SECRET."


# Random trees


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_below_can_do_what_its_ancestor_could_not(swarm: Swarm, seed: int) -> None:
    """A random tree of delegations: verbs, lives and reach of each credential are within those above it."""
    dice = random.Random(seed)
    root = await swarm.external()
    tree: list[tuple[Work, Bearer, frozenset[Verb], int | None]] = [
        (root, root.handle, RoleVerbGate().verbs(Role.WORKER), None)
    ]
    for _ in range(12):
        parent, bearer, allowed, ends_at = dice.choice(tree)
        if dice.random() < 0.5:
            scope = NARROW | frozenset(dice.sample(sorted(HANDED_DOWN), dice.randint(0, len(HANDED_DOWN))))
            life = timedelta(seconds=dice.randint(100, 1000))
            bearer = await minted(swarm, parent, scope, life)
            allowed, ends_at = scope, swarm.clock() + round(life.total_seconds() * 1000)
        try:
            child = await delegated(swarm, bearer)
        except (RoleViolation, SpawnDepthExceeded):
            continue
        held = await verbs_of(swarm, child.handle)
        assert held <= allowed | ALWAYS | OWN_TASK
        assert held >= ALWAYS | OWN_TASK
        row = await swarm.attempt(child.task_id)
        if ends_at is not None:
            assert row.credential_ends_at is not None
            assert row.credential_ends_at <= ends_at
            assert row.handle_expires_at <= ends_at
        for stranger in (root, *(work for work, *_ in tree)):
            await refused(TokenTaskMismatch, swarm.engine.fetch_prompt(child.handle, stranger.task_id))
        tree.append((child, child.handle, row.rights.scope or held, row.credential_ends_at))
    assert len(tree) > 3
