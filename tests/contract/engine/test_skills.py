"""Published skills over both databases: names, limits, calls made once, and approval asked before a worker begins."""

from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.errors import (
    AskerCannotAnswer,
    InvalidInput,
    InvalidRequest,
    NameTaken,
    QuestionClosed,
    RoleViolation,
    SkillNotFound,
)
from app.domain.json import Json
from app.domain.sessions import SessionOptions
from app.domain.skills import CALLERS, TOOL_NAMES, Skill, SkillApproval, SkillSpec
from app.domain.tokens import CapToken
from app.engine.engine import Engine
from app.engine.ops import skills
from app.engine.ops.idempotency import Idempotency
from app.mcp.tools.catalog import TOOLS
from app.state import audit_log

ROOT = "shk_" + "root0" * 8
HOUR = timedelta(hours=1)
NOW = timedelta(0)
ANY = Json('{"type":"object"}')


def spec(name: str = "deploy", **changes: Any) -> SkillSpec:
    """A skill of agent `a` behind queue `q`."""
    asked: dict[str, Any] = {"name": name, "description": "d", "agent": "a", "queue": "q", "input_schema": ANY}
    return SkillSpec(**{**asked, **changes})


@pytest.fixture
async def engine(swarm: Any) -> Engine:
    """An engine with a root key."""
    await swarm.engine.keys.ensure_root(ROOT)
    return swarm.engine


async def key(engine: Engine, name: str, *roles: Role) -> str:
    """The text of a new key."""
    return (await engine.keys.create(ROOT, name, frozenset(roles), None))[1]


async def token(engine: Engine, name: str, role: Role) -> CapToken:
    """The token of a session of a new key."""
    return (
        await engine.sessions.attach_by_key(await key(engine, name, role), name, role, HOUR, SessionOptions())
    ).token


async def test_a_name_is_published_once_in_a_namespace(engine: Engine) -> None:
    """It is free again when the skill is deleted; the same idempotency key finds the same skill."""
    once = Idempotency("k", "f")
    first = await engine.skills.create(ROOT, spec(), idempotency=once)
    assert await engine.skills.create(ROOT, spec(), idempotency=once) == first
    with pytest.raises(NameTaken):
        await engine.skills.create(ROOT, spec())
    other = await engine.skills.create(ROOT, spec(), namespace="blue")
    assert [row.id for row in (await engine.skills.page(ROOT)).items] == [first.id, other.id]
    assert [row.id for row in (await engine.skills.page(ROOT, namespace="blue")).items] == [other.id]
    await engine.skills.delete(ROOT, first.id)
    with pytest.raises(SkillNotFound):
        await engine.skills.read(ROOT, first.id)
    assert (await engine.skills.create(ROOT, spec())).id != first.id
    with pytest.raises(RoleViolation):
        await engine.skills.page(await key(engine, "k", Role.OPERATOR))


def test_no_tool_of_the_server_can_be_published_over() -> None:
    """Every tool's name is reserved."""
    assert {tool.name for tool in TOOLS} <= TOOL_NAMES


UNFIT: tuple[dict[str, Any], ...] = (
    {"name": "ask_human"},
    {"name": "with space"},
    {"name": ""},
    {"description": ""},
    {"agent": " a"},
    {"queue": ""},
    {"input_schema": Json('{"type":"string"}')},
    {"input_schema": Json('{"type":"object","properties":{"a":{"type":"nothing"}}}')},
    {"input_schema": Json('{"type":"object","$ref":"https://example.invalid/"}')},
    {"output_schema": Json('{"type":"array"}')},
    {"input_schema": Json.of({"type": "object", "description": "x" * 70_000})},
    {"roles": ()},
    {"roles": (Role.SENIOR,)},
    {"tags": tuple(map(str, range(21)))},
)


async def test_what_cannot_be_published(engine: Engine) -> None:
    """It is refused, and nothing is published."""
    for changes in UNFIT:
        with pytest.raises(InvalidInput):
            await engine.skills.create(ROOT, spec(**changes))
    assert (await engine.skills.page(ROOT)).items == []


async def test_a_namespace_has_a_hundred_skills(engine: Engine) -> None:
    """One more is refused there, and possible elsewhere."""

    def fill(state: Any) -> None:
        for number in range(skills.MOST):
            skills.create(state, spec(f"s{number}"), namespace=1, by="server")

    await engine.with_state("fill", fill)
    with pytest.raises(InvalidRequest):
        await engine.skills.create(ROOT, spec())
    await engine.skills.create(ROOT, spec(), namespace="blue")


async def test_the_settings_publish_change_and_delete_their_own(engine: Engine) -> None:
    """A skill that was created by a call stays; no call deletes one of the settings."""
    made = await engine.skills.create(ROOT, spec("mine"))
    await engine.skills.keep([("default", spec("a")), ("blue", spec("b"))])
    before = {row.name: row for row in (await engine.skills.page(ROOT)).items}
    assert {name: row.of_settings for name, row in before.items()} == {"mine": False, "a": True, "b": True}
    with pytest.raises(InvalidRequest):
        await engine.skills.delete(ROOT, before["a"].id)
    await engine.skills.keep([("default", spec("a", description="changed", approval=SkillApproval.ALWAYS))])
    after = {row.name: row for row in (await engine.skills.page(ROOT)).items}
    assert after.keys() == {"mine", "a"}
    assert (after["a"].id, after["a"].description, after["a"].approval) == (
        before["a"].id,
        "changed",
        SkillApproval.ALWAYS,
    )
    with pytest.raises(NameTaken):
        await engine.skills.keep([("default", spec("mine"))])
    await engine.skills.keep([])
    assert [row.id for row in (await engine.skills.page(ROOT)).items] == [made.id]
    rows = await engine.store.read(lambda state: audit_log.page(state.db, 0, 1000))
    assert [row.action for row in rows if row.target == before["a"].id] == [
        "skill_created",
        "skill_changed",
        "skill_deleted",
    ]


