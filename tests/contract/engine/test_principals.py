"""Principals: no key answers what it asked, ids belong to keys, and every answer says by whom it came."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.errors import (
    AskerCannotAnswer,
    DefaultRefused,
    HeldIdNotFound,
    IdTaken,
    NameTaken,
    ResumeKeyNotFound,
    RoleViolation,
)
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, Question, QuestionRules
from app.domain.sessions import SessionOptions
from app.domain.tasks import Status, TaskSpec
from app.domain.tokens import Bearer, CapToken, Handle
from app.state import audit_log
from app.state.tables import QUESTIONS
from tests.support.swarms import EXTERNAL, Plan, Swarm, Work, refused, unchanged, values, with_cfg

HOUR = timedelta(hours=1)
NOTHING = timedelta(0)
QUEUE: dict[str, Any] = {"kind": "queue", "queue": "q"}
YES = Json.of("yes")


@dataclass(slots=True)
class Crew:
    """Keys by name, and what is done with them."""

    swarm: Swarm
    texts: dict[str, str]
    ids: dict[str, str]

    async def key(self, name: str, *, person: bool = False, ttl: timedelta | None = None) -> str:
        """The text of a key of this name, made when it is first asked for."""
        if name not in self.texts:
            root = await self.swarm.root_key()
            if name == "root":
                self.texts[name] = root
            else:
                made, self.texts[name] = await self.swarm.engine.keys.create(
                    root, name, frozenset(Role), ttl, person=person
                )
                self.ids[name] = made.id
        return self.texts[name]

    async def attach(self, name: str, role: Role, label: str | None = None, **ids: Any) -> CapToken:
        """The token of a new session of this key."""
        key = await self.key(name)
        attached = await self.swarm.engine.sessions.attach_by_key(key, label, role, HOUR, SessionOptions(**ids))
        return attached.token

    async def external(self, name: str, bearer: Bearer | None = None) -> Work:
        """A running attempt that a key's operator, or this worker of its, dispatched."""
        bearer = bearer or await self.attach(name, Role.OPERATOR)
        task = await self.swarm.engine.tasks.start(bearer, TaskSpec(agent="a", initial_directive="d"))
        made, _ = await self.swarm.engine.dispatcher.dispatch(bearer, task.task.id, EXTERNAL)
        assert made.handle is not None
        return Work(task.task.id, 1, Handle(made.handle))

    async def claimed(self, name: str, claimer: str) -> Work:
        """An attempt that one key's operator dispatched and another key's worker claimed."""
        operator = await self.attach(name, Role.OPERATOR)
        task = await self.swarm.engine.tasks.start(operator, TaskSpec(agent="a", initial_directive="d"))
        await self.swarm.engine.dispatcher.dispatch(operator, task.task.id, QUEUE)
        claim = await self.swarm.engine.workers.claim(await self.key(claimer), queue="q", hold=NOTHING)
        assert claim is not None
        return Work(task.task.id, 1, Handle(claim.handle))

    async def ask(self, bearer: Bearer, task_id: str, **ask: Any) -> Question:
        """A new question of this caller."""
        return await self.swarm.engine.questions.ask(bearer, Ask(question=Json.of("May I?"), **ask), task_id=task_id)

    async def answer(self, name: str, key: str) -> Question:
        """Answer as a senior with this key."""
        return await self.swarm.engine.questions.answer(await self.attach(name, Role.SENIOR), key, YES)

    async def audited(self) -> list[str]:
        """What stands in the audit log about answers of askers."""
        rows = await self.swarm.engine.store.read(lambda state: audit_log.page(state.db, 0, 1000))
        return [str(row.target) for row in rows if row.action == "self_answer"]


@pytest.fixture
async def crew(swarm: Swarm) -> Crew:
    """Nobody has a key yet."""
    made = Crew(swarm, {}, {})
    await made.key("person", person=True)
    return made


# Answers


