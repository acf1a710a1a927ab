"""Answer links: one person answers one question by one secret, and nothing of it outlives the question."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.answer_links import new_secret
from app.domain.errors import (
    AnswerInvalid,
    AskerCannotAnswer,
    DoorNotAllowed,
    InvalidRequest,
    KeyNotFound,
    LinkNotFound,
    QuestionClosed,
    QuotaExceeded,
    ResumeKeyNotFound,
    RoleViolation,
)
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.questions import Ask, Question
from app.domain.tasks import Status
from app.engine.ops.idempotency import Idempotency
from app.engine.ops.links import LinkWish
from app.state import audit_log, retention
from app.state.policies import RetentionPolicy
from app.state.tables import ANSWER_LINKS
from tests.support.desks import HOUR_MS, NO, YES, Desk
from tests.support.swarms import Plan, Swarm, refused, unchanged, values, with_cfg


async def test_a_link_answers_as_its_person_and_once(desk: Desk) -> None:
    """Reading settles nothing however often; the answer is the person's and says by which link and address it came."""
    secret = await desk.link()
    before = await desk.swarm.dump()
    for _ in range(100):
        link, question, person = await desk.swarm.engine.links.open(f" {secret.upper()} ")
        assert (question.key, person.id) == (desk.question.key, desk.ids["pat"])
    assert await desk.swarm.dump() == before
    assert secret not in repr(before)

    answered = await desk.answer(secret)
    through = {
        "door": "link",
        "role": "senior",
        "key_id": desk.ids["pat"],
        "key_name": "pat",
        "session_id": None,
        "link_id": link.id,
        "address": "192.0.2.7",
    }
    assert answered.answered_through is not None
    assert (answered.answered_by, answered.answered_through.value) == ("pat", through)
    assert await desk.swarm.status(desk.question.task_id) is Status.PASS
    [event] = [one for one in await desk.swarm.events() if one.kind == EventKind.SENIOR_ANSWERED]
    assert values(event)["answered_through"] == through
    rows = await desk.swarm.engine.store.read(lambda state: audit_log.page(state.db, 0, 1000))
    row = next(row for row in rows if row.action == "question_answered")
    assert (row.door, row.key_id, row.actor, row.credential) == ("link", desk.ids["pat"], "senior:pat", link.id)
    assert row.detail is not None
    assert (row.detail.value["link_id"], row.detail.value["address"]) == (link.id, "192.0.2.7")
    await unchanged(desk.swarm, LinkNotFound, desk.answer(secret))
    await refused(LinkNotFound, desk.swarm.engine.links.open(secret))


async def test_of_two_doors_one_answers(desk: Desk) -> None:
    """Two links and a senior at once: one answer stands, and the others learn that they came too late."""
    secrets = [await desk.link() for _ in range(2)]
    senior = desk.swarm.engine.questions.answer(desk.swarm.senior, desk.question.key, Json('"by senior"'))
    found = await asyncio.gather(
        *(desk.answer(secret, Json.of(n)) for n, secret in enumerate(secrets)), senior, return_exceptions=True
    )
    [winner] = [one for one in found if isinstance(one, Question)]
    row = await desk.swarm.engine.questions.read(desk.swarm.senior, desk.question.key)
    assert row.answer == winner.answer


ENDS: dict[str, Callable[[Desk, str], Any]] = {}


def end(run: Callable[[Desk, str], Any]) -> Callable[[Desk, str], Any]:
    """Put a way in which a link dies into the table; it is given the link's id."""
    ENDS[run.__name__] = run
    return run


@end
async def it_is_deleted(desk: Desk, id: str) -> None:
    for _ in range(2):
        await desk.swarm.engine.links.revoke(desk.swarm.senior, desk.question.key, id)


@end
async def its_time_is_over(desk: Desk, id: str) -> None:
    desk.swarm.clock.advance(3600)


@end
async def the_key_of_its_person_is_revoked(desk: Desk, id: str) -> None:
    await desk.swarm.engine.keys.revoke(await desk.swarm.root_key(), desk.ids["pat"])


@end
async def the_question_is_withdrawn(desk: Desk, id: str) -> None:
    await desk.swarm.engine.questions.withdraw(desk.swarm.operator, desk.question.key)


