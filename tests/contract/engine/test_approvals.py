"""Actions that questions ask approval for: digests, decisions, approvals that are consumed once, and outcomes."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.actions import digest_of
from app.domain.doors import DOOR, Door
from app.domain.errors import (
    ActionMismatch,
    AlreadyConsumed,
    AnswerInvalid,
    ApprovalExpired,
    DoorNotAllowed,
    IdempotencyMismatch,
    InvalidRequest,
    NotApproved,
    NotConsumed,
    OutcomeRecorded,
    RoleViolation,
)
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, Question
from app.domain.sessions import SessionOptions
from app.domain.tokens import CapToken
from app.engine.ops.idempotency import Idempotency
from tests.support.swarms import Swarm, refused, unchanged

ACTION = Json('{"name":"bash","arguments":{"command":"make","n":1.0},"server":"local"}')
ONCE = Idempotency("k", "f")
APPROVE = {"decision": "approve"}


async def asked(swarm: Swarm, *, bearer: CapToken | None = None, **parts: Any) -> Question:
    """A question of the operator that asks for approval of the action."""
    ask = replace(Ask(question=Json.of("May I?"), action=ACTION), **parts)
    return await swarm.engine.questions.ask_alone(bearer or swarm.operator, ask)


async def decided(swarm: Swarm, answer: Any = APPROVE, **parts: Any) -> Question:
    """One that is answered."""
    question = await asked(swarm, **parts)
    return await swarm.engine.questions.answer(swarm.senior, question.key, Json.of(answer))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1.0", "1"),
        ("-0.0", "0"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("0.000001", "0.000001"),
        ("1e-7", "1e-7"),
        ("1.5E-7", "1.5e-7"),
        ("333333333.3333333", "333333333.3333333"),
        ("9007199254740992", "9007199254740992"),
        ('"\\u20ac$\\u000f\\nA\'B\\"\\\\/"', '"€$\\u000f\\nA\'B\\"\\\\/"'),
        ('{"\\ud83d\\ude02":1,"\\ufb33":2,"1":3}', '{"1":3,"\U0001f602":1,"\ufb33":2}'),
        ("[true,null,{}]", "[true,null,{}]"),
    ],
)
def test_a_digest_is_that_of_the_canonical_form(text: str, canonical: str) -> None:
    """As RFC 8785 has it: numbers of ECMAScript, names in the order of UTF-16."""
    assert digest_of(Json(text)) == "sha256:" + sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize("text", ["9007199254740993", "0.12345678901234567890", "1e400", "1e-400"])
def test_numbers_that_a_double_cannot_hold_are_refused(text: str) -> None:
    """They would have the digest of another number."""
    with pytest.raises(InvalidRequest):
        digest_of(Json(f'{{"n":[{text}]}}'))


async def test_an_approval_is_consumed_once(swarm: Swarm) -> None:
    """The same key again changes nothing; of many at once one gets it."""
    question = await decided(swarm)
    digest = question.action_digest or ""
    questions = swarm.engine.questions
    calls = [questions.consume(swarm.operator, question.key, digest, Idempotency(f"k{n}", "f")) for n in range(6)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    [winner] = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    assert sum(isinstance(outcome, AlreadyConsumed) for outcome in outcomes) == 5
    before = await swarm.dump()
    consumed, approval = await questions.consume(swarm.operator, question.key, digest, Idempotency(f"k{winner}", "f"))
    assert (approval.decision, approval.action, approval.digest) == ("approve", ACTION, digest)
    assert consumed.consumed is not None
    assert await swarm.dump() == before
    mismatch = Idempotency(f"k{winner}", "other")
    await unchanged(swarm, IdempotencyMismatch, questions.consume(swarm.operator, question.key, digest, mismatch))
    assert (await swarm.kinds(question.task_id))[-1] == "approval_consumed"


async def test_an_edited_action_has_a_digest_of_its_own(swarm: Swarm) -> None:
    """It stays on its server; the digest that was asked about is not approved."""
    edited = {"name": "bash", "arguments": {"command": "make check"}}
    question = await decided(
        swarm, {"decision": "edit", "edited_action": edited}, allowed=("approve", "edit", "reject")
    )
    consume = swarm.engine.questions.consume
    await unchanged(swarm, ActionMismatch, consume(swarm.operator, question.key, question.action_digest or "", ONCE))
    changed = Json.of({**edited, "server": "local"})
    _, approval = await consume(swarm.operator, question.key, digest_of(changed), ONCE)
    assert (approval.decision, approval.action) == ("edit", changed)


@pytest.mark.parametrize(
    "answer",
    [
        "approve",
        {"decision": "edit", "edited_action": {"name": "x", "arguments": {}}},
        {"decision": "approve", "edited_action": {"name": "x", "arguments": {}}},
        {"decision": "approve", "more": 1},
        {"decision": "respond", "message": "hm"},
    ],
)
async def test_only_what_is_allowed_is_decided(swarm: Swarm, answer: Any) -> None:
    """By default approve and reject."""
    question = await asked(swarm)
    call = swarm.engine.questions.answer(swarm.senior, question.key, Json.of(answer))
    await unchanged(swarm, AnswerInvalid, call)


async def test_an_edit_needs_an_action_with_a_digest(swarm: Swarm) -> None:
    """None, and one whose numbers no double holds, leave the question open."""
    question = await asked(swarm, allowed=("approve", "edit"))
    for text in ("", ',"edited_action":{"name":"x","arguments":{"n":9007199254740993}}'):
        answer = Json(f'{{"decision":"edit"{text}}}')
        await unchanged(swarm, AnswerInvalid, swarm.engine.questions.answer(swarm.senior, question.key, answer))


async def test_what_nobody_approved_is_not_consumed(swarm: Swarm) -> None:
    """Open, rejected, without an action, and by a deadline alone."""
    default = Json.of({"decision": "reject"})
    late = await asked(swarm, on_deadline=OnDeadline.DEFAULT, deadline=swarm.clock() + 1000, default_answer=default)
    await swarm.pass_time(2)
    plain = await asked(swarm, action=None)
    own = await asked(swarm, answer_schema=Json.of({"type": "string"}))
    await swarm.engine.questions.answer(swarm.senior, own.key, Json.of("approve"))
    for question in (late, await asked(swarm), await decided(swarm, {"decision": "reject"}), plain, own):
        digest = question.action_digest or digest_of(ACTION)
        await unchanged(swarm, NotApproved, swarm.engine.questions.consume(swarm.operator, question.key, digest, ONCE))


async def test_silence_approves_nothing(swarm: Swarm) -> None:
    """A default that approves is refused when it is asked; so is what is said of no action."""
    deadline = swarm.clock() + 1000
    for answer in (APPROVE, {"decision": "edit", "edited_action": {"name": "x", "arguments": {}}}):
        parts = {"on_deadline": OnDeadline.DEFAULT, "deadline": deadline, "default_answer": Json.of(answer)}
        await unchanged(swarm, InvalidRequest, asked(swarm, **parts, allowed=("approve", "edit")))
    await unchanged(swarm, InvalidRequest, asked(swarm, action=None, allowed=("approve",)))
    await unchanged(swarm, InvalidRequest, asked(swarm, action=None, approval_ttl_ms=5))


async def test_an_approval_expires(swarm: Swarm) -> None:
    """After a day, or what the asker says; what was consumed in time is still told."""
    consume = swarm.engine.questions.consume
    for ttl, seconds in ((None, 86_400), (5_000, 5)):
        question, kept = await decided(swarm, approval_ttl_ms=ttl), await decided(swarm, approval_ttl_ms=ttl)
        await consume(swarm.operator, kept.key, kept.action_digest or "", ONCE)
        await swarm.pass_time(seconds + 1)
        await unchanged(
            swarm, ApprovalExpired, consume(swarm.operator, question.key, question.action_digest or "", ONCE)
        )
        await consume(swarm.operator, kept.key, kept.action_digest or "", ONCE)


async def test_an_outcome_follows_and_stands(swarm: Swarm) -> None:
    """Only after the approval is consumed; the same again changes nothing."""
    question = await decided(swarm)
    record = swarm.engine.questions.record_outcome
    await unchanged(swarm, NotConsumed, record(swarm.operator, question.key, "succeeded"))
    await swarm.engine.questions.consume(swarm.operator, question.key, question.action_digest or "", ONCE)
    await record(swarm.operator, question.key, "failed", "no disk")
    before = await swarm.dump()
    await record(swarm.operator, question.key, "failed", "no disk")
    assert await swarm.dump() == before
    await unchanged(swarm, OutcomeRecorded, record(swarm.operator, question.key, "succeeded"))
    assert (await swarm.kinds(question.task_id))[-1] == "approval_outcome"


async def test_only_the_askers_key_acts_on_it(swarm: Swarm) -> None:
    """Another key's sessions do not, the root key may; a worker acts on its own task's."""
    root, keys = await swarm.root_key(), swarm.engine.keys

    async def attach(key: str, role: Role) -> CapToken:
        made = await swarm.engine.sessions.attach_by_key(key, None, role, timedelta(hours=1), SessionOptions())
        return made.token

    _, mine = await keys.create(root, "mine", frozenset(Role), None)
    _, other = await keys.create(root, "other", frozenset(Role), None)
    question = await asked(swarm, bearer=await attach(mine, Role.OPERATOR))
    await swarm.engine.questions.answer(swarm.senior, question.key, Json.of(APPROVE))
    digest = question.action_digest or ""
    consume = swarm.engine.questions.consume
    stranger, again = await attach(other, Role.OPERATOR), await attach(mine, Role.OPERATOR)
    boss = await attach(root, Role.OPERATOR)
    await unchanged(swarm, RoleViolation, consume(stranger, question.key, digest, ONCE))
    await consume(again, question.key, digest, ONCE)
    await swarm.engine.questions.record_outcome(boss, question.key, "succeeded")

    work = await swarm.external()
    ask = Ask(question=Json.of("?"), action=ACTION)
    own = await swarm.engine.questions.ask(work.handle, ask)
    await swarm.engine.questions.answer(swarm.senior, own.key, Json.of(APPROVE))
    await consume(work.handle, own.key, digest, ONCE)


async def test_a_question_is_answered_by_its_doors_alone(swarm: Swarm) -> None:
    """`console` stands for the doors that the console uses."""
    link = await asked(swarm, doors=("link",))
    console = await asked(swarm, doors=("console",))
    DOOR.set(Door.REST)
    answer = swarm.engine.questions.answer
    await unchanged(swarm, DoorNotAllowed, answer(swarm.senior, link.key, Json.of(APPROVE)))
    await answer(swarm.senior, console.key, Json.of(APPROVE))


async def test_another_one_approved_is_not_this_one(swarm: Swarm) -> None:
    """The digest of another action finds nothing."""
    question = await decided(swarm)
    other = digest_of(Json.of({"name": "bash", "arguments": {}}))
    await refused(ActionMismatch, swarm.engine.questions.consume(swarm.operator, question.key, other, ONCE))