async def test_an_answer_tells_through_what_it_came(crew: Crew) -> None:
    """Role, key and session, in the question, the event and what the worker reads."""
    engine, work = crew.swarm.engine, await crew.external("asker")
    question = await crew.ask(work.handle, work.task_id)
    senior = await crew.attach("boss", Role.SENIOR, "mira")
    await engine.questions.answer(senior, question.key, YES)

    session = (await engine.sessions.read_own(senior)).id
    through = {
        "door": "engine",
        "role": "senior",
        "key_id": crew.ids["boss"],
        "key_name": "boss",
        "session_id": session,
    }
    row = await engine.questions.read(senior, question.key)
    assert row.answered_through is not None
    assert (row.answered_by, row.answered_through.value) == ("mira", through)
    [event] = [x for x in await crew.swarm.events(work.task_id) if x.kind == "senior_answered"]
    assert (values(event)["by"], values(event)["answered_through"]) == ("mira", through)
    [answer] = (await engine.workers.payload(work.handle)).answers
    assert (answer["answered_by"], answer["answered_through"]) == ("mira", through)


async def test_an_answer_by_deadline_is_nobodys(crew: Crew) -> None:
    """No session can call itself so, and the door alone tells it apart."""
    swarm, work = crew.swarm, await crew.external("asker")
    operator = await crew.attach("asker", Role.OPERATOR)
    question = await crew.ask(
        operator,
        work.task_id,
        deadline=swarm.clock() + 1000,
        on_deadline=OnDeadline.DEFAULT,
        default_answer=Json.of("no"),
    )
    await swarm.pass_time(1)
    row = await swarm.engine.store.read(lambda state: QUESTIONS.get(state.db, question.key))
    assert row is not None
    assert row.answered_through is not None
    assert (row.answered_by, row.answered_through.value) == ("deadline", {"door": "deadline"})
    [answer] = (await swarm.engine.workers.payload(work.handle)).answers
    assert answer["answered_through"] == {"door": "deadline"}


async def test_a_session_is_called_like_its_key(crew: Crew) -> None:
    """Unless it says otherwise; the root key's is called root."""
    for name in ("asker", "root"):
        token = await crew.attach(name, Role.SENIOR)
        assert (await crew.swarm.engine.sessions.read_own(token)).operator_id == name
    token = await crew.attach("root", Role.SENIOR, "root")
    assert (await crew.swarm.engine.sessions.read_own(token)).operator_id == "root"


async def asked(crew: Crew, how: str) -> Question:
    """A question, and how its asker descends from the keys `a` and `b`."""
    engine = crew.swarm.engine
    match how:
        case "operator":
            work = await crew.external("a")
            return await crew.ask(await crew.attach("a", Role.OPERATOR), work.task_id)
        case "worker":
            work = await crew.external("a")
        case "minted":
            task = await crew.external("a")
            made = await engine.credentials.mint(
                await crew.attach("a", Role.OPERATOR),
                agent_id="w",
                role=Role.WORKER,
                ttl=HOUR,
                task_id=task.task_id,
            )
            return await crew.ask(made.token, task.task_id)
        case "child":
            work = await crew.external("a", (await crew.external("a")).handle)
        case "claimed":
            work = await crew.claimed("a", "b")
        case "child of claimed":
            work = await crew.external("a", (await crew.claimed("a", "b")).handle)
        case _:  # a layer asks about the Final of a claimed attempt
            operator = await crew.attach("a", Role.OPERATOR)
            task = await engine.tasks.start(operator, TaskSpec(agent="a", initial_directive="d"))
            await engine.dispatcher.dispatch(operator, task.task.id, QUEUE, layers=("senior_escalation",))
            claim = await engine.workers.claim(await crew.key("b"), queue="q", hold=NOTHING)
            assert claim is not None
            await engine.workers.submit(Handle(claim.handle), Json.of("no luck"), ok=False)
            page = await engine.questions.page(await crew.attach("c", Role.SENIOR), task_id=task.task.id)
            return page.items[0]
    return await crew.ask(work.handle, work.task_id)


