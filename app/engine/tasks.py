"""Tasks: start, read, wait, cancel, and the verdicts of operators and seniors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from app.domain.access import ENGINE, Caller, Role, Verb
from app.domain.errors import PollTimeout
from app.domain.json import Json
from app.domain.tasks import Task, TaskSpec, TaskState
from app.domain.tokens import Bearer, CapToken
from app.engine.batches import Batches
from app.engine.large_reads import LargeReads
from app.engine.ops import cancelling, pages, reports, task_filters, tasks, verdicts
from app.engine.ops.access import authenticate, require_access, revocation_of
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.nodes import Membership
from app.engine.ops.pages import Page
from app.engine.ops.queries import require_task
from app.engine.ops.rules import EngineCfg
from app.engine.ops.task_filters import TaskFilter
from app.engine.ops.tasks import Glance
from app.engine.transactions import Expiry, Transactions
from app.state.state import State

Watched = tuple[TaskState, bool]
"""A task, and whether what was waited for happened."""


class Tasks:
    """Calls about tasks."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        batches: Batches,
        large: LargeReads,
        nodes: Membership,
        cfg: EngineCfg,
    ) -> None:
        self._transactions = transactions
        self._batches = batches
        self._cfg = cfg
        self._nodes = nodes
        self._large = large

    async def start(self, bearer: Bearer, spec: TaskSpec, *, idempotency: Idempotency | None = None) -> TaskState:
        """Create a pending task; a worker's is a child of its own task.

        The same idempotency key returns the same task again. Raises SpawnDepthExceeded, InvalidRequest.
        """

        def make(state: State, caller: Caller) -> TaskState:
            expands = caller.may(Verb.FETCH_DATA, self._transactions.gate)
            return TaskState(tasks.start(state, self._cfg, caller, spec, expands=expands), ())

        def run(state: State, caller: Caller) -> TaskState:
            return once(
                state,
                scope_of(caller, "task"),
                idempotency,
                lambda: make(state, caller),
                name=lambda made: made.task.id,
                again=lambda task_id: _found(state, task_id, caller),
                task_of=lambda made: made.task.id,
            )

        start = make if idempotency is None else run
        return await self._transactions.call("start_task", bearer, Verb.START_TASK, start, lock=True)

    async def read(self, bearer: Bearer, task_id: str) -> TaskState:
        """Return the task. Workers read their own and its descendants. Raises TaskNotFound, TokenTaskMismatch."""

        def look(state: State, caller: Caller) -> Glance:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            return tasks.glance(state, caller, task_id, None, end=True)

        return await self._seen(await self._transactions.read_as(bearer, Verb.READ_TASK_STATE, look), task_id)

    async def page(
        self, token: CapToken, wanted: TaskFilter | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> Page[TaskState]:
        """Return a page of tasks, newest first; a worker sees its own children. Raises InvalidRequest."""
        asked = wanted or TaskFilter()
        task_filters.check(asked)

        def read(state: State, caller: Caller) -> Page[TaskState]:
            found = asked
            if caller.role is Role.WORKER:
                below = asked.parent or caller.task_id or ""
                require_access(state, caller, below, Verb.READ_TASK_STATE)
                found = replace(asked, parent=below)
            return pages.tasks(state, self._cfg.limits, caller.namespace, found, limit=limit, cursor=cursor)

        if not asked.searches:
            return await self._transactions.read_as(token, Verb.READ_TASK_STATE, read)
        caller = await self._transactions.read_as(token, Verb.READ_TASK_STATE, lambda _, caller: caller)
        return await self._transactions.read(lambda state: read(state, caller), bulk=True)

    async def why(self, bearer: Bearer, task_id: str) -> reports.Why:
        """Explain what the task waits for: a sentence and the chain of causes. Raises TaskNotFound."""

        def run(state: State, caller: Caller) -> reports.Why:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            return reports.why(state, caller, task_id, self._nodes)

        return await self._transactions.read_as(bearer, Verb.READ_TASK_STATE, run)

    async def outlook(self, bearer: Bearer, task_id: str) -> reports.Outlook:
        """Return what the task waits for, whether it is tried again and how it failed. Raises TaskNotFound."""

        def run(state: State, caller: Caller) -> reports.Outlook:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            return reports.outlook(state, caller, task_id, self._nodes)

        return await self._transactions.read_as(bearer, Verb.READ_TASK_STATE, run)

    # Waiting

    async def poll(
        self, bearer: Bearer, task_id: str, hold: timedelta | None = None, *, since: int | None = None
    ) -> TaskState:
        """Wait until the task is done or suspended (or newer than version `since`), and return it.

        None holds for the configured default; zero is a snapshot, whatever the status. Raises PollTimeout when the
        hold ends, TaskNotFound.
        """
        hold = timedelta(milliseconds=self._cfg.default_hold_ms) if hold is None else hold
        state, done = await self.watch(bearer, task_id, hold, since=since)
        if not done and hold > timedelta(0):
            raise PollTimeout(f"Task {task_id}", hold.total_seconds())
        return state

    async def watch(
        self,
        bearer: Bearer,
        task_id: str,
        hold: timedelta,
        *,
        since: int | None = None,
        park: Callable[[Awaitable[Watched]], Awaitable[Watched]] | None = None,
    ) -> Watched:
        """Wait as `poll` does; return the task as it is at the end, and whether what was waited for happened.

        `park` awaits what is left to do if it has not happened yet.

        Raises TaskNotFound; TokenRevoked or TokenExpired as soon as the credential is revoked or has expired.
        """
        seconds = self._transactions.hold_seconds(hold)

        def begin(state: State, caller: Caller) -> tuple[Glance, str | None]:
            require_access(state, caller, task_id, Verb.POLL_TASK)
            return tasks.glance(state, caller, task_id, since, end=seconds == 0), caller.jti

        seen, jti = await self._transactions.read_as(bearer, Verb.POLL_TASK, begin)
        if seconds == 0 or seen.is_news:
            return await self._seen(seen, task_id), seen.is_news
        waiting = self._wait(bearer, task_id, seen, jti, seconds, since)
        return await (waiting if park is None else park(waiting))

    async def _wait(
        self, bearer: Bearer, task_id: str, seen: Glance, jti: str | None, seconds: float, since: int | None
    ) -> Watched:
        """Wait for news of a task that was `seen` without any. Raises what `watch` raises."""
        presented = self._transactions.authenticate(bearer, Verb.POLL_TASK)
        expiry = Expiry()

        def look(state: State) -> Glance | None:
            nonlocal seen
            # A credential that was revoked or has expired meanwhile learns nothing more.
            caller = authenticate(state, presented, consume=False)
            expiry.note(state, caller.expires_at)
            seen = tasks.glance(state, caller, task_id, since)
            return seen if seen.is_news else None

        topics = (f"task:{task_id}", revocation_of(jti))
        found = await self._transactions.wait(topics, lambda: self._transactions.read(look), seconds, expiry)
        if found is None:
            seen = await self._transactions.read(lambda state: tasks.glance(state, ENGINE, task_id, since, end=True))
        return await self._seen(seen, task_id), found is not None

    async def _seen(self, seen: Glance, task_id: str) -> TaskState:
        """Return the task that was looked at; a large one is read beside the event loop, once for all who saw it."""
        return seen.state or await self._large.read_shared(
            (task_id, seen.version), lambda state: _found(state, task_id, ENGINE)
        )

    async def find(self, task_id: str) -> Task:
        """Return the task's row, for code of this process that has checked a credential. Raises TaskNotFound."""
        return (await self._transactions.read(lambda state: _found(state, task_id, ENGINE))).task

    # Changing

    async def cancel(self, bearer: Bearer, task_id: str, *, reason: str | None = None) -> TaskState:
        """Cancel the task at once and then its descendants; return when all are cancelled. Idempotent.

        Once the task is cancelled, its descendants will be, whatever becomes of the caller or of this process.

        Raises InvalidTransition on a passed task, TaskNotFound, TokenTaskMismatch.
        """

        def run(state: State, caller: Caller) -> tuple[TaskState, bool]:
            task = cancelling.cancel(state, caller, task_id, reason)
            return tasks.view(state, task), cancelling.is_unfinished(state, task_id)

        done, unfinished = await self._transactions.call("cancel_task", bearer, Verb.CANCEL_TASK, run)
        if unfinished:
            await self._batches.finish(task_id)
        return done

    async def post_result(self, bearer: Bearer, task_id: str, value: Json) -> None:
        """Record an interim result; the status stays. Raises InvalidTransition once the result is final."""
        await self._transactions.call(
            "post_result", bearer, Verb.POST_RESULT, lambda s, c: tasks.post_interim(s, c, task_id, value)
        )

    async def mark(self, token: CapToken, task_id: str, *, ok: bool, value: Json | None = None) -> TaskState:
        """Record an operator's verdict, which ends a live attempt.

        Raises InvalidTransition, TaskNotFound, AskerCannotAnswer.
        """
        verb = Verb.MARK_PASS if ok else Verb.MARK_BLOCKED
        return await self._transactions.call(
            verb.value,
            token,
            verb,
            lambda s, c: tasks.view(s, verdicts.mark(s, self._cfg.questions, c, task_id, ok=ok, value=value)),
        )

    async def override(self, token: CapToken, task_id: str, *, ok: bool, value: Json | None = None) -> TaskState:
        """Record a senior's verdict, also over a passed task.

        Raises InvalidTransition, TaskNotFound, AskerCannotAnswer.
        """
        return await self._transactions.call(
            "override_verdict",
            token,
            Verb.OVERRIDE_VERDICT,
            lambda s, c: tasks.view(s, verdicts.override(s, self._cfg.questions, c, task_id, ok=ok, value=value)),
        )

    async def inject_directive(self, token: CapToken, task_id: str, prompt: str) -> None:
        """Set the prompt of the next attempt. Raises InvalidTransition on a terminal task."""
        await self._transactions.call(
            "inject_directive",
            token,
            Verb.INJECT_DIRECTIVE,
            lambda s, c: tasks.inject(s, self._cfg.limits, c, task_id, prompt),
        )


def _found(state: State, task_id: str, caller: Caller) -> TaskState:
    return tasks.view(state, require_task(state, task_id, caller))
