"""Who decided what, by which key, session and door: every decision leaves exactly the row that it should."""

import ast
import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.domain.access import Role, Verb
from app.domain.audit import AuditRow
from app.domain.clock import to_rfc3339
from app.domain.doors import DOOR, Door
from app.domain.errors import AlreadyAnswered, InvalidTransition, LateResultNotFound, RoleViolation
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, Question
from app.domain.sessions import SessionOptions
from app.domain.skills import SkillSpec
from app.domain.tasks import Status
from app.domain.tokens import CapToken
from app.domain.webhooks import WebhookSpec
from app.engine import ops
from app.engine.ops import audit, namespaces
from app.engine.ops.audit import LONG_VALUE
from app.engine.ops.idempotency import Idempotency
from app.engine.ops.links import LinkWish
from app.engine.ops.task_filters import TaskFilter
from app.engine.refusals import MAX_COUNTS, MAX_FINGERPRINTS
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from app.state import audit_log
from tests.support.swarms import DAY, Plan, StillEngine, Swarm, Work

ROOT = "shk_" + "r" * 40
HOUR = timedelta(hours=1)
URL = "http://127.0.0.1:9/hook"


@dataclass(slots=True)
class Stage:
    """A swarm whose operator and senior have sessions of their own keys; and the rows since the last look."""

    swarm: Swarm
    ids: dict[str, str] = field(default_factory=dict[str, str])
    """The ids of keys and sessions by name."""
    texts: dict[str, str] = field(default_factory=dict[str, str])
    seen: int = 0

    async def attach(self, name: str, role: Role) -> CapToken:
        """Make a key of this name, and attach with it as the role."""
        made, text = await self.swarm.engine.keys.create(ROOT, name, frozenset({role}), None)
        attached = await self.swarm.engine.sessions.attach_by_key(text, f"label-{name}", role, DAY, SessionOptions())
        self.ids |= {f"{name}-key": made.id, f"{name}-session": attached.session.id}
        self.texts[name] = text
        return attached.token

    async def rows(self) -> list[AuditRow]:
        """The rows since the last look."""
        found = await self.swarm.engine.store.read(lambda state: audit_log.page(state.db, self.seen, 100_000))
        self.seen += len(found)
        return found

    def by(self, name: str, role: Role, **more: Any) -> dict[str, Any]:
        """What a row says of a decision by the session of this name, in the default namespace."""
        return {
            "actor": f"{role}:label-{name}",
            "role": role.value,
            "key_id": self.ids[f"{name}-key"],
            "key_name": name,
            "session_id": self.ids[f"{name}-session"],
            "namespace": "default",
            "door": "rest",
        } | more

    def by_root(self, **more: Any) -> dict[str, Any]:
        """What a row says of a decision with the root key itself."""
        root = self.ids["root-key"]
        found = {"actor": "key:root", "role": None, "key_id": root, "key_name": "root", "session_id": None}
        return found | {"credential": root, "namespace": "default", "door": "rest"} | more

    def by_engine(self, **more: Any) -> dict[str, Any]:
        """What a row says of a decision by code of this process."""
        nobody = dict.fromkeys(("role", "key_id", "key_name", "session_id", "credential"))
        return {"actor": "engine", "door": "engine", "namespace": "default", **nobody} | more

    async def ask(self, work: Work | None = None, **fields: Any) -> str:
        """The key of a question of a worker."""
        work = work or await self.swarm.external()
        asked = await self.swarm.engine.questions.ask(work.handle, Ask(question=Json('"ok?"'), **fields))
        return asked.key

    async def late(self) -> Work:
        """An attempt whose result came after it was over."""
        work = await self.swarm.external()
        await self.swarm.engine.tasks.mark(self.swarm.operator, work.task_id, ok=False)
        with pytest.raises(Exception, match=r"superseded|blocked|over|ended"):
            await self.swarm.submit(work, "late")
        return work


