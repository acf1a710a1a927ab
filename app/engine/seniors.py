"""The engine's calls about questions, and the loop's switch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from app.domain.access import Caller, Role, Verb
from app.domain.errors import PollTimeout, QuestionClosed, ResumeKeyNotFound
from app.domain.json import Json
from app.domain.questions import Ask, Question, QuestionStatus
from app.domain.tokens import Bearer, CapToken
from app.engine.core import Core
from app.engine.ops import loop, pages, questions
from app.engine.ops.access import Presented, admit, own, revocation_of
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.loop import LoopState
from app.engine.ops.pages import Page
from app.state.state import State
from app.state.tables import QUESTIONS

_EITHER = (Verb.QUERY_SENIOR, Verb.ANSWER_QUERY)


class SeniorCalls(Core):
    """Questions and the loop."""

    async def query_senior(self, bearer: Bearer, task_id: str, question: Any) -> str:
        """Ask, suspend the task, and return the question's key at once.

        Raises InvalidTransition, TaskNotFound, TokenTaskMismatch, and the conflicts of a spent credential.
        """
        json = question if isinstance(question, Json) else Json.of(question)
        return (await self.ask(bearer, Ask(question=json), task_id=task_id)).key

    async def ask(
        self, bearer: Bearer, ask: Ask, *, task_id: str | None = None, idempotency: Idempotency | None = None
    ) -> Question:
        """The same with everything that can be said of a question. None asks about the worker's own task."""

        def run(state: State, caller: Caller) -> Question:
            return once(
                state,
                scope_of(caller, "question"),
                idempotency,
                lambda: questions.ask(state, caller, task_id, ask),
                name=lambda made: made.key,
                again=lambda key: _found(state, key),
            )

        return await self._call("query_senior", bearer, Verb.QUERY_SENIOR, run)

    async def resume(self, key: str, answer: Any, *, by: str = "engine") -> None:
        """Answer a question, for code of this process. The first answer wins; the same again changes nothing.

        Raises ResumeKeyNotFound, AlreadyAnswered, QuestionClosed, AnswerInvalid (it stays open).
        """
        caller = Caller(role=Role.SENIOR, subject=by, via="trusted")
        value = answer if isinstance(answer, Json) else Json.of(answer)
        await self._do("resume", lambda s: questions.answer(s, self.layer_registry, caller, key, value))

    async def answer(self, token: CapToken, key: str, value: Json, *, connected_as: str | None = None) -> Question:
        """`resume` by a credential with `answer_query`; who answered is recorded. Raises RoleViolation as well.

        An operator answers what is addressed to an id of its session, or to the one that it is `connected_as`.
        """
        return await self._call(
            "resume",
            token,
            Verb.ANSWER_QUERY,
            lambda s, c: questions.answer(s, self.layer_registry, c, key, value, connected_as=connected_as),
        )

    async def await_resume(self, key: str, timeout: timedelta) -> Any:
        """The answer; at once when it is there, in any process. Zero checks once.

        Raises PollTimeout, ResumeKeyNotFound, QuestionClosed (withdrawn or expired). Cancelling is safe.
        """
        question, settled = await self._until_settled(key, self.check_hold(timeout))
        if not settled:
            raise PollTimeout(f"Question {key}", timeout.total_seconds())
        if question.status is not QuestionStatus.ANSWERED or question.answer is None:
            raise QuestionClosed(key, question.status.value)
        return question.answer.value

    async def watch_question(self, bearer: Bearer, key: str, hold: timedelta) -> tuple[Question, bool]:
        """The question at the end of the hold, or as soon as it is settled; and whether it is.

        A worker sees its own task's questions. Raises ResumeKeyNotFound, TokenTaskMismatch; TokenRevoked as soon as the
        credential is revoked.
        """
        seconds = self.check_hold(hold)
        presented = self._present(bearer, _EITHER)

        def run(state: State, caller: Caller) -> str | None:
            question = _found(state, key)
            own(state, caller, question.task_id, Verb.QUERY_SENIOR)
            return caller.jti

        jti = await self._look(bearer, _EITHER, run)
        return await self._until_settled(key, seconds, presented, jti)

    async def _until_settled(
        self, key: str, hold_s: float, presented: Presented | None = None, jti: str | None = None
    ) -> tuple[Question, bool]:
        def look(state: State) -> Question | None:
            if presented is not None:
                admit(state, presented, consume=False)
            question = _found(state, key)
            return question if question.status is not QuestionStatus.OPEN else None

        async def probe() -> Question | None:
            return await self._store.read(look)

        topics = (f"question:{key}",) if jti is None else (f"question:{key}", revocation_of(jti))
        settled = await self._wait(topics, probe, hold_s)
        if settled is not None:
            return settled, True
        return await self._store.read(lambda state: _found(state, key)), False

    async def list_questions(
        self,
        token: CapToken,
        *,
        status: QuestionStatus | None = None,
        bridge_id: str | None = None,
        task_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Question]:
        """The inbox, oldest first."""
        return await self._look(
            token,
            Verb.ANSWER_QUERY,
            lambda s, _: pages.questions(
                s, status=status, bridge_id=bridge_id, task_id=task_id, limit=limit, cursor=cursor
            ),
        )

    async def read_question(self, token: CapToken, key: str) -> Question:
        """One question. Raises ResumeKeyNotFound."""
        return await self._look(token, Verb.ANSWER_QUERY, lambda s, _: _found(s, key))

    async def open_questions_for(
        self, token: CapToken, bridge_id: str, *, after: str | None = None, limit: int = 200
    ) -> list[Question]:
        """Open questions addressed to the bridge or to no bridge in particular, behind key `after`, oldest first.

        For a connection that was authorized when it began: spends no use, but a revoked token reads nothing more.
        """

        def run(state: State) -> list[Question]:
            admit(state, presented, consume=False)
            return questions.ADDRESSED.all(state.db, bridge_id=bridge_id, after=after or "", limit=limit)

        presented = self._present(token, Verb.ANSWER_QUERY)
        return await self._store.read(run)

    async def count_open_questions_for(self, token: CapToken, bridge_id: str, *, addressed_only: bool = False) -> int:
        """How many `open_questions_for` would list in all; with `addressed_only` without those for any bridge."""

        def run(state: State) -> int:
            admit(state, presented, consume=False)
            return questions.count_open(state, bridge_id, addressed_only=addressed_only)

        presented = self._present(token, Verb.ANSWER_QUERY)
        return await self._store.read(run)

    async def mark_delivered(self, keys: Sequence[str], bridge_id: str) -> None:
        """Note that a bridge has shown these questions."""
        if keys:
            await self._do("mark_delivered", lambda s: questions.mark_delivered(s, list(keys), bridge_id))

    # The loop

    async def pause_loop(self, token: CapToken) -> LoopState:
        """No new attempt starts until it is resumed."""
        return await self._call("pause_loop", token, Verb.PAUSE_LOOP, lambda s, c: loop.switch(s, c, paused=True))

    async def resume_loop(self, token: CapToken) -> LoopState:
        """Attempts start again."""
        return await self._call("resume_loop", token, Verb.RESUME_LOOP, lambda s, c: loop.switch(s, c, paused=False))

    async def loop_state(self, token: CapToken) -> LoopState:
        """Whether it is paused, by whom, since when."""
        return await self._look(token, (Verb.PAUSE_LOOP, Verb.RESUME_LOOP), lambda s, _: loop.read(s))


def _found(state: State, key: str) -> Question:
    question = QUESTIONS.get(state.db, key)
    if question is None:
        raise ResumeKeyNotFound(key)
    return question