@end
async def another_door_answers(desk: Desk, id: str) -> None:
    await desk.swarm.engine.questions.answer(desk.swarm.senior, desk.question.key, YES)


@end
async def its_task_is_cancelled(desk: Desk, id: str) -> None:
    await desk.swarm.engine.cancel_task(desk.swarm.operator, desk.question.task_id)


@pytest.mark.parametrize("name", ENDS)
async def test_a_link_dies(desk: Desk, name: str) -> None:
    """From then on it is as one that never was, and answers nothing."""
    link, secret = await desk.swarm.engine.links.make(
        desk.swarm.senior, desk.question.key, LinkWish(person=desk.ids["pat"], ttl_ms=HOUR_MS)
    )
    await desk.swarm.engine.links.open(secret)
    await ENDS[name](desk, link.id)
    await refused(LinkNotFound, desk.swarm.engine.links.open(secret))
    await unchanged(desk.swarm, LinkNotFound, desk.answer(secret))


async def test_a_mistyped_or_invented_link_is_none(desk: Desk) -> None:
    """The check character finds a slip; another server's link, an id and other secrets are no links either."""
    secret = await desk.link()
    slip = secret[:-2] + ("0" if secret[-2] != "0" else "1") + secret[-1]
    for text in (slip, new_secret(), "", "al_", desk.question.key, desk.texts["pat"], secret + "0", "al_" + "é" * 33):
        await refused(LinkNotFound, desk.swarm.engine.links.open(text))
        await unchanged(desk.swarm, LinkNotFound, desk.answer(text))


async def test_no_asker_has_a_link(desk: Desk) -> None:
    """Neither does the asker's key make one, nor is it the person, a person's key included."""
    await desk.key("both", Role.OPERATOR, Role.SENIOR, person=False)
    await desk.key("self", Role.OPERATOR, Role.SENIOR)
    theirs = await desk.ask(await desk.attach("both", Role.OPERATOR))
    make, wish = desk.swarm.engine.links.make, LinkWish(person="pat", ttl_ms=HOUR_MS)
    await unchanged(desk.swarm, AskerCannotAnswer, make(await desk.attach("both", Role.SENIOR), theirs.key, wish))
    own = await desk.ask(await desk.attach("self", Role.OPERATOR))
    await unchanged(desk.swarm, AskerCannotAnswer, desk.link(own, person="self"))
    assert (await desk.answer(await desk.link(own))).answered_by == "pat"


async def test_only_a_persons_key_of_the_namespace_is_a_person(desk: Desk) -> None:
    """An agent's key, one that is no senior's, a revoked one, an unknown one and a foreign one are refused."""
    await desk.key("agent", Role.SENIOR, person=False)
    await desk.key("reader", Role.OBSERVER)
    gone = await desk.key("gone", Role.SENIOR)
    await desk.swarm.engine.keys.revoke(await desk.swarm.root_key(), gone)
    foreign = await desk.key("foreign", Role.SENIOR, namespace="elsewhere")
    for person, error in (
        ("agent", InvalidRequest),
        ("reader", InvalidRequest),
        ("gone", KeyNotFound),
        ("nobody", KeyNotFound),
        ("foreign", KeyNotFound),
        (foreign, KeyNotFound),
    ):
        await unchanged(desk.swarm, error, desk.link(person=person))
    stranger = await desk.attach("foreign", Role.SENIOR)
    wish = LinkWish(person="foreign", ttl_ms=HOUR_MS)
    await unchanged(desk.swarm, ResumeKeyNotFound, desk.swarm.engine.links.make(stranger, desk.question.key, wish))
    refusal = desk.swarm.engine.links.make(desk.swarm.operator, desk.question.key, wish)
    await unchanged(desk.swarm, RoleViolation, refusal)


async def test_a_link_takes_its_allowed_answers_alone(desk: Desk) -> None:
    """Anything else is refused, and the link is still good; what the question itself does not take is not allowed."""
    question = await desk.ask(choices=Json('["yes","no",1]'))
    await unchanged(desk.swarm, AnswerInvalid, desk.link(question, allow=Json('["maybe"]')))
    secret = await desk.link(question, allow=Json('["no",1.0]'))
    await unchanged(desk.swarm, AnswerInvalid, desk.answer(secret, YES))
    assert (await desk.answer(secret, Json("1e0"))).answer == Json("1e0")


