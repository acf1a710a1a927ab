"""Seniors: they answer questions, overrule verdicts, direct tasks and pause dispatching."""

from __future__ import annotations

from swarmhold.calls import read
from swarmhold.console import Console
from swarmhold.models.enums import QuestionStatus
from swarmhold.models.questions import AnswerRequest, Question
from swarmhold.models.server import LoopState
from swarmhold.models.shapes import JsonValue, Page
from swarmhold.models.tasks import DirectiveRequest, OverrideRequest, Task
from swarmhold.sessions import SessionCalls
from swarmhold.traces import TraceCalls
from swarmhold.transport import segment

_SENIOR = "/v1/senior"


class Senior(SessionCalls, TraceCalls):
    """A senior's session, from `attach_senior` of the client or, with a kept token, from its `senior`."""

    def console(self, bridge_id: str) -> Console:
        """Return a console, to be connected under `bridge_id`."""
        return Console(self._transport, bridge_id)

    async def questions(
        self,
        *,
        status: QuestionStatus | None = None,
        bridge_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Question]:
        """Return one page of questions. Long ones are previews: `cut` names what `question` returns whole."""
        return read(
            Page[Question],
            await self._transport.get(
                f"{_SENIOR}/questions",
                params={"status": status, "bridge_id": bridge_id, "limit": limit, "cursor": cursor},
            ),
        )

    async def open_questions(self, *, bridge_id: str | None = None) -> list[Question]:
        """Return all questions that wait for an answer."""
        params = {"status": QuestionStatus.OPEN, "bridge_id": bridge_id}
        found = await self._all(f"{_SENIOR}/questions", Page[Question], params)
        return [await self.question(one.key) if one.cut else one for one in found]

    async def question(self, key: str) -> Question:
        """Return one question."""
        return read(Question, await self._transport.get(f"{_SENIOR}/questions/{segment(key)}"))

    async def answer(self, key: str, value: JsonValue) -> Question:
        """Answer a question. The first answer wins; a repetition is accepted, so the call is repeated as needed.

        Raises:
            ApiProblem: `already-answered`, `question-closed`, `answer-invalid` (the question is still open).
        """
        path = f"{_SENIOR}/questions/{segment(key)}/answer"
        return read(Question, await self._transport.post(path, AnswerRequest(value=value), repeatable=True))

    async def override_verdict(self, task_id: str, *, ok: bool, value: JsonValue) -> Task:
        """Make the task pass or blocked, whatever its worker or an operator said."""
        path = f"{_SENIOR}/tasks/{segment(task_id)}/verdict"
        return read(Task, await self._transport.post(path, OverrideRequest(ok=ok, value=value)))

    async def inject_directive(self, task_id: str, prompt: str) -> None:
        """Set the prompt of the task's next attempt."""
        path = f"{_SENIOR}/tasks/{segment(task_id)}/directive"
        await self._transport.post(path, DirectiveRequest(prompt=prompt), repeatable=True)

    async def pause_loop(self) -> LoopState:
        """Pause dispatching: no new attempt starts until `resume_loop`."""
        await self._transport.post(f"{_SENIOR}/loop/pause", repeatable=True)
        return await self.loop()

    async def resume_loop(self) -> LoopState:
        """Resume dispatching."""
        await self._transport.post(f"{_SENIOR}/loop/resume", repeatable=True)
        return await self.loop()

    async def loop(self) -> LoopState:
        """Return whether dispatching is paused, by whom and since when."""
        return read(LoopState, await self._transport.get(f"{_SENIOR}/loop"))