@pytest.fixture
async def stage(plan: Plan) -> AsyncIterator[Stage]:
    """An engine that may send webhooks, with the root key, the operator alice and the senior mira."""
    sender = WebhookSender(SenderSettings(allow=("http://127.0.0.1:9/",)))
    async with StillEngine(dataclasses.replace(plan.parts(), webhook_sender=sender)) as engine:
        await engine.keys.ensure_root(ROOT)
        stage = Stage(await Swarm.over(engine, plan))
        stage.ids["root-key"] = (await engine.keys.check_root(ROOT)).id
        stage.swarm.operator = await stage.attach("alice", Role.OPERATOR)
        stage.swarm.senior = await stage.attach("mira", Role.SENIOR)
        yield stage


@pytest.fixture(autouse=True)
def door() -> Iterator[None]:
    """Calls come by the REST door, unless they do not."""
    token = DOOR.set(Door.REST)
    yield
    DOOR.reset(token)


Expected = dict[str, Any]
Decision = Callable[[Stage], Awaitable[Expected]]
DECISIONS: dict[str, Decision] = {}


def decision(run: Decision) -> Decision:
    """Put a decision into the table: it prepares, calls `stage.rows()`, decides, and returns what its row says."""
    DECISIONS[getattr(run, "__name__", "")] = run
    return run


@decision
async def key_created(stage: Stage) -> Expected:
    await stage.rows()
    made, _ = await stage.swarm.engine.keys.create(ROOT, "new", frozenset({Role.WORKER}), HOUR)
    return stage.by_root(target=made.id, detail={"name": "new", "roles": "worker", "person": False})


@decision
async def key_renewed(stage: Stage) -> Expected:
    once = Idempotency("k", "f")
    made, _ = await stage.swarm.engine.keys.create(ROOT, "new", frozenset({Role.WORKER}), None, idempotency=once)
    await stage.rows()
    await stage.swarm.engine.keys.create(ROOT, "new", frozenset({Role.WORKER}), None, idempotency=once)
    return stage.by_root(target=made.id, detail=None)


@decision
async def key_revoked(stage: Stage) -> Expected:
    await stage.rows()
    await stage.swarm.engine.keys.revoke(ROOT, stage.ids["alice-key"])
    return stage.by_root(target=stage.ids["alice-key"], detail={"name": "alice"})


@decision
async def session_attached(stage: Stage) -> Expected:
    await stage.rows()
    made = await stage.swarm.engine.sessions.attach_by_key(
        stage.texts["alice"], "label-alice", Role.OPERATOR, DAY, SessionOptions()
    )
    key = stage.ids["alice-key"]
    return stage.by(
        "alice", Role.OPERATOR, session_id=made.session.id, target=made.session.id, credential=key, detail=None
    )


@decision
async def session_detached(stage: Stage) -> Expected:
    await stage.rows()
    await stage.swarm.engine.detach(stage.swarm.operator)
    return stage.by("alice", Role.OPERATOR, target=stage.ids["alice-session"], detail=None)


@decision
async def token_minted(stage: Stage) -> Expected:
    await stage.rows()
    minted = await stage.swarm.engine.credentials.mint(stage.swarm.operator, agent_id="a", role=Role.OBSERVER, ttl=HOUR)
    detail = {"role": "observer", "subject": "a"}
    return stage.by("alice", Role.OPERATOR, target=minted.record.jti, detail=detail)


@decision
async def token_revoked(stage: Stage) -> Expected:
    engine = stage.swarm.engine
    minted = await engine.credentials.mint(stage.swarm.operator, agent_id="a", role=Role.OBSERVER, ttl=HOUR)
    await stage.rows()
    await engine.credentials.revoke(stage.swarm.operator, minted.record.jti)
    return stage.by("alice", Role.OPERATOR, target=minted.record.jti, detail=None)