async def published(engine: Engine, **changes: Any) -> Skill:
    """A new skill."""
    return await engine.skills.create(ROOT, spec(**changes))


async def claim(engine: Engine, worker: str) -> Any:
    """What a worker gets from the queue now."""
    return await engine.workers.claim(worker, queue="q", hold=NOW)


async def test_a_call_is_a_task_in_the_queue_and_made_once(engine: Engine) -> None:
    """Its directive is the arguments as JSON, and its label the skill's name."""
    skill = await published(engine)
    operator = await token(engine, "caller", Role.OPERATOR)
    worker = await key(engine, "worker", Role.WORKER)
    once = Idempotency("c", "f")
    arguments = Json.of({"to": "production"})
    task_id = await engine.skills.call(operator, skill, arguments, idempotency=once)
    assert await engine.skills.call(operator, skill, arguments, idempotency=once) == task_id
    claimed = await claim(engine, worker)
    assert (claimed.payload.task_id, claimed.payload.agent, claimed.payload.prompt) == (task_id, "a", arguments.text)
    assert (await engine.tasks.read(operator, task_id)).task.labels.value == {"skill": "deploy"}
    assert await claim(engine, worker) is None
    with pytest.raises(RoleViolation):
        await engine.skills.call(await token(engine, "onlooker", Role.OBSERVER), skill, arguments)


APPROVED: dict[str, Any] = {"decision": "approve"}
EDITED: dict[str, Any] = {
    "decision": "edit",
    "edited_action": {"name": "deploy", "arguments": {"to": "staging"}},
}


@pytest.mark.parametrize(("answer", "prompt"), [(APPROVED, '{"to":"production"}'), (EDITED, '{"to":"staging"}')])
async def test_no_worker_begins_before_the_approval(engine: Engine, answer: dict[str, Any], prompt: str) -> None:
    """The question has the action; the caller cannot answer it; approved, a worker gets what was approved, once."""
    skill = await published(engine, approval=SkillApproval.ALWAYS)
    caller = await key(engine, "caller", Role.OPERATOR, Role.SENIOR)
    operator, own = [
        (await engine.sessions.attach_by_key(caller, "caller", role, HOUR, SessionOptions())).token
        for role in (Role.OPERATOR, Role.SENIOR)
    ]
    senior = await token(engine, "senior", Role.SENIOR)
    worker = await key(engine, "worker", Role.WORKER)
    once = Idempotency("c", "f")
    task_id = await engine.skills.call(operator, skill, Json.of({"to": "production"}), idempotency=once)
    assert await engine.skills.call(operator, skill, Json.of({"to": "production"}), idempotency=once) == task_id
    assert await claim(engine, worker) is None
    [question] = (await engine.questions.page(senior, task_id=task_id)).items
    assert question.action == Json.of({"name": "deploy", "arguments": {"to": "production"}})
    with pytest.raises(AskerCannotAnswer):
        await engine.questions.answer(own, question.key, Json.of(answer))
    await engine.questions.answer(senior, question.key, Json.of(answer))
    claimed = await claim(engine, worker)
    assert (claimed.payload.task_id, claimed.payload.prompt) == (task_id, prompt)
    assert await claim(engine, worker) is None
    assert (await engine.questions.read(senior, question.key)).consumed is not None


async def test_a_rejected_call_is_carried_out_by_nobody(engine: Engine) -> None:
    """Its task is blocked with the senior's words, and cannot be approved afterwards; nor can a cancelled one."""
    skill = await published(engine, approval=SkillApproval.ALWAYS)
    operator, senior = await token(engine, "caller", Role.OPERATOR), await token(engine, "senior", Role.SENIOR)
    worker = await key(engine, "worker", Role.WORKER)
    task_id = await engine.skills.call(operator, skill, Json.of({}))
    [question] = (await engine.questions.page(senior, task_id=task_id)).items
    await engine.questions.answer(senior, question.key, Json.of({"decision": "reject", "message": "not on Fridays"}))
    task = (await engine.tasks.read(operator, task_id)).task
    assert (task.status.value, task.live) == ("blocked", False)
    assert task.last_result == Json.of({"reason": "refused", "detail": "not on Fridays"})
    cancelled = await engine.skills.call(operator, skill, Json.of({}))
    [other] = (await engine.questions.page(senior, task_id=cancelled)).items
    await engine.tasks.cancel(operator, cancelled)
    with pytest.raises(QuestionClosed):
        await engine.questions.answer(senior, other.key, Json.of(APPROVED))
    assert await claim(engine, worker) is None


def test_callers_are_those_who_start_tasks() -> None:
    """Seniors and observers start nothing."""
    assert set(CALLERS) == {Role.OPERATOR, Role.WORKER}