async def test_a_link_ends_with_the_deadline(desk: Desk) -> None:
    """Its life is a week at most, and never longer than the question's deadline."""
    now = desk.swarm.clock()
    question = await desk.ask(deadline=now + 60_000)
    make, key = desk.swarm.engine.links.make, question.key
    link, _ = await make(desk.swarm.senior, key, LinkWish(person="pat", ttl_ms=HOUR_MS))
    assert link.expires_at == now + 60_000
    for ttl_ms in (0, 7 * 86_400_000 + 1):
        wish = LinkWish(person="pat", ttl_ms=ttl_ms)
        await unchanged(desk.swarm, InvalidRequest, make(desk.swarm.senior, key, wish))
    await desk.swarm.pass_time(60)
    await unchanged(desk.swarm, InvalidRequest, desk.link(question))


@pytest.mark.parametrize("parts", [{"require": "signed_in"}, {"doors": ("console", "mcp")}])
async def test_a_grave_question_has_no_links(desk: Desk, parts: dict[str, Any]) -> None:
    """The asker keeps it to people who sign in."""
    question = await desk.ask(**parts)
    error = await unchanged(desk.swarm, DoorNotAllowed, desk.link(question))
    assert error.door == "link"
    assert "link" not in error.doors


async def test_a_closed_question_has_no_links(desk: Desk) -> None:
    """Nobody waits for an answer."""
    await desk.swarm.engine.questions.answer(desk.swarm.senior, desk.question.key, NO)
    await unchanged(desk.swarm, QuestionClosed, desk.link())


async def test_an_invalid_answer_leaves_question_and_link(desk: Desk) -> None:
    """It can be corrected."""
    question = await desk.ask(answer_schema=Json('{"type":"integer"}'))
    secret = await desk.link(question)
    await unchanged(desk.swarm, AnswerInvalid, desk.answer(secret, YES))
    assert (await desk.answer(secret, Json("3"))).answer == Json("3")


async def test_a_repeated_call_has_the_same_link_with_a_new_secret(desk: Desk) -> None:
    """The first secret was lost with its reply, and is void."""
    once, wish = Idempotency("k", "f"), LinkWish(person="pat", ttl_ms=HOUR_MS)
    make = desk.swarm.engine.links.make
    made = [await make(desk.swarm.senior, desk.question.key, wish, idempotency=once) for _ in range(2)]
    assert made[0][0].id == made[1][0].id
    await refused(LinkNotFound, desk.answer(made[0][1]))
    assert (await desk.answer(made[1][1])).answer == YES


async def test_links_of_a_question_are_limited(plan: Plan) -> None:
    """Expired and revoked ones do not count."""
    limited = with_cfg(plan, limits=replace(plan.cfg.limits, answer_links=2))
    async with limited.engine() as engine:
        swarm = await Swarm.over(engine, limited)
        asked = await engine.questions.ask_alone(swarm.operator, Ask(question=Json.of("May I?")))
        desk = Desk(swarm, {}, {}, asked)
        await desk.key("pat", Role.SENIOR)
        wish = LinkWish(person="pat", ttl_ms=HOUR_MS)
        first, _ = await engine.links.make(swarm.senior, asked.key, wish)
        await desk.link()
        await unchanged(swarm, QuotaExceeded, desk.link())
        await engine.links.revoke(swarm.senior, asked.key, first.id)
        await desk.link()
        swarm.clock.advance(3600)
        await desk.link()


async def test_a_link_is_of_its_question(desk: Desk) -> None:
    """Deleting it at another question finds none; retention removes it with its task."""
    other = await desk.ask()
    link, _ = await desk.swarm.engine.links.make(
        desk.swarm.senior, desk.question.key, LinkWish(person="pat", ttl_ms=HOUR_MS)
    )
    revoke = desk.swarm.engine.links.revoke
    await unchanged(desk.swarm, LinkNotFound, revoke(desk.swarm.senior, other.key, link.id))
    await desk.swarm.engine.questions.withdraw(desk.swarm.operator, desk.question.key)
    desk.swarm.clock.advance(timedelta(days=400).total_seconds())
    while await desk.swarm.engine.store.transact("sweep", lambda s: retention.sweep(s, RetentionPolicy())):
        pass
    assert await desk.swarm.engine.store.read(lambda state: ANSWER_LINKS.get(state.db, link.id)) is None
