"""The engine's calls about tasks and their attempts: start, read, wait, judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from app.domain.access import Caller, Role, Verb
from app.domain.attempts import Attempt
from app.domain.errors import PollTimeout, TaskNotFound
from app.domain.json import Json
from app.domain.outputs import LateResult, Output
from app.domain.tasks import AWAITED, Status, Task, TaskSpec, TaskState
from app.domain.tokens import Bearer, CapToken
from app.engine.core import Core
from app.engine.ops import attempts, outputs, pages, reports, tasks, verdicts
from app.engine.ops.access import admit, own, revocation_of
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.pages import Page, TaskFilter
from app.state.state import State
from app.state.tables import ATTEMPTS, TASKS

_TRACE = (Verb.READ_TRACE, Verb.READ_TASK_STATE)


class TaskCalls(Core):
    """Tasks."""

    async def start_task(self, token: CapToken, spec: TaskSpec) -> str:
        """Create a pending task; its id. A worker's is a child of its own task.

        Raises SpawnDepthExceeded, InvalidRequest.
        """
        return (await self.create_task(token, spec)).task.id

    async def create_task(self, bearer: Bearer, spec: TaskSpec, *, idempotency: Idempotency | None = None) -> TaskState:
        """`start_task`, returning the task; the same idempotency key gives the same task again."""

        def run(state: State, caller: Caller) -> TaskState:
            return once(
                state,
                scope_of(caller, "task"),
                idempotency,
                lambda: TaskState(tasks.start(state, self._cfg, caller, spec), ()),
                name=lambda made: made.task.id,
                again=lambda task_id: _found(state, task_id),
            )

        return await self._call("start_task", bearer, Verb.START_TASK, run)

    async def read_task_state(self, bearer: Bearer, task_id: str) -> TaskState:
        """The task. Workers: their own and what was spawned under it. Raises TaskNotFound, TokenTaskMismatch."""
        return await self._look(bearer, Verb.READ_TASK_STATE, lambda s, c: _owned(s, c, task_id, Verb.READ_TASK_STATE))

    async def list_tasks(
        self,
        token: CapToken,
        *,
        status: Status | None = None,
        agent: str | None = None,
        label: tuple[str, str] | None = None,
        parent: str | None = None,
        session: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[TaskState]:
        """Tasks, newest first; a worker sees its own children."""
        wanted = TaskFilter(status=status, agent=agent, label=label, parent=parent, session=session)

        def run(state: State, caller: Caller) -> Page[TaskState]:
            if caller.role is not Role.WORKER:
                return pages.tasks(state, wanted, limit=limit, cursor=cursor)
            below = parent or caller.task_id or ""
            own(state, caller, below, Verb.READ_TASK_STATE)
            return pages.tasks(state, replace(wanted, parent=below), limit=limit, cursor=cursor)

        return await self._look(token, Verb.READ_TASK_STATE, run)

    async def why(self, bearer: Bearer, task_id: str) -> dict[str, Any]:
        """What the task waits for: a sentence and the chain. Raises TaskNotFound."""

        def run(state: State, caller: Caller) -> dict[str, Any]:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            task, summary, chain = reports.why(state, task_id)
            return {"task_id": task.id, "status": task.status.value, "summary": summary, "chain": chain}

        return await self._look(bearer, Verb.READ_TASK_STATE, run)

    # Waiting

    async def poll_task(
        self, bearer: Bearer, task_id: str, hold: timedelta | None = None, *, since: int | None = None
    ) -> TaskState:
        """Wait until the task is settled or suspended (or newer than version `since`).

        None holds for the configured default; zero is a snapshot, whatever the status. Raises PollTimeout when the
        hold ends, TaskNotFound.
        """
        hold = timedelta(milliseconds=self._cfg.default_hold_ms) if hold is None else hold
        state, done = await self.watch_task(bearer, task_id, hold, since=since)
        if not done and hold > timedelta(0):
            raise PollTimeout(f"Task {task_id}", hold.total_seconds())
        return state

    async def watch_task(
        self, bearer: Bearer, task_id: str, hold: timedelta, *, since: int | None = None
    ) -> tuple[TaskState, bool]:
        """The same as a value: the task as it is at the end, and whether the wait was fulfilled.

        Raises TokenRevoked as soon as the credential is revoked.
        """
        seconds = self.check_hold(hold)
        presented = self._present(bearer, Verb.POLL_TASK)
        first, jti = await self._look(
            bearer, Verb.POLL_TASK, lambda s, c: (_owned(s, c, task_id, Verb.POLL_TASK), c.jti)
        )
        if seconds == 0 or _is_news(first.task, since):
            return first, _is_news(first.task, since)

        def look(state: State) -> TaskState | None:
            # A credential that was revoked meanwhile learns nothing more.
            admit(state, presented, consume=False)
            task = TASKS.get(state.db, task_id)
            return None if task is not None and not _is_news(task, since) else _found(state, task_id)

        async def probe() -> TaskState | None:
            return await self._store.read(look)

        found = await self._wait((f"task:{task_id}", revocation_of(jti)), probe, seconds)
        if found is not None:
            return found, True
        return await self._store.read(lambda state: _found(state, task_id)), False

    # Changing

    async def cancel_task(self, bearer: Bearer, task_id: str, *, reason: str | None = None) -> TaskState:
        """Cancel the task and everything under it. A cancelled task stays so.

        Raises InvalidTransition on a passed task, TaskNotFound, TokenTaskMismatch.
        """
        return await self._call(
            "cancel_task",
            bearer,
            Verb.CANCEL_TASK,
            lambda s, c: tasks.view(s, verdicts.cancel(s, c, task_id, reason)),
        )

    async def post_result(self, bearer: Bearer, task_id: str, result: Any) -> None:
        """Record an interim result, never a status. Raises InvalidTransition once the result is final."""
        value = result if isinstance(result, Json) else Json.of(result)
        await self._call("post_result", bearer, Verb.POST_RESULT, lambda s, c: tasks.post_interim(s, c, task_id, value))

    async def mark_pass(self, token: CapToken, task_id: str, value: Json | None = None) -> TaskState:
        """An operator's verdict: pass. A live attempt is ended. Raises InvalidTransition, TaskNotFound."""
        return await self.mark(token, task_id, ok=True, value=value)

    async def mark_blocked(self, token: CapToken, task_id: str, value: Json | None = None) -> TaskState:
        """An operator's verdict: blocked. A live attempt is ended. Raises InvalidTransition, TaskNotFound."""
        return await self.mark(token, task_id, ok=False, value=value)

    async def mark(self, token: CapToken, task_id: str, *, ok: bool, value: Json | None = None) -> TaskState:
        """`mark_pass` or `mark_blocked`."""
        verb = Verb.MARK_PASS if ok else Verb.MARK_BLOCKED
        return await self._call(
            verb.value, token, verb, lambda s, c: tasks.view(s, verdicts.mark(s, c, task_id, ok=ok, value=value))
        )

    async def override_verdict(
        self, token: CapToken, task_id: str, *, ok: bool, value: Json | None = None
    ) -> TaskState:
        """A senior's verdict, also over a passed task. Raises InvalidTransition, TaskNotFound."""
        return await self._call(
            "override_verdict",
            token,
            Verb.OVERRIDE_VERDICT,
            lambda s, c: tasks.view(s, verdicts.override(s, c, task_id, ok=ok, value=value)),
        )

    async def inject_directive(self, token: CapToken, task_id: str, prompt: str) -> None:
        """Set the prompt of the next attempt. Raises InvalidTransition on a terminal task."""
        await self._call(
            "inject_directive", token, Verb.INJECT_DIRECTIVE, lambda s, c: tasks.inject(s, c, task_id, prompt)
        )

    # Attempts

    async def task_attempt(self, task_id: str) -> int:
        """The task's present attempt number, 0 before the first dispatch. Raises TaskNotFound."""
        return (await self._store.read(lambda state: _found(state, task_id))).task.attempt

    async def find_task(self, task_id: str) -> Task:
        """The task's row, for code of this process that has checked a credential already. Raises TaskNotFound."""
        return (await self._store.read(lambda state: _found(state, task_id))).task

    async def list_attempts(self, bearer: Bearer, task_id: str) -> list[Attempt]:
        """Every attempt, first to last. Raises TaskNotFound."""

        def run(state: State, caller: Caller) -> list[Attempt]:
            last = _owned(state, caller, task_id, Verb.READ_TASK_STATE).task.attempt
            rows = [ATTEMPTS.get(state.db, task_id, number) for number in range(1, last + 1)]
            return [row for row in rows if row is not None]

        return await self._look(bearer, _TRACE, run)

    async def read_attempt(self, bearer: Bearer, task_id: str, attempt: int) -> Attempt:
        """One attempt. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> Attempt:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            return attempts.require_attempt(state, task_id, attempt)[1]

        return await self._look(bearer, _TRACE, run)

    async def read_prompt(self, bearer: Bearer, task_id: str, attempt: int) -> str:
        """The prompt that an attempt was given. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> str:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            task, row = attempts.require_attempt(state, task_id, attempt)
            return str((row.prompt or task.directive).value)

        return await self._look(bearer, _TRACE, run)

    async def read_outputs(
        self, bearer: Bearer, task_id: str, attempt: int, *, after: int = 0, limit: int = 200
    ) -> list[Output]:
        """Output events of an attempt behind number `after`, in order. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> list[Output]:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            attempts.require_attempt(state, task_id, attempt)
            return outputs.OUTPUTS_OF.all(state.db, task_id=task_id, number=attempt, after=after, limit=limit)

        return await self._look(bearer, _TRACE, run)

    async def output_tail(self, task_id: str, attempt: int) -> Sequence[Output]:
        """All output events of an attempt, in order; empty for one that does not exist."""
        return await self._store.read(
            lambda state: outputs.OUTPUTS_OF.all(
                state.db, task_id=task_id, number=attempt, after=0, limit=self._cfg.max_outputs + 1
            )
        )

    async def list_late(self, bearer: Bearer, task_id: str, attempt: int) -> list[LateResult]:
        """Results that came after the attempt was over. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> list[LateResult]:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            attempts.require_attempt(state, task_id, attempt)
            return outputs.LATE_OF.all(state.db, task_id=task_id, number=attempt)

        return await self._look(bearer, _TRACE, run)

    async def adopt_late(self, token: CapToken, task_id: str, attempt: int, index: int) -> TaskState:
        """Make a late result the task's result. Operators by `mark_pass`, seniors by `override_verdict`.

        Raises LateResultNotFound, InvalidTransition, TaskNotFound.
        """

        def run(state: State, caller: Caller) -> TaskState:
            senior = caller.role is Role.SENIOR
            return tasks.view(state, verdicts.adopt(state, caller, task_id, attempt, index, senior=senior))

        return await self._call("adopt_late", token, (Verb.MARK_PASS, Verb.OVERRIDE_VERDICT), run)


def _is_news(task: Task | None, since: int | None) -> bool:
    return task is not None and (task.status in AWAITED or (since is not None and task.version > since))


def _found(state: State, task_id: str) -> TaskState:
    task = TASKS.get(state.db, task_id)
    if task is None:
        raise TaskNotFound(task_id)
    return tasks.view(state, task)


def _owned(state: State, caller: Caller, task_id: str, verb: Verb) -> TaskState:
    own(state, caller, task_id, verb)
    return _found(state, task_id)
