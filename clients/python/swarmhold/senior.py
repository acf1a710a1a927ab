"""Seniors: the inbox, verdicts, directives, and the loop's pause."""

from __future__ import annotations

from swarmhold.console import Console
from swarmhold.listings import every_item
from swarmhold.models.enums import QuestionStatus
from swarmhold.models.loops import LoopState
from swarmhold.models.pages import Page
from swarmhold.models.questions import AnswerRequest, Question
from swarmhold.models.shapes import JsonValue
from swarmhold.models.tasks import DirectiveRequest, OverrideRequest, Task
from swarmhold.sessions import SessionCalls
from swarmhold.traces import TraceCalls
from swarmhold.transport import part

_SENIOR = "/v1/senior"


class Senior(SessionCalls, TraceCalls):
    """A senior's session, new from `SwarmholdClient.attach_senior` or, with a kept token, `.senior`."""

    def console(self, bridge_id: str) -> Console:
        """A live console under `bridge_id`."""
        return Console(self._transport, bridge_id)

    async def questions(
        self,
        *,
        status: QuestionStatus | None = None,
        bridge_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Question]:
        """One page of the inbox."""
        reply = await self._transport.get(
            f"{_SENIOR}/questions",
            params={"status": status, "bridge_id": bridge_id, "limit": limit, "cursor": cursor},
        )
        return Page[Question].model_validate_json(reply.content)

    async def open_questions(self, *, bridge_id: str | None = None) -> list[Question]:
        """All questions that wait for an answer."""
        params = {"status": QuestionStatus.OPEN, "bridge_id": bridge_id}
        return await every_item(self._transport, f"{_SENIOR}/questions", Page[Question], params=params)

    async def question(self, key: str) -> Question:
        """One question."""
        reply = await self._transport.get(f"{_SENIOR}/questions/{part(key)}")
        return Question.model_validate_json(reply.content)

    async def answer(self, key: str, value: JsonValue) -> Question:
        """Answer a question. The first answer wins; the same again is accepted, so it is repeated until it got through.

        Raises:
            ApiProblem: `already-answered`, `question-closed`, `answer-invalid` (the question is still open).
        """
        path = f"{_SENIOR}/questions/{part(key)}/answer"
        reply = await self._transport.post(path, AnswerRequest(value=value), repeatable=True)
        return Question.model_validate_json(reply.content)

    async def override_verdict(self, task_id: str, *, ok: bool, value: JsonValue) -> Task:
        """Make the task pass or blocked, whatever its worker or an operator said."""
        path = f"{_SENIOR}/tasks/{part(task_id)}/verdict"
        reply = await self._transport.post(path, OverrideRequest(ok=ok, value=value))
        return Task.model_validate_json(reply.content)

    async def inject_directive(self, task_id: str, prompt: str) -> None:
        """Set the prompt of the task's next attempt."""
        path = f"{_SENIOR}/tasks/{part(task_id)}/directive"
        await self._transport.post(path, DirectiveRequest(prompt=prompt), repeatable=True)

    async def pause_loop(self) -> LoopState:
        """No new attempt starts until `resume_loop`."""
        await self._transport.post(f"{_SENIOR}/loop/pause", repeatable=True)
        return await self.loop()

    async def resume_loop(self) -> LoopState:
        """Let new attempts start again."""
        await self._transport.post(f"{_SENIOR}/loop/resume", repeatable=True)
        return await self.loop()

    async def loop(self) -> LoopState:
        """Whether the loop is paused, by whom and since when."""
        reply = await self._transport.get(f"{_SENIOR}/loop")
        return LoopState.model_validate_json(reply.content)