@decision
async def question_answered(stage: Stage) -> Expected:
    work = await stage.swarm.external()
    key = await stage.ask(work)
    await stage.rows()
    DOOR.set(Door.WS)
    await stage.swarm.engine.questions.answer(stage.swarm.senior, key, Json('{"yes":true}'))
    detail = {"task_id": work.task_id, "attempt": 1, **audit.value(Json('{"yes":true}'))}
    return stage.by("mira", Role.SENIOR, target=key, door="ws", detail=detail)


@decision
async def question_withdrawn(stage: Stage) -> Expected:
    work = await stage.swarm.external()
    key = await stage.ask(work)
    await stage.rows()
    await stage.swarm.engine.questions.withdraw(stage.swarm.operator, key, reason="no more")
    return stage.by("alice", Role.OPERATOR, target=key, detail={"task_id": work.task_id, "reason": "no more"})


async def consumed(stage: Stage) -> tuple[Question, str]:
    """An action that was approved, of the operator, and whose approval is consumed."""
    questions = stage.swarm.engine.questions
    asked = Ask(question=Json.of("?"), action=Json.of({"name": "rm", "arguments": {}}))
    question = await questions.ask_alone(stage.swarm.operator, asked)
    await questions.answer(stage.swarm.senior, question.key, Json.of({"decision": "approve"}))
    await stage.rows()
    digest = question.action_digest or ""
    await questions.consume(stage.swarm.operator, question.key, digest, Idempotency("k", "f"))
    return question, digest


@decision
async def approval_consumed(stage: Stage) -> Expected:
    question, digest = await consumed(stage)
    detail = {"task_id": question.task_id, "decision": "approve", "action_digest": digest}
    return stage.by("alice", Role.OPERATOR, target=question.key, detail=detail)


@decision
async def approval_outcome(stage: Stage) -> Expected:
    question, _ = await consumed(stage)
    await stage.rows()
    await stage.swarm.engine.questions.record_outcome(stage.swarm.operator, question.key, "failed", "no disk")
    detail = {"task_id": question.task_id, "status": "failed", "note": "no disk"}
    return stage.by("alice", Role.OPERATOR, target=question.key, detail=detail)


@decision
async def question_escalated(stage: Stage) -> Expected:
    work = await stage.swarm.external()
    key = await stage.ask(work, bridge_id="desk")
    await stage.rows()
    await stage.swarm.engine.questions.escalate(stage.swarm.senior, key, "cto")
    detail = {"task_id": work.task_id, "to": "cto", "previous": "desk"}
    return stage.by("mira", Role.SENIOR, target=key, detail=detail)


async def linked(stage: Stage, once: Idempotency | None = None) -> tuple[str, str, str]:
    """A question, the id of a link to it, and the id of its person's key."""
    person, _ = await stage.swarm.engine.keys.create(ROOT, "pat", frozenset({Role.SENIOR}), None, person=True)
    key = await stage.ask()
    await stage.rows()
    wish = LinkWish(person="pat", ttl_ms=60_000)
    link, _ = await stage.swarm.engine.links.make(stage.swarm.senior, key, wish, idempotency=once)
    return key, link.id, person.id


@decision
async def link_created(stage: Stage) -> Expected:
    key, link, person = await linked(stage)
    until = to_rfc3339(stage.swarm.clock() + 60_000)
    detail = {"link_id": link, "person_key_id": person, "person": "pat", "expires_at": until}
    return stage.by("mira", Role.SENIOR, target=key, detail=detail)


@decision
async def link_renewed(stage: Stage) -> Expected:
    once, wish = Idempotency("k", "f"), LinkWish(person="pat", ttl_ms=60_000)
    key, link, person = await linked(stage, once)
    await stage.rows()
    await stage.swarm.engine.links.make(stage.swarm.senior, key, wish, idempotency=once)
    return stage.by("mira", Role.SENIOR, target=key, detail={"link_id": link, "person_key_id": person})


@decision
async def link_revoked(stage: Stage) -> Expected:
    key, link, person = await linked(stage)
    await stage.rows()
    await stage.swarm.engine.links.revoke(stage.swarm.senior, key, link)
    return stage.by("mira", Role.SENIOR, target=key, detail={"link_id": link, "person_key_id": person})


