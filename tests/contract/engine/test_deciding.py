"""What helps those who answer: titles, words beside choices, comments, claims, handing over, and what was decided."""

from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.choices import read_choices, shown_choices
from app.domain.errors import AlreadyAnswered, AnswerInvalid, InvalidName, InvalidRequest, QuestionClosed
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, Question
from app.engine.ops import pages
from tests.support.swarms import DAY, Swarm, Work, refused, unchanged

QUARTER = timedelta(minutes=15)


async def asked(swarm: Swarm, text: str = "May I?", work: Work | None = None, **parts: Any) -> Question:
    """A question of a worker."""
    work = work or await swarm.external()
    return await swarm.engine.questions.ask(work.handle, Ask(question=Json.of(text), **parts))


def claimed_by(question: Question) -> str | None:
    """Who is on the question."""
    return None if question.claim is None else question.claim.value["by"]


@pytest.mark.parametrize("given", [["a", 1.5], [{"value": 1}, {"label": "x"}, {"value": 1, "label": "x", "more": 2}]])
def test_plain_choices_are_their_own_values(given: list[Any]) -> None:
    """Whatever is not a value with words alone is the value itself."""
    values, words = read_choices(given)
    assert (values, words) == (Json.of(given), None)


def test_words_stand_beside_the_values(swarm: Swarm) -> None:
    """The values alone are answered; a reply shows the choices as they were given."""
    given = [{"value": {"n": 20000000000000000001}, "label": "Ship it", "danger": True}, "wait"]
    values, words = read_choices(given)

    assert values == Json.of([given[0]["value"], "wait"])
    assert Json.of(shown_choices(values, words)) == Json.of(given)
    for bad in ({"label": 1}, {"label": ""}, {"label": "x" * 201}, {"label": "x", "danger": "yes"}):
        with pytest.raises(InvalidRequest):
            read_choices([{"value": 1, **bad}])


async def test_a_comment_goes_with_an_answer_where_it_may(swarm: Swarm) -> None:
    """It is stored once with the answer, and the worker reads it; elsewhere it is refused and changes nothing."""
    answer, work = swarm.engine.questions.answer, await swarm.external()
    plain = await asked(swarm)
    await unchanged(swarm, AnswerInvalid, answer(swarm.senior, plain.key, Json.of(1), comment="why"))
    question = await asked(swarm, work=work, title="Ship 1.2?", takes_comment=True)
    assert (question.title, question.takes_comment) == ("Ship 1.2?", True)

    await answer(swarm.senior, question.key, Json.of("yes"), comment="after lunch")

    for again in (None, "after lunch"):
        found = await answer(swarm.senior, question.key, Json.of("yes"), comment=again)
        assert found.answer_comment == "after lunch"
    await unchanged(swarm, AlreadyAnswered, answer(swarm.senior, question.key, Json.of("yes"), comment="another"))
    [told] = (await swarm.engine.workers.payload(work.handle)).answers
    assert (told["answer"], told["comment"]) == ("yes", "after lunch")


async def test_a_claim_informs_and_keeps_nobody_from_answering(swarm: Swarm) -> None:
    """Others see who is on it until it ends; it is renewed, taken over, given up, and never in the way."""
    engine, question = swarm.engine, await asked(swarm)
    mo = await engine.attach("mo", Role.SENIOR, DAY)
    first = await engine.questions.claim(swarm.senior, question.key, QUARTER)
    assert first.claim is not None
    assert first.claim.value["until"] - first.claim.value["since"] == 900_000
    await swarm.pass_time(60)
    renewed = (await engine.questions.claim(swarm.senior, question.key, QUARTER)).claim
    assert renewed is not None
    assert renewed.value["since"] == first.claim.value["since"]
    assert renewed.value["until"] > first.claim.value["until"]

    assert claimed_by(await engine.questions.release(mo, question.key)) == "senior"
    assert claimed_by(await engine.questions.claim(mo, question.key, QUARTER)) == "mo"
    assert claimed_by(await engine.questions.release(mo, question.key)) is None
    await engine.questions.claim(mo, question.key, QUARTER)
    await engine.questions.answer(swarm.senior, question.key, Json.of("yes"))

    await unchanged(swarm, QuestionClosed, engine.questions.claim(mo, question.key, QUARTER))
    kinds = await swarm.kinds(question.task_id)
    assert (kinds.count("question_claimed"), kinds.count("question_released")) == (4, 1)


async def test_handing_over_addresses_another_bridge_at_once(swarm: Swarm) -> None:
    """The claim ends, the deadline stays unless it would hand over to the same bridge."""
    engine = swarm.engine
    soon = {"deadline": swarm.clock() + 60_000, "on_deadline": OnDeadline.ESCALATE, "escalate_to": "cto"}
    question = await asked(swarm, bridge_id="desk", **soon)
    await engine.questions.claim(swarm.senior, question.key, QUARTER)

    found = await engine.questions.escalate(swarm.senior, question.key, "night")
    assert (found.bridge_id, found.claim, found.due_at) == ("night", None, question.deadline)
    found = await engine.questions.escalate(swarm.senior, question.key, "cto")
    assert (found.bridge_id, found.due_at) == ("cto", None)
    assert await engine.questions.read(swarm.senior, question.key) == found

    await unchanged(swarm, InvalidName, engine.questions.escalate(swarm.senior, question.key, " "))
    await engine.cancel_task(swarm.operator, question.task_id)
    await refused(QuestionClosed, engine.questions.escalate(swarm.senior, question.key, "desk"))


async def test_what_was_decided_comes_newest_first_and_is_searched(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the instant of the decision, a page at a time; a search finds text in any part, as it is written."""
    engine = swarm.engine
    keys = [(await asked(swarm, f"Number {n}? 100%", takes_comment=True)).key for n in range(4)]
    for key, value, comment in ((keys[2], "ja", None), (keys[0], "Nein_1", "no, Thursday"), (keys[1], "ja", None)):
        await swarm.pass_time(1)
        await engine.questions.answer(swarm.senior, key, Json.of(value), comment=comment)

    async def found(**given: Any) -> list[str]:
        keys, cursor = list[str](), None
        while True:
            page = await engine.questions.decided(swarm.senior, limit=1, cursor=cursor, **given)
            keys += [one.key for one in page.items]
            if (cursor := page.next_cursor) is None:
                return keys

    assert await found() == [keys[1], keys[0], keys[2]]
    assert await found(search="number 0") == [keys[0]]
    assert await found(search="THURSDAY") == await found(search="nein_") == [keys[0]]
    assert await found(search="100%") == [keys[1], keys[0], keys[2]]
    assert await found(search="0_?") == await found(search="nothing") == []
    assert pages.SEARCHED > 100
