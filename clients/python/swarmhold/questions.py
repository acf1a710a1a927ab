"""Asking seniors and waiting for their answers, by operators and by workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from swarmhold.callers import Caller
from swarmhold.errors import Unanswered
from swarmhold.models.enums import OnDeadline, QuestionStatus
from swarmhold.models.questions import Question, QuestionRequest
from swarmhold.models.shapes import JsonObject, JsonValue, given
from swarmhold.transport import part
from swarmhold.waits import DEFAULT_HOLD, Pace


def compose_question(
    question: JsonValue,
    *,
    answer_schema: JsonObject | None = None,
    choices: Sequence[JsonValue] | None = None,
    bridge_id: str | None = None,
    deadline: datetime | None = None,
    on_deadline: OnDeadline = OnDeadline.KEEP_WAITING,
    default: Sequence[JsonValue] = (),
    escalate_to: str | None = None,
) -> QuestionRequest:
    """A question's body. `default` is a sequence of none or one answer, because null is an answer, too.

    Raises:
        ValueError: the parts do not fit together, such as a policy without a deadline.
    """
    body = given(
        answer_schema=answer_schema,
        choices=None if choices is None else list(choices),
        bridge_id=bridge_id,
        deadline=deadline,
        escalate_to=escalate_to,
    )
    if default:
        (body["default"],) = default
    return QuestionRequest(question=question, on_deadline=on_deadline, **body)


def answer_of(question: Question) -> JsonValue:
    """The answer that counts: a senior's, or the default after the deadline.

    Raises:
        Unanswered: there is none.
    """
    defaulted = question.status is QuestionStatus.EXPIRED and question.on_deadline is OnDeadline.DEFAULT
    if question.status is QuestionStatus.ANSWERED or (defaulted and question.has("answer")):
        return question.answer
    raise Unanswered(question)


class QuestionCalls(Caller):
    """Following questions by their key."""

    async def question(self, key: str, *, hold: timedelta = timedelta(0)) -> Question:
        """The question once it is settled; at the end of `hold`, as it stands. Cancelling is safe."""
        path = f"{self._prefix}/questions/{part(key)}"
        reply = await self._transport.get(path, params={"hold": hold.total_seconds()}, hold=hold)
        return Question.model_validate_json(reply.content)

    async def await_answer(
        self, key: str, *, deadline: timedelta | None = None, hold: timedelta = DEFAULT_HOLD
    ) -> JsonValue:
        """The answer, however long it takes; it may be asked for again, from any process, at any time.

        Cancelling is safe: the question stays open and the answer will be there.

        Raises:
            Unanswered: the question was withdrawn, or expired without a default.
            TimeoutError: `deadline` passed first.
        """
        async with asyncio.timeout(None if deadline is None else deadline.total_seconds()):
            pace = Pace(self._transport, hold)
            while True:
                question = await self.question(key, hold=hold)
                if not question.is_open:
                    return answer_of(question)
                await pace.keep(news=False)