ONE, BOTH = ("a",), ("a", "b")


@pytest.mark.parametrize(
    ("how", "askers"),
    [
        ("operator", ONE),
        ("worker", ONE),
        ("minted", ONE),
        ("child", ONE),
        ("claimed", BOTH),
        ("child of claimed", BOTH),
        ("escalation", BOTH),
    ],
)
async def test_an_asker_never_answers_itself(crew: Crew, how: str, askers: tuple[str, ...]) -> None:
    """None of the keys that it descends from, whatever its sessions are called; everybody else does."""
    question = await asked(crew, how)
    assert question.asker_keys.value == sorted(crew.ids[name] for name in askers)
    engine = crew.swarm.engine
    for name in askers:
        for label in (None, "somebody else"):
            senior = await crew.attach(name, Role.SENIOR, label)
            error = await unchanged(crew.swarm, AskerCannotAnswer, engine.questions.answer(senior, question.key, YES))
            assert error.fields() == {"key": question.key}
    others = [name for name in ("a", "b", "c") if name not in askers]
    assert (await crew.answer(others[0], question.key)).answered_by == others[0]
    assert await crew.audited() == []


@pytest.mark.parametrize("name", ["root", "person"])
async def test_the_root_key_and_a_person_may_answer_themselves_and_it_is_recorded(crew: Crew, name: str) -> None:
    """In a session of their own; and only what they would not be allowed otherwise is recorded so."""
    work = await crew.external(name)
    question = await crew.ask(work.handle, work.task_id)
    assert (await crew.answer(name, question.key)).answered_by == name
    assert await crew.audited() == [question.key]
    foreign = await crew.external("a")
    question = await crew.ask(foreign.handle, foreign.task_id)
    await crew.answer(name, question.key)
    assert len(await crew.audited()) == 1


async def test_self_answers_can_be_allowed(plan: Plan) -> None:
    """By a setting, for everybody; they are recorded."""
    async with with_cfg(plan, questions=QuestionRules(self_answer=True)).engine() as engine:
        crew = Crew(await Swarm.over(engine, plan), {}, {})
        work = await crew.external("a")
        question = await crew.ask(work.handle, work.task_id)
        await crew.answer("a", question.key)
        assert await crew.audited() == [question.key]


async def test_an_asker_does_not_pass_its_task_while_the_question_is_open(crew: Crew) -> None:
    """Not by a mark, an override or a late result. It may give the task up, and others may pass it."""
    engine = crew.swarm.engine
    operator, senior = await crew.attach("a", Role.OPERATOR), await crew.attach("a", Role.SENIOR)
    others = {Role.OPERATOR: await crew.attach("c", Role.OPERATOR), Role.SENIOR: await crew.attach("c", Role.SENIOR)}

    async def late() -> str:
        """A task with a late result and an open question of a new attempt's worker."""
        work = await crew.external("a")
        await engine.tasks.mark(operator, work.task_id, ok=False)
        with pytest.raises(Exception, match="late result"):
            await engine.workers.submit(work.handle, Json.of("late"), ok=True)
        made, _ = await engine.dispatcher.dispatch(operator, work.task_id, EXTERNAL)
        assert made.handle is not None
        await crew.ask(Handle(made.handle), work.task_id)
        return work.task_id

    task_id = await late()
    for call in (
        engine.tasks.override(senior, task_id, ok=True),
        engine.attempts.adopt_late(senior, task_id, 1, 0),
    ):
        await unchanged(crew.swarm, AskerCannotAnswer, call)
    await engine.attempts.adopt_late(others[Role.SENIOR], task_id, 1, 0)
    assert await crew.swarm.status(task_id) is Status.PASS

    task_id = await late()
    await engine.tasks.override(senior, task_id, ok=False)
    assert await crew.swarm.status(task_id) is Status.BLOCKED
    await engine.tasks.override(senior, task_id, ok=True)

    task_id = await late()
    person = await crew.attach("person", Role.SENIOR)
    await engine.tasks.override(person, task_id, ok=True)
    assert await crew.audited() == []