@decision
async def task_cancelled(stage: Stage) -> Expected:
    parent = await stage.swarm.external()
    await stage.swarm.external_child(parent)
    await stage.rows()
    await stage.swarm.engine.cancel_task(stage.swarm.operator, parent.task_id, reason="enough")
    return stage.by("alice", Role.OPERATOR, target=parent.task_id, detail={"reason": "enough"})


@decision
async def mark_pass(stage: Stage) -> Expected:
    work = await stage.swarm.external()
    await stage.rows()
    await stage.swarm.engine.tasks.mark(stage.swarm.operator, work.task_id, ok=True, value=Json("1"))
    detail = {"status": "pass", "attempt": 1, **audit.value(Json("1"))}
    return stage.by("alice", Role.OPERATOR, target=work.task_id, detail=detail)


@decision
async def mark_blocked(stage: Stage) -> Expected:
    work = await stage.swarm.external()
    await stage.rows()
    await stage.swarm.engine.tasks.mark(stage.swarm.operator, work.task_id, ok=False)
    return stage.by("alice", Role.OPERATOR, target=work.task_id, detail={"status": "blocked", "attempt": 1})


@decision
async def override_pass(stage: Stage) -> Expected:
    work = await stage.swarm.external()
    await stage.rows()
    await stage.swarm.engine.tasks.override(stage.swarm.senior, work.task_id, ok=True)
    return stage.by("mira", Role.SENIOR, target=work.task_id, detail={"status": "pass", "attempt": 1})


@decision
async def override_blocked(stage: Stage) -> Expected:
    work = await stage.swarm.external()
    await stage.rows()
    await stage.swarm.engine.tasks.override(stage.swarm.senior, work.task_id, ok=False)
    return stage.by("mira", Role.SENIOR, target=work.task_id, detail={"status": "blocked", "attempt": 1})


@decision
async def late_result_adopted(stage: Stage) -> Expected:
    work = await stage.late()
    await stage.rows()
    await stage.swarm.engine.attempts.adopt_late(stage.swarm.operator, work.task_id, 1, 0)
    detail = {"status": "pass", "attempt": 1, **audit.value(Json('"late"')), "verdict": "mark_pass", "index": 0}
    return stage.by("alice", Role.OPERATOR, target=work.task_id, detail=detail)


@decision
async def directive_injected(stage: Stage) -> Expected:
    task_id = await stage.swarm.task()
    await stage.rows()
    await stage.swarm.engine.tasks.inject_directive(stage.swarm.senior, task_id, "Do that.")
    return stage.by("mira", Role.SENIOR, target=task_id, detail=audit.value(Json('"Do that."')))


@decision
async def resource_set(stage: Stage) -> Expected:
    await stage.rows()
    await stage.swarm.engine.resources.put(stage.swarm.operator, "r", Json("[1]"))
    return stage.by("alice", Role.OPERATOR, target="r", detail=audit.value(Json("[1]")))


@decision
async def loop_paused(stage: Stage) -> Expected:
    await stage.rows()
    await stage.swarm.engine.switch.pause(stage.swarm.senior)
    return stage.by("mira", Role.SENIOR, detail=None)


@decision
async def loop_resumed(stage: Stage) -> Expected:
    await stage.swarm.engine.switch.pause(stage.swarm.senior)
    await stage.rows()
    await stage.swarm.engine.switch.resume(stage.swarm.senior)
    return stage.by("mira", Role.SENIOR, detail=None)


@decision
async def id_released(stage: Stage) -> Expected:
    engine = stage.swarm.engine
    options = SessionOptions(bridge_id="b")
    await engine.sessions.attach_by_key(stage.texts["alice"], "a", Role.OPERATOR, DAY, options)
    await stage.rows()
    await engine.keys.release_id(ROOT, "b", namespace="default")
    return stage.by_root(target="b", detail=None)


