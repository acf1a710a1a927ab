"""Changes of many tasks at once: count them, cancel them, or dispatch them again, page by page."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial

from app.domain.access import Caller, Role, Verb
from app.domain.attempts import Attempt
from app.domain.errors import EngineError, InvalidRequest, LoopPaused, RoleViolation
from app.domain.tasks import TERMINAL, Status
from app.domain.tokens import CapToken
from app.engine.dispatcher import Dispatcher
from app.engine.ops import audit, cancelling, task_filters
from app.engine.ops.queries import reaches
from app.engine.ops.rules import EngineCfg
from app.engine.ops.task_filters import TaskFilter
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.tables import ATTEMPTS, TASKS

PER_CALL = 500
"""How many tasks one call changes at most."""
MOST_SKIPPED = 20
"""How many tasks that were left as they are a reply names."""
_LAST = "T-~"
_OPEN = frozenset(status for status in Status if status not in TERMINAL)


@dataclass(slots=True, kw_only=True)
class Changed:
    """How many tasks a call changed, those that it left, with the reason, and where the next call goes on."""

    count: int = 0
    skipped: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    next_cursor: str | None = None

    def skip(self, task_id: str, reason: str) -> None:
        """Count a task that was left as it is."""
        self.skipped += 1
        if len(self.reasons) < MOST_SKIPPED:
            self.reasons.append((task_id, reason))


class Selections:
    """Calls about all tasks that a filter selects, in the caller's namespace."""

    def __init__(self, transactions: Transactions, *, dispatcher: Dispatcher, cfg: EngineCfg) -> None:
        self._transactions = transactions
        self._dispatcher = dispatcher
        self._cfg = cfg

    async def counts(self, token: CapToken, wanted: TaskFilter) -> dict[str, int]:
        """Return how many tasks there are by status."""
        task_filters.check(wanted)
        caller = await self._transactions.read_as(token, Verb.READ_TASK_STATE, _not_a_worker)
        return await self._transactions.read(
            lambda state: task_filters.counts(state, caller.namespace, wanted), bulk=True
        )

    async def count_cancellable(self, token: CapToken, wanted: TaskFilter) -> int:
        """Return how many tasks `cancel` would cancel."""
        return await self._count(token, Verb.CANCEL_TASK, wanted, _OPEN)

    async def count_retryable(self, token: CapToken, wanted: TaskFilter) -> int:
        """Return how many tasks `retry` would try to dispatch again."""
        return await self._count(token, Verb.DISPATCH_ATTEMPT, wanted, frozenset({Status.BLOCKED}))

    async def cancel(
        self, token: CapToken, wanted: TaskFilter, *, reason: str | None = None, cursor: str | None = None
    ) -> Changed:
        """Cancel the newest tasks that the filter selects, and what is below them; see `Changed.next_cursor`.

        Tasks that passed or are cancelled already are left. Raises InvalidRequest for a filter that says nothing.
        """
        ids = await self._pick(token, Verb.CANCEL_TASK, "tasks_cancelled", wanted, _OPEN, cursor)
        found = Changed(next_cursor=ids[-1] if len(ids) == PER_CALL else None)
        for start in range(0, len(ids), cancelling.BATCH):
            some = ids[start : start + cancelling.BATCH]
            cancel = partial(cancelling.cancel_some, ids=some, reason=reason)
            done = await self._transactions.call("cancel_tasks", token, Verb.CANCEL_TASK, cancel)
            found.count += done
            found.skipped += len(some) - done
        return found

    async def retry(self, token: CapToken, wanted: TaskFilter, *, cursor: str | None = None) -> Changed:
        """Dispatch the newest blocked tasks that the filter selects again, each as its last attempt was.

        A task that cannot be is left, with the reason. Raises LoopPaused while dispatching is paused, InvalidRequest
        for a filter that says nothing.
        """
        blocked = frozenset({Status.BLOCKED})
        ids = await self._pick(token, Verb.DISPATCH_ATTEMPT, "tasks_retried", wanted, blocked, cursor)
        found = Changed(next_cursor=ids[-1] if len(ids) == PER_CALL else None)
        for start in range(0, len(ids), cancelling.BATCH):
            some = ids[start : start + cancelling.BATCH]
            for task_id, problem in zip(some, await self._retry_all(token, some), strict=True):
                if problem is None:
                    found.count += 1
                else:
                    found.skip(task_id, problem)
        return found

    async def _retry_all(self, token: CapToken, ids: list[str]) -> list[str | None]:
        """Dispatch these tasks again; return for each why not, or None. Raises LoopPaused."""
        lasts = await self._transactions.read_as(
            token, Verb.DISPATCH_ATTEMPT, lambda state, caller: [_last_attempt(state, caller, id) for id in ids]
        )
        done = await asyncio.gather(*(self._retry(token, last) for last in lasts))
        for problem in done:
            if isinstance(problem, LoopPaused):
                raise problem
        return [None if problem is None else str(problem) for problem in done]

    async def _retry(self, token: CapToken, last: Attempt | str) -> EngineError | str | None:
        if isinstance(last, str):
            return last
        if last.hands_out_handle:
            return "its worker is given its handle by hand: dispatch it by itself"
        try:
            await self._dispatcher.dispatch(token, last.task_id, last.spawner.value, layers=last.layers.value)
        except EngineError as error:
            return error
        return None

    async def _pick(
        self,
        token: CapToken,
        verb: Verb,
        action: str,
        wanted: TaskFilter,
        statuses: frozenset[Status],
        cursor: str | None,
    ) -> list[str]:
        """Return the ids of the next tasks of the filter in one of these statuses; record what was asked, once."""
        _check(wanted)
        caller = await self._transactions.read_as(token, verb, _not_a_worker)
        before = cursor or _LAST
        pick = partial(task_filters.pick, namespace=caller.namespace, before=before, most=PER_CALL)
        if wanted.ids or wanted.status is not None:
            narrowed = wanted if wanted.ids or wanted.status in statuses else None
            ids = [] if narrowed is None else await self._transactions.read(partial(pick, wanted=narrowed), bulk=True)
        else:
            each = [replace(wanted, status=status) for status in sorted(statuses)]
            pages = await self._transactions.read(lambda state: [pick(state, wanted=one) for one in each], bulk=True)
            ids = sorted((id for page in pages for id in page), reverse=True)[:PER_CALL]
        if cursor is None:
            await self._transactions.call(
                action, token, verb, lambda s, c: audit.record(s, c, action, filter=wanted.spelled())
            )
        return ids

    async def _count(self, token: CapToken, verb: Verb, wanted: TaskFilter, statuses: frozenset[Status]) -> int:
        _check(wanted)
        caller = await self._transactions.read_as(token, verb, _not_a_worker)

        def count(state: State) -> int:
            if wanted.ids:
                return sum(_status(state, caller, id) in statuses for id in set(wanted.ids))
            found = task_filters.counts(state, caller.namespace, wanted)
            return sum(count for status, count in found.items() if status in statuses)

        return await self._transactions.read(count, bulk=True)


def _check(wanted: TaskFilter) -> None:
    task_filters.check(wanted)
    said = wanted.spelled()
    if not said:
        raise InvalidRequest("say which tasks: by status, agent, label, search, time, parent, session or ids", "filter")
    if wanted.ids and len(said) > 1:
        raise InvalidRequest("give ids alone, or other conditions", "filter.ids")


def _not_a_worker(_: State, caller: Caller) -> Caller:
    if caller.role is Role.WORKER:
        raise RoleViolation(caller.role.value, "select_tasks")
    return caller


def _status(state: State, caller: Caller, task_id: str) -> Status | None:
    task = TASKS.get(state.db, task_id)
    return task.status if task is not None and reaches(caller, task.namespace) else None


def _last_attempt(state: State, caller: Caller, task_id: str) -> Attempt | str:
    """Return the attempt that a retry repeats, or why there is none."""
    task = TASKS.get(state.db, task_id)
    if task is None or not reaches(caller, task.namespace):
        return "there is no such task"
    if task.status is not Status.BLOCKED:
        return f"it is {task.status.value}, and only blocked tasks are dispatched again"
    last = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    return "it was never dispatched" if last is None else last