async def test_a_mark_is_no_way_around_an_open_question(crew: Crew) -> None:
    """An operator may mark what is suspended as blocked alone, when the question is its own."""
    engine = crew.swarm.engine
    operator = await crew.attach("a", Role.OPERATOR)
    work = await crew.external("a")
    question = await crew.ask(work.handle, work.task_id)
    await unchanged(crew.swarm, AskerCannotAnswer, engine.tasks.mark(operator, work.task_id, ok=True))
    await crew.answer("c", question.key)
    await engine.tasks.mark(operator, work.task_id, ok=True)
    work = await crew.external("a")
    await crew.ask(work.handle, work.task_id)
    await engine.tasks.mark(operator, work.task_id, ok=False)
    work = await crew.external("a")
    await crew.ask(work.handle, work.task_id)
    await engine.tasks.mark(await crew.attach("c", Role.OPERATOR), work.task_id, ok=True)


async def test_an_operator_at_the_bridge_is_an_asker_too(crew: Crew) -> None:
    """The human gate cannot be taken by the asker: neither by its key nor by another one under the same id."""
    engine = crew.swarm.engine
    gate = await crew.attach("gate", Role.OPERATOR, bridge_id="desk")
    asker = await crew.attach("a", Role.OPERATOR)
    work = await crew.external("a", asker)
    question = await crew.ask(work.handle, work.task_id, bridge_id="desk")
    await refused(RoleViolation, engine.questions.answer(asker, question.key, YES))
    await refused(IdTaken, crew.attach("a", Role.OPERATOR, bridge_id="desk"))
    await refused(RoleViolation, engine.questions.answer(work.handle, question.key, YES))  # pyright: ignore[reportArgumentType] - a handle is no token
    assert (await engine.questions.answer(gate, question.key, YES)).answered_by == "gate"


async def test_a_worker_does_not_settle_its_question_by_silence(plan: Plan) -> None:
    """Neither with a handle nor with a token that was minted; operators may, and a setting opens it."""
    silence: dict[str, Any] = {"on_deadline": OnDeadline.DEFAULT, "default_answer": YES}
    async with with_cfg(plan, questions=QuestionRules()).engine() as engine:
        crew = Crew(await Swarm.over(engine, plan), {}, {})
        silence["deadline"] = crew.swarm.clock() + 1000
        operator, work = await crew.attach("a", Role.OPERATOR), await crew.external("a")
        made = await engine.credentials.mint(operator, agent_id="w", role=Role.WORKER, ttl=HOUR, task_id=work.task_id)
        for bearer in (work.handle, made.token):
            await unchanged(crew.swarm, DefaultRefused, crew.ask(bearer, work.task_id, **silence))
            escalated = silence | {"on_deadline": OnDeadline.ESCALATE, "default_answer": None, "escalate_to": "desk"}
            await crew.ask(bearer, work.task_id, bridge_id="other", **escalated)
        await crew.ask(operator, work.task_id, **silence)
    async with with_cfg(plan, questions=QuestionRules(worker_default=True)).engine() as engine:
        crew.swarm = replace(crew.swarm, engine=engine)
        await crew.ask(work.handle, work.task_id, **silence)


async def test_answers_from_this_process_are_nobodys_question(crew: Crew) -> None:
    """Code that embeds the engine has no key, and may answer what it asked."""
    swarm = crew.swarm
    work = await swarm.external()
    key = await swarm.engine.query_senior(work.handle, work.task_id, "?")
    await swarm.engine.questions.answer(swarm.senior, key, YES)
    await refused(ResumeKeyNotFound, swarm.engine.questions.answer(swarm.senior, "R-" + "0" * 26, YES))


# Ids