@decision
async def namespace_used(stage: Stage) -> Expected:
    await stage.rows()
    await stage.swarm.engine.with_state("use", lambda state: namespaces.use(state, "blue", by="engine"))
    return stage.by_engine(target="blue", namespace="blue", detail=None)


SKILL = SkillSpec(name="s", description="d", agent="a", queue="q", input_schema=Json('{"type":"object"}'))
SAID = {"name": "s", "agent": "a", "queue": "q", "approval": "never"}


@decision
async def skill_created(stage: Stage) -> Expected:
    await stage.rows()
    made = await stage.swarm.engine.skills.create(ROOT, SKILL)
    return stage.by_root(target=made.id, detail=SAID)


@decision
async def skill_deleted(stage: Stage) -> Expected:
    made = await stage.swarm.engine.skills.create(ROOT, SKILL)
    await stage.rows()
    await stage.swarm.engine.skills.delete(ROOT, made.id)
    return stage.by_root(target=made.id, detail=SAID)


async def _webhook(stage: Stage, change: Callable[[str], Awaitable[object]]) -> Expected:
    made, _ = await stage.swarm.engine.webhooks.create(ROOT, WebhookSpec(name="w", url=URL))
    await stage.rows()
    await change(made.id)
    return stage.by_root(target=made.id, detail={"name": "w", "url": URL})


@decision
async def webhook_created(stage: Stage) -> Expected:
    await stage.rows()
    made, _ = await stage.swarm.engine.webhooks.create(ROOT, WebhookSpec(name="w", url=URL))
    return stage.by_root(target=made.id, detail={"name": "w", "url": URL})


@decision
async def webhook_deleted(stage: Stage) -> Expected:
    return await _webhook(stage, lambda id: stage.swarm.engine.webhooks.delete(ROOT, id))


@decision
async def webhook_paused(stage: Stage) -> Expected:
    return await _webhook(stage, lambda id: stage.swarm.engine.webhooks.pause(ROOT, id))


@decision
async def webhook_resumed(stage: Stage) -> Expected:
    return await _webhook(stage, lambda id: stage.swarm.engine.webhooks.resume(ROOT, id))


@decision
async def webhook_rotated(stage: Stage) -> Expected:
    return await _webhook(stage, lambda id: stage.swarm.engine.webhooks.rotate(ROOT, id))


@decision
async def webhook_replayed(stage: Stage) -> Expected:
    return await _webhook(stage, lambda id: stage.swarm.engine.webhooks.replay(ROOT, id, 0))


async def _command(stage: Stage, action: str, about: dict[str, Any]) -> Expected:
    await stage.rows()
    await stage.swarm.engine.keys.record_command(ROOT, action, about)
    return stage.by_root(door="cli", target=None, namespace=None, detail=about)


@decision
async def audit_exported(stage: Stage) -> Expected:
    return await _command(stage, "audit_exported", {"user": "u", "after": 3})


@decision
async def backup_made(stage: Stage) -> Expected:
    return await _command(stage, "backup_made", {"user": "u", "file": "/b"})


@decision
async def signing_key_rotated(stage: Stage) -> Expected:
    return await _command(stage, "signing_key_rotated", {"user": "u", "kid": "k"})


@decision
async def tasks_cancelled(stage: Stage) -> Expected:
    await stage.rows()
    await stage.swarm.engine.selections.cancel(stage.swarm.operator, TaskFilter(agent="nobody"))
    return stage.by("alice", Role.OPERATOR, target=None, detail={"filter": {"agent": "nobody"}})


@decision
async def tasks_retried(stage: Stage) -> Expected:
    await stage.rows()
    wanted = TaskFilter(status=Status.BLOCKED, labels=(("team", "a"),))
    await stage.swarm.engine.selections.retry(stage.swarm.operator, wanted)
    return stage.by(
        "alice", Role.OPERATOR, target=None, detail={"filter": {"status": "blocked", "labels": {"team": "a"}}}
    )


