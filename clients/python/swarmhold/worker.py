"""Workers: the calls of one attempt, by its handle or a worker token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from swarmhold.calls import read
from swarmhold.encoding import encode
from swarmhold.models.enums import OnDeadline
from swarmhold.models.outputs import Artifact, Inline, Partial, Progress, WorkerOutput
from swarmhold.models.questions import Question
from swarmhold.models.server import Resource
from swarmhold.models.shapes import JsonObject, JsonValue, given
from swarmhold.models.tasks import WorkerResultRequest
from swarmhold.models.workers import Heartbeat, WorkerPrompt
from swarmhold.questions import QuestionCalls, compose_question
from swarmhold.tasks import TaskCalls
from swarmhold.transport import JSON_TYPE, Call, segment


class Worker(TaskCalls, QuestionCalls):
    """One attempt's worker; `start_task`, `dispatch` and `cancel` are about its own children.

    Once the attempt is over, every call raises ApiProblem 409: `attempt-superseded` or `cancelled`.
    """

    _prefix: ClassVar[str] = "/v1/worker"

    async def prompt(self, *, task_id: str | None = None) -> WorkerPrompt:
        """Return what is to be done; with `task_id` the server checks that it is this worker's task."""
        return read(WorkerPrompt, await self._transport.get(f"{self._prefix}/prompt", params={"task_id": task_id}))

    async def submit(self, value: JsonValue, *, ok: bool = True) -> None:
        """End the attempt with a JSON value. A repetition is accepted, so the call is repeated until it succeeds.

        Raises:
            ApiProblem: `final-conflict` when another Final stands; 409 when the attempt is over. Such a late value is
                kept by the server and may be adopted.
        """
        await self._submit(encode(value), JSON_TYPE, ok=ok)

    async def submit_text(self, text: str, *, ok: bool = True) -> None:
        """End the attempt with a text, of which trailing white space is cut; otherwise like `submit`."""
        await self._submit(text.encode(), "text/plain; charset=utf-8", ok=ok)

    async def _submit(self, content: bytes, content_type: str, *, ok: bool) -> None:
        await self._transport.send(
            Call(
                method="POST",
                path=f"{self._prefix}/submit",
                params={"ok": "true" if ok else "false"},
                content=content,
                content_type=content_type,
                repeatable=True,
            )
        )

    async def post_result(self, task_id: str, value: JsonValue, *, ok: bool = True, attempt: int | None = None) -> None:
        """End the attempt while the server checks that task and attempt are this worker's; otherwise like `submit`."""
        body = WorkerResultRequest(task_id=task_id, value=value, ok=ok, **given(attempt=attempt))
        await self._transport.post(f"{self._prefix}/result", body, repeatable=True)

    async def emit(self, output: WorkerOutput) -> None:
        """Append an output. It is recorded once, however often it has to be sent."""
        await self._transport.create(f"{self._prefix}/output", output)

    async def progress(self, stage: str, note: str | None = None) -> None:
        """Append an output that says how far the work has come."""
        await self.emit(Progress(stage=stage, **given(note=note)))

    async def partial(self, chunk: JsonValue) -> None:
        """Append a piece of the result."""
        await self.emit(Partial(chunk=chunk))

    async def artifact(self, name: str, value: JsonValue) -> None:
        """Append a named by-product."""
        await self.emit(Artifact(name=name, content=Inline(value=value)))

    async def heartbeat(self) -> Heartbeat:
        """Renew the lease and return until when, and whether the worker should stop."""
        return read(Heartbeat, await self._transport.post(f"{self._prefix}/heartbeat", repeatable=True))

    async def ask(
        self,
        question: JsonValue,
        *,
        answer_schema: JsonObject | None = None,
        choices: Sequence[JsonValue] | None = None,
        bridge_id: str | None = None,
        deadline: datetime | None = None,
        on_deadline: OnDeadline = OnDeadline.KEEP_WAITING,
        default: Sequence[JsonValue] = (),
        escalate_to: str | None = None,
        idempotency_key: str | None = None,
    ) -> Question:
        """Put a question about the worker's own task to a senior; the task is suspended until the question is answered.

        `default` is a sequence of no or one answer, because null is an answer, too.
        """
        body = compose_question(
            question,
            answer_schema=answer_schema,
            choices=choices,
            bridge_id=bridge_id,
            deadline=deadline,
            on_deadline=on_deadline,
            default=default,
            escalate_to=escalate_to,
        )
        return read(Question, await self._transport.create(f"{self._prefix}/questions", body, key=idempotency_key))

    async def resource(self, key: str) -> Resource:
        """Return a named value that an operator stored."""
        return read(Resource, await self._transport.get(f"{self._prefix}/resources/{segment(key)}"))
