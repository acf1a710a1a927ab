"""Asking seniors and waiting for their answers, by operators and by workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, Unpack

from swarmhold.calls import Calls, read
from swarmhold.errors import InvalidArgument, Unanswered, within
from swarmhold.models.enums import Decision, OnDeadline, QuestionStatus
from swarmhold.models.questions import (
    Action,
    ConsumeRequest,
    Consumption,
    OutcomeRequest,
    Question,
    QuestionRequest,
)
from swarmhold.models.shapes import JsonObject, JsonValue, given
from swarmhold.transport import segment
from swarmhold.waits import DEFAULT_HOLD, Pace


class QuestionOptions(TypedDict, total=False):
    """The options of a question.

    `default` is a sequence of no or one answer, because null is an answer, too. A choice is a value, or
    `{"value", "label", "description", "danger"}` with the value that is answered and words beside it.
    """

    title: str | None
    answer_schema: JsonObject | None
    choices: Sequence[JsonValue] | None
    comment: bool
    bridge_id: str | None
    deadline: datetime | None
    on_deadline: OnDeadline
    default: Sequence[JsonValue]
    escalate_to: str | None
    action: Action | None
    allowed: Sequence[Decision] | None
    approval_ttl: timedelta | None
    doors: Sequence[str] | None
    require: Literal["signed_in"] | None


def compose_question(question: JsonValue, **options: Unpack[QuestionOptions]) -> QuestionRequest:
    """Return a question's body.

    Raises:
        InvalidArgument: the parts do not fit together, such as a policy without a deadline.
    """
    body: dict[str, Any] = given(**options)
    default = body.pop("default", ())
    if len(default) > 1:
        raise InvalidArgument("give one default answer, as in default=[answer], or none")
    if default:
        body["default"] = default[0]
    if "choices" in body:
        body["choices"] = list(body["choices"])
    for name in ("allowed", "doors"):
        if name in body:
            body[name] = tuple(body[name])
    if "approval_ttl" in body:
        body["approval_ttl"] = body["approval_ttl"].total_seconds()
    return QuestionRequest(question=question, **body)


def answer_of(question: Question) -> JsonValue:
    """Return the answer that counts: a senior's, or the default after the deadline.

    Raises:
        Unanswered: there is none.
    """
    defaulted = question.status is QuestionStatus.EXPIRED and question.on_deadline is OnDeadline.DEFAULT
    if question.status is QuestionStatus.ANSWERED or (defaulted and question.has("answer")):
        return question.answer
    raise Unanswered(question)


class QuestionCalls(Calls):
    """Calls that ask questions, and follow them by their key."""

    async def _ask(
        self, path: str, question: JsonValue, idempotency_key: str | None, options: QuestionOptions
    ) -> Question:
        body = compose_question(question, **options)
        return read(Question, await self._transport.create(f"{path}/questions", body, key=idempotency_key))

    async def question(self, key: str, *, hold: timedelta = timedelta(0)) -> Question:
        """Return the question once it is closed, or as it is at the end of `hold`. Cancelling is safe."""
        path = f"{self._prefix}/questions/{segment(key)}"
        return read(Question, await self._transport.get(path, params={"hold": hold.total_seconds()}, hold=hold))

    async def consume(self, key: str, action_digest: str, *, idempotency_key: str) -> Consumption:
        """Consume the approval of an action, before it is carried out. It is given once: to one idempotency key.

        Raises:
            ApiProblem: `not-approved`, `action-mismatch`, `approval-expired` or `already-consumed`; do not act.
        """
        path = f"{self._prefix}/questions/{segment(key)}/consume"
        body = ConsumeRequest(action_digest=action_digest)
        return read(Consumption, await self._transport.create(path, body, key=idempotency_key))

    async def record_outcome(self, key: str, *, succeeded: bool, note: str | None = None) -> Question:
        """Record what came of an action whose approval was consumed. The first outcome stands."""
        path = f"{self._prefix}/questions/{segment(key)}/outcome"
        body = OutcomeRequest(status="succeeded" if succeeded else "failed", **given(note=note))
        return read(Question, await self._transport.post(path, body, repeatable=True))

    async def await_answer(
        self, key: str, *, deadline: timedelta | None = None, hold: timedelta = DEFAULT_HOLD
    ) -> JsonValue:
        """Wait for the answer and return it; any process may wait for it, at any time and again.

        Cancelling is safe: the question stays open and the answer will be there.

        Raises:
            Unanswered: the question was withdrawn, or expired without a default.
            DeadlineExceeded: `deadline` passed first.
        """
        async with within(deadline):
            return answer_of(await self.await_settled(key, hold=hold))

    async def await_settled(self, key: str, *, hold: timedelta = DEFAULT_HOLD) -> Question:
        """Wait until the question is answered, withdrawn or expired, and return it. Cancelling is safe."""
        pace = Pace(self._transport, hold)
        while True:
            question = await self.question(key, hold=hold)
            if not question.is_open:
                return question
            await pace.keep(news=False)