@decision
async def answers_ignored(stage: Stage) -> Expected:
    await stage.rows()
    await stage.swarm.engine.questions.ignore(stage.swarm.operator, "R-1", [f"R-{n}" for n in range(30)])
    detail = {"count": 30, "keys": [f"R-{n}" for n in range(20)]}
    return stage.by("alice", Role.OPERATOR, target="R-1", detail=detail)


@pytest.mark.parametrize("action", DECISIONS)
async def test_every_decision_leaves_its_row(stage: Stage, action: str) -> None:
    """One row: who, with which key and session, through which door, did what to what, in which namespace."""
    expected = await DECISIONS[action](stage)
    (row,) = await stage.rows()

    found = row._asdict() | {"detail": None if row.detail is None else row.detail.value}
    assert found["action"] == action
    assert {name: found[name] for name in expected} == expected


# What is not decided by a credential


async def test_an_answer_by_deadline_is_nobodys(stage: Stage) -> None:
    """The default came: the row names the deadline as actor and door, and no key."""
    work = await stage.swarm.external()
    asked = Ask(
        question=Json('"ok?"'),
        deadline=stage.swarm.clock() + 1000,
        on_deadline=OnDeadline.DEFAULT,
        default_answer=Json("false"),
    )
    key = (await stage.swarm.engine.questions.ask(stage.swarm.operator, asked, task_id=work.task_id)).key
    await stage.rows()
    await stage.swarm.pass_time(2)
    (row,) = await stage.rows()

    assert (row.action, row.actor, row.door, row.target) == ("question_answered", "deadline", "deadline", key)
    assert (row.role, row.key_id, row.session_id, row.namespace) == (None, None, None, "default")
    assert row.detail is not None
    assert row.detail.value["value"] is False


async def test_code_of_this_process_is_named_as_such(stage: Stage) -> None:
    """Programs that embed the engine answer, attach and store by the door `engine`, whatever request they serve."""
    key = await stage.ask()
    await stage.rows()
    await stage.swarm.engine.resume(key, True, by="robot")
    await stage.swarm.engine.set_resource("r", 1)
    await stage.swarm.engine.attach("embedded", Role.OBSERVER, DAY)

    rows = await stage.rows()
    assert [(row.action, row.actor, row.door, row.key_id) for row in rows] == [
        ("question_answered", "robot", "engine", None),
        ("resource_set", "engine", "rest", None),
        ("session_attached", "embedded", "engine", None),
    ]


async def test_the_root_key_is_made_restored_and_replaced_by_the_server(stage: Stage) -> None:
    """Its rows name the server and its configuration."""
    engine = stage.swarm.engine
    DOOR.set(Door.ENGINE)
    await stage.rows()
    for text in ("shk_" + "s" * 40, ROOT):
        await engine.keys.ensure_root(text)

    assert [(row.action, row.actor, row.door) for row in await stage.rows()] == [
        ("key_revoked", "configuration", "engine"),
        ("key_created", "server", "engine"),
        ("key_revoked", "configuration", "engine"),
        ("key_restored", "configuration", "engine"),
    ]


async def test_the_switch_of_all_namespaces_is_of_none(stage: Stage) -> None:
    """The root key throws it, for every namespace."""
    await stage.rows()
    for paused in (True, False):
        await stage.swarm.engine.switch.switch_all(ROOT, paused=paused)

    rows = await stage.rows()
    assert [row.action for row in rows] == ["loop_paused", "loop_resumed"]
    assert {(row.key_name, row.namespace, row.door) for row in rows} == {("root", None, "rest")}


# Workers