async def held_by(crew: Crew, name: str, id: str) -> bool:
    """Whether a key may attach with this id in any of its three uses."""
    found: set[bool] = set()
    for use in ("bridge_id", "hook_id", "operator_backend_id"):
        try:
            await crew.attach(name, Role.OPERATOR, **{use: id})
        except IdTaken:
            found.add(False)
        else:
            found.add(True)
    assert len(found) == 1
    return found.pop()


async def test_an_id_belongs_to_the_key_that_first_held_it(crew: Crew) -> None:
    """As bridge, hook and backend; the root key may hold any and owns none; naming one is free."""
    assert await held_by(crew, "root", "desk")
    assert await held_by(crew, "a", "desk")
    assert not await held_by(crew, "b", "desk")
    assert await held_by(crew, "root", "desk")
    assert await held_by(crew, "b", "other")
    work = await crew.external("b")
    await crew.ask(work.handle, work.task_id, bridge_id="desk")
    error = await unchanged(crew.swarm, IdTaken, crew.attach("b", Role.SENIOR, bridge_id="desk"))
    assert error.fields() == {"id": "desk"}
    for name, may in (("a", True), ("b", False), ("root", True)):
        call = crew.swarm.engine.sessions.hold_id(await crew.attach(name, Role.SENIOR), "desk")
        await call if may else await refused(IdTaken, call)


async def test_an_id_is_released_with_its_key_or_by_the_root_key(crew: Crew) -> None:
    """Revoked, expired, or taken away; its next holder owns it."""
    engine, swarm = crew.swarm.engine, crew.swarm
    await crew.key("short", ttl=HOUR)
    for name, id in (("a", "one"), ("short", "two"), ("c", "three")):
        assert await held_by(crew, name, id)
    root = await crew.key("root")
    await engine.keys.revoke(root, crew.ids["a"])
    assert await held_by(crew, "b", "one")

    assert not await held_by(crew, "b", "two")
    swarm.clock.advance(3600)
    assert await held_by(crew, "b", "two")

    await refused(RoleViolation, engine.keys.release_id(await crew.key("c"), "three", namespace="default"))
    for id, namespace in (("three", "elsewhere"), ("nothing", "default")):
        await unchanged(swarm, HeldIdNotFound, engine.keys.release_id(root, id, namespace=namespace))
    await engine.keys.release_id(root, "three", namespace="default")
    [event] = [x for x in await swarm.events() if x.kind == "id_released"]
    assert values(event)["id"] == "three"
    assert await held_by(crew, "b", "three")
    assert not await held_by(crew, "c", "three")


async def test_a_session_that_lost_its_id_answers_nothing_under_it(crew: Crew) -> None:
    """The session still names the id; the key that owns it now answers."""
    engine = crew.swarm.engine
    old = await crew.attach("a", Role.OPERATOR, bridge_id="desk")
    work = await crew.external("c")
    question = await crew.ask(work.handle, work.task_id, bridge_id="desk")
    await engine.keys.release_id(await crew.key("root"), "desk", namespace="default")
    new = await crew.attach("b", Role.OPERATOR, bridge_id="desk")
    await unchanged(crew.swarm, IdTaken, engine.questions.answer(old, question.key, YES))
    await engine.questions.answer(new, question.key, YES)


# Names of keys


async def test_a_living_keys_name_is_unique(crew: Crew) -> None:
    """Free again when the key is revoked or has expired; the root key's is no name in a namespace."""
    engine, root = crew.swarm.engine, await crew.key("root")
    await crew.key("a")
    await crew.key("short", ttl=HOUR)

    async def create(name: str) -> None:
        await engine.keys.create(root, name, frozenset({Role.WORKER}), None)

    for name in ("a", "short"):
        error = await unchanged(crew.swarm, NameTaken, create(name))
        assert error.fields() == {"name": name}
    await engine.keys.revoke(root, crew.ids["a"])
    crew.swarm.clock.advance(3600)
    for name in ("a", "short", "A", "root"):
        await create(name)
    for name in ("a", "short"):
        await refused(NameTaken, create(name))
