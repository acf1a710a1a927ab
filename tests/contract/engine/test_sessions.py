"""Attaching, detaching, heartbeats, and the registries of live objects."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.errors import InvalidName, InvalidRequest, SessionNotFound, TokenTaskMismatch
from app.domain.questions import Question
from app.domain.sessions import OperatorKind
from app.domain.tasks import Status, TaskSpec
from app.engine.sessions import OperatorInfo
from tests.support.clocks import HandClock
from tests.support.swarms import DAY, Plan, Swarm, refused, unchanged

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.SENIOR, Role.OBSERVER])
async def test_attaching_makes_a_session(swarm: Swarm, role: Role) -> None:
    """A token, a session bound to it, and an event."""
    token = await swarm.engine.attach("me", role, MINUTE)
    session = await swarm.engine.sessions.read_own(token)

    assert (session.operator_id, session.role, session.attached, session.rebuildable) == ("me", role, True, True)
    assert session.expires_at == swarm.clock() + 60_000
    event = (await swarm.events())[-1]
    assert (event.kind, event.session_id) == ("session_attached", session.id)


@pytest.mark.parametrize(
    ("operator_id", "role", "ttl"),
    [
        ("o", Role.OPERATOR, timedelta(0)),
        ("o", Role.OPERATOR, timedelta(seconds=-1)),
        ("o", Role.OPERATOR, timedelta(days=4000)),
        ("o", Role.WORKER, MINUTE),
    ],
)
async def test_attaching_says_what_is_wrong(swarm: Swarm, operator_id: str, role: Role, ttl: timedelta) -> None:
    """No time, or too much; workers get handles."""
    await refused(InvalidRequest, swarm.engine.attach(operator_id, role, ttl))


@pytest.mark.parametrize(
    "operator_id", ["", "o" * 201, "a\u202eb", "deadline", "engine", "root", "server", "swarmhold"]
)
async def test_labels_of_sessions_name_people_and_programs(swarm: Swarm, operator_id: str) -> None:
    """None is empty, endless or invisible, and none passes for the server."""
    await unchanged(swarm, InvalidName, swarm.engine.attach(operator_id, Role.OPERATOR, MINUTE))


async def test_attaching_with_ids_keeps_them(swarm: Swarm) -> None:
    """Every tier of the cascade and every id is in the session."""
    token = await swarm.engine.attach_with_ids(
        "o",
        Role.OPERATOR,
        MINUTE,
        kind=OperatorKind.AUTOMATE,
        bridge_id="b",
        hook_id="h",
        operator_backend_id="x",
        operator_kind_overrides={"a": OperatorKind.MAIN_AI},
        bp_agent_kinds={"c": OperatorKind.COMPOSITE},
        bp_global_kind=OperatorKind.MAIN_AI,
    )
    session = await swarm.engine.sessions.read_own(token)

    assert (session.bridge_id, session.hook_id, session.operator_backend_id) == ("b", "h", "x")
    assert session.kind_for("a") is OperatorKind.MAIN_AI
    assert session.kind_for("c") is OperatorKind.AUTOMATE


class Inline:
    """An object of this process that takes any part."""

    async def ask(self, question: Question) -> None: ...
    async def withdrawn(self, key: str, reason: str) -> None: ...
    async def before(self, job: Any) -> None: ...
    async def after(self, job: Any, settled: Any) -> None: ...
    async def execute(self, job: Any, control: Any) -> None: ...
    async def cancel(self, job: Any) -> None: ...


async def test_inline_objects_get_names_and_are_not_rebuilt(swarm: Swarm) -> None:
    """Synthetic ids in the registries, and a session that says it does not survive a restart."""
    engine, thing = swarm.engine, Inline()
    info = OperatorInfo(kind=OperatorKind.MAIN_AI, bridge=thing, hook=thing, operator=thing)
    session = await engine.sessions.read_own(await engine.attach_with("o", Role.OPERATOR, MINUTE, info))

    assert not session.rebuildable
    assert await engine.list_senior_bridge_ids() == [session.bridge_id]
    assert await engine.list_spawn_hook_ids() == [session.hook_id]
    assert await engine.list_operator_ids() == [session.operator_backend_id]
    assert [str(x)[:3] for x in (session.bridge_id, session.hook_id, session.operator_backend_id)] == [
        "br-",
        "hk-",
        "op-",
    ]
    plain = await engine.attach_with("p", Role.OPERATOR, MINUTE, OperatorInfo())
    assert (await engine.sessions.read_own(plain)).rebuildable


async def test_the_last_registration_wins(swarm: Swarm) -> None:
    """Unregistering an old registration removes nothing, and a missing id is no error."""
    engine = swarm.engine
    kinds = (
        (engine.register_senior_bridge, engine.unregister_senior_bridge, engine.list_senior_bridge_ids),
        (engine.register_spawn_hook, engine.unregister_spawn_hook, engine.list_spawn_hook_ids),
        (engine.register_operator, engine.unregister_operator, engine.list_operator_ids),
    )
    for register, unregister, ids in kinds:
        first = await register("x", Inline())
        second = await register("x", Inline())
        await unregister("x", first)  # pyright: ignore[reportArgumentType] - of the kind at hand
        assert await ids() == ["x"]
        await unregister("x", second)  # pyright: ignore[reportArgumentType] - as above
        assert await ids() == []
        await register("x", Inline())
        await unregister("x")
        await unregister("x")
        assert await ids() == []


async def test_detaching_leaves_the_tasks(swarm: Swarm) -> None:
    """A detached session's tasks stay; its token heartbeats it back; detaching twice is no error."""
    engine = swarm.engine
    work = await swarm.external()

    await engine.detach(swarm.operator)
    await engine.detach(swarm.operator)
    session = await engine.sessions.read_own(swarm.operator)
    assert (session.attached, session.detached_at) == (False, swarm.clock())
    assert await swarm.status(work.task_id) is Status.RUNNING
    swarm.clock.advance(5)
    await engine.heartbeat(swarm.operator)

    session = await engine.sessions.read_own(swarm.operator)
    assert (session.attached, session.detached_at, session.last_seen) == (True, None, swarm.clock())
    kinds = [kind for kind in await swarm.kinds() if kind.startswith("session")]
    assert kinds[-2:] == ["session_detached", "session_attached"]