async def test_a_workers_ordinary_calls_leave_no_row(stage: Stage) -> None:
    """Starting, dispatching, fetching, emitting, asking, submitting, and refused calls are no decisions."""
    swarm, engine = stage.swarm, stage.swarm.engine
    await stage.rows()
    work = await swarm.external()
    child = await swarm.external_child(work)
    await engine.fetch_prompt(work.handle, work.task_id)
    await engine.post_result(work.handle, work.task_id, 1)
    await engine.credentials.authorize(work.handle, Verb.FETCH_PROMPT)
    await swarm.submit(child)
    key = await stage.ask(work)
    await engine.heartbeat(swarm.operator)
    with pytest.raises(RoleViolation):
        await engine.tasks.mark(swarm.senior, work.task_id, ok=True)
    with pytest.raises(LateResultNotFound):
        await engine.attempts.adopt_late(swarm.operator, work.task_id, 1, 0)
    assert await stage.rows() == []

    await engine.questions.answer(swarm.senior, key, Json("1"))
    assert len(await stage.rows()) == 1
    with pytest.raises(AlreadyAnswered):
        await engine.questions.answer(swarm.senior, key, Json("2"))
    await engine.questions.answer(swarm.senior, key, Json("1"))
    await swarm.submit(work)
    with pytest.raises(InvalidTransition):
        await engine.cancel_task(swarm.operator, work.task_id)
    assert await stage.rows() == []


async def test_a_workers_cancel_names_the_keys_of_both(stage: Stage) -> None:
    """A worker acts for the key that dispatched it, in that key's session."""
    parent = await stage.swarm.external()
    child = await stage.swarm.child(parent)
    await stage.rows()
    await stage.swarm.engine.cancel_task(parent.handle, child)
    (row,) = await stage.rows()

    assert (row.action, row.target, row.role) == ("task_cancelled", child, "worker")
    assert (row.key_name, row.session_id) == ("alice", stage.ids["alice-session"])


async def test_a_minted_token_acts_in_the_session_that_it_descends_from(stage: Stage) -> None:
    """Its own record names no session; the chain of parents does."""
    engine, parent = stage.swarm.engine, await stage.swarm.external()
    child = await stage.swarm.child(parent)
    minted = await engine.credentials.mint(
        stage.swarm.operator, agent_id="a", role=Role.WORKER, ttl=HOUR, task_id=parent.task_id
    )
    await stage.rows()
    await engine.cancel_task(minted.token, child)
    (row,) = await stage.rows()

    assert (row.credential, row.key_name) == (minted.record.jti, "alice")
    assert row.session_id == stage.ids["alice-session"]


async def test_a_long_value_is_named_by_its_digest(stage: Stage) -> None:
    """The log does not hold what anybody may make large."""
    long = Json.of("x" * LONG_VALUE)
    await stage.rows()
    await stage.swarm.engine.resources.put(stage.swarm.operator, "r", long)
    (row,) = await stage.rows()

    assert row.detail is not None
    assert set(row.detail.value) == {"value_sha256"}
    assert row.detail.value == audit.value(long)


async def test_work_does_not_wait_for_the_log(stage: Stage) -> None:
    """While another transaction has the log's head, tasks are created, dispatched, worked on and submitted."""
    url = stage.swarm.plan.store_url
    if not url.startswith("postgresql://"):
        pytest.skip("SQLite has one writer")
    swarm, key = stage.swarm, await stage.ask()
    with psycopg.connect(url) as other:
        other.execute("SELECT value FROM meta WHERE name = 'audit_head' FOR UPDATE")
        work = await swarm.external()
        await swarm.engine.fetch_prompt(work.handle, work.task_id)
        await swarm.submit(work)
        assert await swarm.status(work.task_id) is Status.PASS
        deciding = asyncio.ensure_future(swarm.engine.questions.answer(swarm.senior, key, Json("1")))
        await swarm.submit(await swarm.external())
        assert not deciding.done()
        other.rollback()
    await deciding


# Refusals


