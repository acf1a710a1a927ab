"""The door of hooks: an event comes in and a reply goes out, by the operations that every other caller has."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_hex

from starlette.requests import Request

from app.domain.access import Role
from app.domain.actions import Approval, approval_of
from app.domain.doors import Door
from app.domain.errors import EngineError, Unauthenticated
from app.domain.questions import Question, QuestionStatus
from app.domain.tokens import Bearer, Handle
from app.engine.ops.idempotency import Idempotency
from app.http import auth
from app.http.context import ServerContext
from app.http.errors import HttpError
from app.http.harness import replies
from app.http.harness.events import Asked, Harness, HookEvent, asked_by
from app.http.harness.replies import Said
from app.http.holds import Drained

_NOTHING = timedelta(0)


class HookDoor:
    """Answers the hook events of one kind of agent."""

    def __init__(self, context: ServerContext, harness: Harness) -> None:
        self._context = context
        self._questions = context.engine.questions
        self._harness = harness
        self.code = "ok"
        """The code of the error for which the latest event was denied."""

    async def reply(self, request: Request, event: HookEvent, hold: timedelta) -> Said:
        """Return what the hook says after `hold` at most. Whatever is refused denies, with the reason.

        Raises InvalidBody for an event that asks nothing.
        """
        asked = asked_by(self._harness, event)
        try:
            bearer = await self._bearer(auth.credential_text(request.scope))
            question = await self._ask(bearer, asked)
            if question.status is QuestionStatus.OPEN and hold:
                question = await self._held(request, bearer, question, hold)
            return await self._settled(bearer, event, asked, question)
        except (EngineError, HttpError) as error:
            failed = isinstance(error, EngineError)
            self.code = error.code
            problem = await self._context.auth_failures.problem(request.scope, error) if failed else None
            return replies.deny(event, str(error) if problem is None else problem.detail)

    async def _bearer(self, text: str) -> Bearer:
        """Return the token of the key's session for hooks; a handle as it is."""
        if auth.is_handle(text):
            return auth.bearer_of(text)
        if not auth.is_key(text):
            raise Unauthenticated("no API key or handle where one is needed")
        key = await self._context.engine.keys.find(text)
        return await self._context.key_sessions.token(Door.HOOK, key, text, Role.OPERATOR)

    async def _ask(self, bearer: Bearer, asked: Asked) -> Question:
        if isinstance(bearer, Handle):
            return await self._questions.ask(bearer, asked.ask, idempotency=asked.once)
        return await self._questions.ask_alone(bearer, asked.ask, labels=asked.labels, idempotency=asked.once)

    async def _held(self, request: Request, bearer: Bearer, question: Question, hold: timedelta) -> Question:
        context = self._context
        try:
            with context.holds.polls.take(bearer.text):
                watching = self._questions.watch(bearer, question.key, hold)
                found, _ = await context.holds.park(request.receive, watching, request.scope)
        except Drained:
            found, _ = await self._questions.watch(bearer, question.key, _NOTHING)
        return found

    async def _settled(self, bearer: Bearer, event: HookEvent, asked: Asked, question: Question) -> Said:
        if question.status is QuestionStatus.OPEN:
            return replies.still_open(event, question.key)
        if asked.questions and question.status is QuestionStatus.ANSWERED:
            return replies.replied(event, asked, question)
        approval = _approval(question)
        if approval is None:
            return replies.refused(event, question)
        if approval.action.value["name"] != event.tool_name:
            return replies.deny(event, "The answer names another tool, which a hook cannot run. Ask for that tool.")
        # A fresh key each time: a repeated event finds the question, never a fresh permission.
        once = Idempotency(f"hook:{token_hex(16)}", approval.digest)
        _, approval = await self._questions.consume(bearer, question.key, approval.digest, once)
        return replies.approved(event, approval)


def _approval(question: Question) -> Approval | None:
    if question.action is None or question.action_digest is None or question.answer is None:
        return None
    return approval_of(question.action, question.action_digest, question.answer)