async def test_the_silent_are_detached(swarm: Swarm) -> None:
    """A session is detached after the configured number of missed intervals; one with heartbeats stays."""
    engine = swarm.engine
    allowed = engine.cfg.heartbeat_interval_ms * engine.cfg.heartbeat_miss_threshold / 1000
    swarm.clock.advance(allowed)
    await engine.heartbeat(swarm.senior)
    await engine.sessions.detach_unresponsive()
    assert (await engine.sessions.read_own(swarm.operator)).attached

    swarm.clock.advance(1)
    await engine.sessions.detach_unresponsive()

    assert not (await engine.sessions.read_own(swarm.operator)).attached
    assert (await engine.sessions.read_own(swarm.senior)).attached


async def test_tasks_of_the_silent_are_cancelled_when_so_configured(plan: Plan, clock: HandClock) -> None:
    """Without `keepalive_on_idle` the open tasks of a session without heartbeats end with it, children too."""
    plan = replace(plan, cfg=replace(plan.cfg, keepalive_on_idle=False))
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        work = await swarm.external()
        child = await swarm.external_child(work)
        done = await swarm.external()
        await swarm.submit(done)
        other = await engine.attach("other", Role.OPERATOR, DAY)
        kept = await engine.start_task(other, TaskSpec(agent="a", initial_directive="b"))
        clock.advance(3600)
        await engine.heartbeat(other)

        await engine.sessions.detach_unresponsive()

        assert [await swarm.status(x) for x in (work.task_id, child.task_id, done.task_id, kept)] == [
            Status.CANCELLED,
            Status.CANCELLED,
            Status.PASS,
            Status.PENDING,
        ]


async def test_a_session_is_the_tokens_own(swarm: Swarm) -> None:
    """A token without a session and an unknown id raise SessionNotFound."""
    engine = swarm.engine
    minted = await engine.credentials.mint(swarm.operator, agent_id="a", role=Role.OBSERVER, ttl=MINUTE)
    work = await swarm.external()

    for call in (engine.sessions.read_own, engine.heartbeat, engine.detach):
        await refused(SessionNotFound, call(minted.token))
    await refused(SessionNotFound, engine.sessions.read_own(await swarm.worker_token(work)))
    await refused(SessionNotFound, engine.sessions.read(swarm.operator, "S-nowhere"))
    await refused(TokenTaskMismatch, engine.task_id_from_token(swarm.operator))


async def test_sessions_are_listed_by_page(swarm: Swarm) -> None:
    """Newest first, without gaps or doubles, and never with a token's text."""
    engine = swarm.engine
    for _ in range(5):
        await engine.attach("o", Role.OPERATOR, MINUTE)
    found, cursor = [], None
    while True:
        page = await engine.sessions.page(swarm.operator, limit=3, cursor=cursor)
        found += [session.id for session in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert len(found) == len(set(found)) == 8
    assert found == sorted(found, reverse=True)
    await refused(InvalidRequest, engine.sessions.page(swarm.operator, limit=3, cursor="T-x"))
    assert (await engine.sessions.read(swarm.operator, found[0])).id == found[0]


async def test_a_session_survives_its_server(tmp_path: Any, clock: HandClock) -> None:
    """The same token finds its session on the engine that follows."""
    plan = Plan(store_url=f"sqlite:///{tmp_path}/a.db", clock=clock)
    async with plan.engine() as engine:
        token = await engine.attach_with_ids("o", Role.OPERATOR, MINUTE, bridge_id="b")
        before = await engine.sessions.read_own(token)
    async with plan.engine() as engine:
        assert await engine.sessions.read_own(token) == before
        await engine.heartbeat(token)


async def test_registry_and_stats_are_for_those_who_may_trace(swarm: Swarm) -> None:
    """Ids of everything registered, and counts of everything that lives."""
    engine = swarm.engine
    await engine.register_operator("x", Inline())
    await swarm.external()
    registry, stats = await engine.reports.registered(swarm.operator), await engine.reports.stats(swarm.observer)

    assert registry["operators"] == ["x"]
    assert {"external", "queue", "in_process"} <= set(registry["spawners"])
    assert {"audit", "sink", "main_ai"} <= set(registry["layers"])
    assert stats["tasks"] == {"running": 1}
    assert stats["sessions"] == {"attached": 3, "detached": 0}
    assert stats["attempts"] == [{"spawner": "external", "phase": "running", "count": 1}]
