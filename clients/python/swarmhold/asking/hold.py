"""Questions of a program, and its approvals: asked once, waited for, and consumed once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, TypeVar, Unpack

from swarmhold.digests import digest_of
from swarmhold.errors import AlreadyConsumed, ApiProblem, InvalidArgument
from swarmhold.models.enums import Decision as Verdict
from swarmhold.models.questions import Action, AnsweredThrough, Question
from swarmhold.models.shapes import JsonObject, JsonValue, given
from swarmhold.operator import Operator
from swarmhold.questions import QuestionOptions, answer_of
from swarmhold.worker import Worker

__all__ = ["AlreadyConsumed", "Decision", "Hold"]

R = TypeVar("R")
Asker = Operator | Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A senior's decision about an action. `action` is what to carry out; None when it is not to be carried out."""

    key: str
    decision: Verdict
    action: JsonObject | None
    edited_action: JsonObject | None = None
    message: str | None = None
    answered_by: str | None = None
    answered_through: AnsweredThrough | None = None

    @property
    def approved(self) -> bool:
        """Whether the action may be carried out, now and by this caller alone."""
        return self.action is not None

    @property
    def arguments(self) -> JsonObject:
        """The arguments to carry the action out with, as they were decided; none without approval."""
        return {} if self.action is None else self.action["arguments"]


class Hold:
    """Asks by one credential and waits for as long as it takes. Safe to use from many coroutines of one event loop.

    Cancelling a call is safe: the question stays open, and the next call with its `once` goes on with it.
    """

    def __init__(
        self,
        attach: Callable[[], Awaitable[Asker]],
        apart: Callable[[], AbstractAsyncContextManager[Hold]],
    ) -> None:
        """`apart` opens a hold of the same credential that shares nothing with this one, for another event loop."""
        self._attach = attach
        self._apart = apart
        self._asker: Asker | None = None

    async def ask(self, question: JsonValue, *, once: str, **options: Unpack[QuestionOptions]) -> JsonValue:
        """Ask a question and return its answer.

        Raises:
            Unanswered: it was withdrawn, or expired without a default.
            ApiProblem: `idempotency-mismatch` when this `once` came with other content before.
        """
        [found] = await self.wait([await self.begin(question, once=once, **options)])
        return answer_of(found)

    async def approve(
        self,
        name: str,
        arguments: JsonObject,
        *,
        once: str,
        question: JsonValue = None,
        **options: Unpack[QuestionOptions],
    ) -> Decision:
        """Ask for approval of an action and return the decision; an approval is consumed by then.

        Carry the action out with the decision's `arguments`, and report with `record_outcome` what came of it.

        Raises:
            AlreadyConsumed: an earlier call got this approval, and may have carried the action out.
            Unanswered: the question was withdrawn, or expired without a default.
            ApiProblem: `approval-expired`, or `idempotency-mismatch` as `ask` does.
        """
        options["action"] = Action(name=name, arguments=arguments)
        [found] = await self.wait([await self.begin(question, once=once, **options)])
        return await self.decide(found)

    async def begin(
        self,
        question: JsonValue = None,
        *,
        once: str,
        labels: Mapping[str, str] | None = None,
        **options: Unpack[QuestionOptions],
    ) -> Question:
        """Ask a question, or for approval of the `action` of the options, and return it without waiting.

        `labels` are those of the task that an operator's question gets; a worker asks about its own task.

        Raises:
            ApiProblem: `idempotency-mismatch` when this `once` came with other content before.
        """
        action = options.get("action")
        text = f"May I use {action.name}?" if question is None and action is not None else question

        async def asked(asker: Asker) -> Question:
            if isinstance(asker, Worker):
                return await asker.ask(text, idempotency_key=once, **options)
            return await asker.ask_alone(text, labels=labels, idempotency_key=once, **options)

        return await self._with(asked)

    async def wait(self, questions: Sequence[Question]) -> list[Question]:
        """Wait until every question is answered, withdrawn or expired, and return them. Nothing is consumed."""
        return [await self._closed(question) for question in questions]

    async def decide(self, question: Question) -> Decision:
        """Return the decision of a closed question about an action; an approval is consumed by then.

        Raises what `approve` raises.
        """
        decided: JsonObject = answer_of(question)
        verdict = Verdict(decided["decision"])
        action = await self._consumed(question, decided) if verdict in (Verdict.APPROVE, Verdict.EDIT) else None
        return Decision(
            key=question.key,
            decision=verdict,
            action=action,
            answered_by=question.answered_by,
            answered_through=question.answered_through,
            **given(edited_action=decided.get("edited_action"), message=decided.get("message")),
        )

    async def record_outcome(self, decision: Decision, *, succeeded: bool, note: str | None = None) -> None:
        """Report what came of an approved action. The first outcome stands."""
        await self._with(lambda asker: asker.record_outcome(decision.key, succeeded=succeeded, note=note))

    def ask_sync(self, question: JsonValue, *, once: str, **options: Unpack[QuestionOptions]) -> JsonValue:
        """Do what `ask` does, in a thread without an event loop. Raises InvalidArgument in one that has one."""
        return self._run(lambda hold: hold.ask(question, once=once, **options))

    def approve_sync(
        self,
        name: str,
        arguments: JsonObject,
        *,
        once: str,
        question: JsonValue = None,
        **options: Unpack[QuestionOptions],
    ) -> Decision:
        """Do what `approve` does, in a thread without an event loop. Raises InvalidArgument in one that has one."""
        return self._run(lambda hold: hold.approve(name, arguments, once=once, question=question, **options))

    async def _closed(self, question: Question) -> Question:
        if not question.is_open:
            return question
        return await self._with(lambda asker: asker.await_settled(question.key))

    async def _consumed(self, question: Question, decided: JsonObject) -> JsonObject:
        """Return the action of an approval that this very call has consumed."""
        digest, key = question.action_digest or "", token_hex(16)
        if decided["decision"] == Verdict.EDIT:
            digest = digest_of({**(question.action or {}), **decided["edited_action"]})
        try:
            done = await self._with(lambda asker: asker.consume(question.key, digest, idempotency_key=key))
        except ApiProblem as problem:
            raise (AlreadyConsumed(question.key) if problem.code == "already-consumed" else problem) from None
        return done.action

    async def _with(self, call: Callable[[Asker], Awaitable[R]]) -> R:
        """Return what a call gives, in a new session if the one before has ended."""
        asker = self._asker
        if asker is not None:
            try:
                return await call(asker)
            except ApiProblem as problem:
                if problem.status != 401 or isinstance(asker, Worker):
                    raise
        self._asker = asker = await self._attach()
        return await call(asker)

    def _run(self, call: Callable[[Hold], Coroutine[Any, Any, R]]) -> R:
        async def run() -> R:
            async with self._apart() as hold:
                return await call(hold)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(run())
        raise InvalidArgument("this thread runs an event loop: await the call without _sync")
