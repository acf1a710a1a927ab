"""Workers: the calls of one attempt, by its handle or a worker token."""

from __future__ import annotations

from typing import ClassVar, Unpack

from swarmhold.calls import read
from swarmhold.encoding import encode
from swarmhold.models.outputs import Artifact, Inline, Partial, Progress, WorkerOutput
from swarmhold.models.questions import Question
from swarmhold.models.shapes import JsonValue, given
from swarmhold.models.tasks import WorkerResultRequest
from swarmhold.models.usage import UsageReport
from swarmhold.models.workers import Heartbeat, WorkerPrompt
from swarmhold.questions import QuestionCalls, QuestionOptions
from swarmhold.tasks import TaskCalls
from swarmhold.transport import JSON_TYPE, Call


class Worker(TaskCalls, QuestionCalls):
    """One attempt's worker; `start_task`, `dispatch` and `cancel` are about its own children.

    Once the attempt is over, every call raises ApiProblem 409: `attempt-superseded` or `cancelled`.
    """

    _prefix: ClassVar[str] = "/v1/worker"

    async def prompt(self, *, task_id: str | None = None) -> WorkerPrompt:
        """Return what is to be done; with `task_id` the server checks that it is this worker's task."""
        return read(WorkerPrompt, await self._transport.get(f"{self._prefix}/prompt", params={"task_id": task_id}))

    async def submit(self, value: JsonValue, *, ok: bool = True, failed: bool = False) -> None:
        """End the attempt with a JSON value. A repetition is accepted, so the call is repeated until it succeeds.

        `failed` says that the program failed, and `value` how: such an attempt is retried by a `Retry` that covers
        `failed`, as every one does by default. `ok=False` alone is the worker's verdict.

        Raises:
            ApiProblem: `final-conflict` when another Final stands; 409 when the attempt is over. Such a late value is
                kept by the server and may be adopted.
        """
        await self._submit(encode(value), JSON_TYPE, ok=ok and not failed, failed=failed)

    async def submit_text(self, text: str, *, ok: bool = True) -> None:
        """End the attempt with a text, of which trailing white space is cut; otherwise like `submit`."""
        await self._submit(text.encode(), "text/plain; charset=utf-8", ok=ok)

    async def _submit(self, content: bytes, content_type: str, *, ok: bool, failed: bool = False) -> None:
        await self._transport.send(
            Call(
                method="POST",
                path=f"{self._prefix}/submit",
                params={"ok": "true" if ok else "false", **({"failed": "true"} if failed else {})},
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

    async def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: float | None = None,
        model: str | None = None,
    ) -> None:
        """Report tokens of a model and their cost, in addition to what was reported before.

        Call it after each call of a model, or once before the result: after the attempt's end it is refused as outputs
        are.
        """
        known = given(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost, model=model)
        await self.emit(UsageReport(**known))

    async def heartbeat(self) -> Heartbeat:
        """Renew the lease and return until when, and whether the worker should stop."""
        return read(Heartbeat, await self._transport.post(f"{self._prefix}/heartbeat", repeatable=True))

    async def ask(
        self,
        question: JsonValue,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[QuestionOptions],
    ) -> Question:
        """Put a question about the worker's own task to a senior; the task is suspended until it is answered."""
        return await self._ask(self._prefix, question, idempotency_key, options)
