"""Operators: they start work and judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack

from swarmhold.calls import read
from swarmhold.models.questions import LoneQuestionRequest, Question, WithdrawRequest
from swarmhold.models.shapes import JsonValue, given
from swarmhold.models.tasks import (
    CancelTasksRequest,
    PostResultRequest,
    RetryTasksRequest,
    SkippedTask,
    Task,
    TasksChanged,
    TaskSelection,
    VerdictRequest,
)
from swarmhold.questions import QuestionCalls, QuestionOptions, compose_question
from swarmhold.sessions import SessionCalls
from swarmhold.tasks import TaskCalls
from swarmhold.traces import TraceCalls
from swarmhold.transport import segment

if TYPE_CHECKING:
    from swarmhold.backend import Backend
    from swarmhold.models.admin import MintableRole, MintedToken, TokenVerdict
    from swarmhold.models.enums import Verb
    from swarmhold.requests import BackendHandlers


class Operator(SessionCalls, TaskCalls, TraceCalls, QuestionCalls):
    """An operator's session, from `attach_operator` of the client or, with a kept token, from its `operator`."""

    def backend(self, backend_id: str, handlers: BackendHandlers) -> Backend:
        """Return an operator backend, to be connected under `backend_id`."""
        from swarmhold.backend import Backend  # a WebSocket client, which most operators do without

        return Backend(self._transport, backend_id, handlers)

    async def ask(
        self,
        task_id: str,
        question: JsonValue,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[QuestionOptions],
    ) -> Question:
        """Put a question about the task to a senior and suspend the task; `await_answer(key)` gets the answer."""
        return await self._ask(f"{self._prefix}/tasks/{segment(task_id)}", question, idempotency_key, options)

    async def ask_alone(
        self,
        question: JsonValue,
        *,
        agent: str | None = None,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[QuestionOptions],
    ) -> Question:
        """Ask a senior about something without a task; one is made for it, whose result the answer is.

        A repeated idempotency key finds the same question for as long as the task is kept.
        """
        more = given(agent=agent, labels=None if labels is None else dict(labels))
        body = LoneQuestionRequest(**compose_question(question, **options).model_dump(exclude_unset=True), **more)
        return read(Question, await self._transport.create(f"{self._prefix}/questions", body, key=idempotency_key))

    async def withdraw(self, key: str, *, reason: str | None = None) -> Question:
        """Withdraw a question; a task that was made for it is cancelled. Again it is the same.

        Raises:
            ApiProblem: it is answered, or its deadline has passed.
        """
        path = f"{self._prefix}/questions/{segment(key)}/withdraw"
        body = WithdrawRequest(**given(reason=reason))
        return read(Question, await self._transport.post(path, body, repeatable=True))

    async def post_result(self, task_id: str, value: JsonValue) -> None:
        """Record an interim result; the status stays."""
        path = f"{self._prefix}/tasks/{segment(task_id)}/result"
        await self._transport.post(path, PostResultRequest(value=value), repeatable=True)

    async def mark(self, task_id: str, *, ok: bool, value: Sequence[JsonValue] = ()) -> Task:
        """Mark the task pass or blocked, ending a live attempt; `value` is none or one new result."""
        body = VerdictRequest(ok=ok, value=value[0]) if value else VerdictRequest(ok=ok)
        return read(Task, await self._transport.post(f"{self._prefix}/tasks/{segment(task_id)}/verdict", body))

    async def cancel_tasks(
        self, selection: TaskSelection, *, reason: str | None = None, dry_run: bool = False
    ) -> TasksChanged:
        """Cancel the tasks of a selection and what is below them, call by call; with `dry_run` count them alone.

        Tasks that passed or are cancelled already are left.
        """
        body = CancelTasksRequest(filter=selection, dry_run=dry_run, **given(reason=reason))
        return await self._change_tasks("cancel", body)

    async def retry_tasks(self, selection: TaskSelection, *, dry_run: bool = False) -> TasksChanged:
        """Dispatch the blocked tasks of a selection again, each as its last attempt was; see `cancel_tasks`.

        A task that cannot be dispatched again is left; `reasons` says why, of the first of them.
        """
        return await self._change_tasks("retry", RetryTasksRequest(filter=selection, dry_run=dry_run))

    async def _change_tasks(self, what: str, body: CancelTasksRequest | RetryTasksRequest) -> TasksChanged:
        count, skipped, reasons = 0, 0, list[SkippedTask]()
        while True:
            # A repeat finds what the first call left.
            path = f"{self._prefix}/tasks/{what}"
            done = read(TasksChanged, await self._transport.post(path, body, repeatable=True))
            count, skipped, reasons = count + done.count, skipped + done.skipped, reasons + done.reasons
            if done.next_cursor is None:
                return TasksChanged(count=count, skipped=skipped, reasons=reasons)
            body = body.model_copy(update={"cursor": done.next_cursor})

    async def adopt_late_result(self, task_id: str, attempt: int, index: int) -> Task:
        """Make a late result the task's own."""
        path = f"{self._prefix}/tasks/{segment(task_id)}/attempts/{attempt}/late/{index}/adopt"
        return read(Task, await self._transport.post(path))

    async def set_resource(self, key: str, value: JsonValue) -> None:
        """Store a named value for workers to read."""
        await self._transport.put(f"{self._prefix}/resources/{segment(key)}", value)

    async def mint_token(
        self,
        agent_id: str,
        *,
        role: MintableRole,
        ttl: timedelta,
        max_uses: int | None = None,
        scopes: Sequence[Verb] | None = None,
        task_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> MintedToken:
        """Mint a token for a worker or an observer; it is valid no longer than this session's own token."""
        from swarmhold.models.admin import MintedToken, MintRequest

        body = MintRequest(
            agent_id=agent_id,
            role=role,
            ttl=ttl.total_seconds(),
            **given(max_uses=max_uses, scopes=None if scopes is None else tuple(scopes), task_id=task_id),
        )
        return read(MintedToken, await self._transport.create(f"{self._prefix}/tokens", body, key=idempotency_key))

    async def verify_token(self, token: str, verb: Verb, *, task_id: str | None = None) -> TokenVerdict:
        """Return whether `token` may do `verb`. It consumes one of its uses, so the call is never repeated in doubt."""
        from swarmhold.models.admin import TokenVerdict, VerifyRequest

        body = VerifyRequest(token=token, verb=verb, **given(task_id=task_id))
        return read(TokenVerdict, await self._transport.post(f"{self._prefix}/tokens/verify", body))

    async def revoke_token(self, jti: str) -> None:
        """Revoke a token and every token that descends from it."""
        await self._transport.delete(f"{self._prefix}/tokens/{segment(jti)}")