async def test_refusals_are_one_row_per_source_kind_and_minute(stage: Stage) -> None:
    """Of a network of IPv4 or IPv6, when the minute ends, with the count and some fingerprints."""
    refusals = stage.swarm.engine.refusals
    await stage.rows()
    for number in range(20):
        refusals.count(source=f"10.1.2.{number}", kind="unknown key", fingerprint=f"f{number}")
        refusals.count(source=f"2001:db8:7:{number}::1", kind="unknown key", fingerprint="same")
        refusals.count(source="::ffff:10.1.2.3", kind="token-expired", fingerprint="same")
    refusals.count(source="10.1.3.1", kind="unknown key", fingerprint="f")
    refusals.count(source="unknown", kind="unknown key", fingerprint="f")
    await refusals.write_ended()
    assert await stage.rows() == []

    stage.swarm.clock.advance(60)
    refusals.count(source="10.1.2.1", kind="unknown key", fingerprint="next minute")
    await refusals.write_ended()
    rows = await stage.rows()
    assert {(row.actor, row.detail.value["kind"]): row.detail.value["count"] for row in rows if row.detail} == {
        ("10.1.2.0/24", "unknown key"): 20,
        ("2001:db8:7::/48", "unknown key"): 20,
        ("10.1.2.0/24", "token-expired"): 20,
        ("10.1.3.0/24", "unknown key"): 1,
        ("unknown", "unknown key"): 1,
    }
    assert {row.action for row in rows} == {"refused"}
    assert rows[0].detail is not None
    assert rows[0].detail.value["credentials"] == [f"f{number}" for number in range(MAX_FINGERPRINTS)]
    assert rows[1].detail is not None
    assert rows[1].detail.value["credentials"] == ["same"]

    await refusals.write_all()
    (last,) = await stage.rows()
    assert last.detail is not None
    assert last.detail.value["count"] == 1
    await refusals.write_all()
    assert await stage.rows() == []


async def test_many_sources_share_one_row(stage: Stage) -> None:
    """Memory and rows of a minute are bounded, and no refusal goes uncounted."""
    refusals = stage.swarm.engine.refusals
    await stage.rows()
    for number in range(MAX_COUNTS + 10):
        refusals.count(source=f"10.{number // 200}.{number % 200}.1", kind="unknown key", fingerprint="f")
    await refusals.write_all()
    rows = await stage.rows()

    assert len(rows) == MAX_COUNTS + 1
    counts = {row.actor: row.detail.value["count"] for row in rows if row.detail is not None}
    assert counts["others"] == 10


async def test_a_stop_writes_the_running_minute(stage: Stage) -> None:
    """What was refused since the minute began is written when the engine stops."""
    engine = stage.swarm.engine
    engine.refusals.count(source="10.1.2.3", kind="unknown key", fingerprint="f")
    await stage.rows()
    await engine.stop()
    await engine.store.open()
    try:
        (row,) = await stage.rows()
    finally:
        await engine.store.close()
    assert (row.action, row.actor) == ("refused", "10.1.2.0/24")


async def test_refusals_that_cannot_be_written_are_kept(stage: Stage) -> None:
    """They are added to those of the same minute and written later."""
    engine = stage.swarm.engine
    engine.refusals.count(source="10.1.2.3", kind="unknown key", fingerprint="f")
    await stage.rows()
    await engine.store.close()
    with pytest.raises(Exception, match="closed"):
        await engine.refusals.write_all()
    engine.refusals.count(source="10.1.2.3", kind="unknown key", fingerprint="f")
    await engine.store.open()
    await engine.refusals.write_all()
    (row,) = await stage.rows()
    assert row.detail is not None
    assert row.detail.value["count"] == 2


def test_rows_are_written_by_operations_that_this_table_knows() -> None:
    """Every action that the operations name stands in the table above, or in the tests beside it."""
    named = {"refused", "key_restored", "audit_sealed", "webhook_rewound", "self_answer"}
    known = set(DECISIONS) | named
    for path in Path(ops.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("audit.record", "_changed", "_begin"):
                literals = [arg.value for arg in ast.walk(node) if isinstance(arg, ast.Constant)]
                actions = {text for text in literals if isinstance(text, str) and "_" in text and text.islower()}
                assert actions - {"task_id", "value_sha256"} <= known, (path.name, actions - known)
