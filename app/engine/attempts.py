"""Attempts of a task: read them, their outputs and their late results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.access import Caller, Role, Verb
from app.domain.attempts import Attempt
from app.domain.errors import LateResultNotFound
from app.domain.outputs import LateResult, Output
from app.domain.tasks import TaskState
from app.domain.tokens import Bearer, CapToken
from app.domain.usage import UsageRow
from app.engine.ops import outputs, pages, tasks, usage, verdicts
from app.engine.ops.access import require_access
from app.engine.ops.attempts import glance_at_final, require_attempt, require_task_id
from app.engine.ops.outputs import LongOutput
from app.engine.ops.pages import Page
from app.engine.ops.rules import BESIDE_THE_LOOP_BYTES, EngineCfg
from app.engine.ops.usage import TreeUsage
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.tables import LATE_RESULTS

_TRACE = (Verb.READ_TRACE, Verb.READ_TASK_STATE)


class Attempts:
    """Calls about attempts."""

    def __init__(self, transactions: Transactions, cfg: EngineCfg) -> None:
        self._transactions = transactions
        self._cfg = cfg

    async def page(self, bearer: Bearer, task_id: str, *, limit: int = 50, after: int = 0) -> Page[Attempt]:
        """Return the attempts of the task with numbers above `after`, with their prompts. Raises TaskNotFound."""

        def run(state: State, caller: Caller) -> Page[Attempt]:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            require_task_id(state, task_id, caller)
            return pages.attempts(state, self._cfg.limits, task_id, limit=limit, after=after)

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def read(self, bearer: Bearer, task_id: str, attempt: int) -> Attempt:
        """Return one attempt with its prompt. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> Attempt:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            task, row = require_attempt(state, task_id, attempt, caller)
            return row if row.prompt is not None else row._replace(prompt=task.directive)

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def usage(self, bearer: Bearer, task_id: str, numbers: Iterable[int]) -> dict[int, list[UsageRow]]:
        """Return what these attempts used, by model; those without reports are left out. Raises TaskNotFound."""

        def run(state: State, caller: Caller) -> dict[int, list[UsageRow]]:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            require_task_id(state, task_id, caller)
            return usage.of_attempts(state, task_id, numbers)

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def usage_of_tree(self, bearer: Bearer, task_id: str) -> TreeUsage:
        """Return what the task used, and with it the tasks below it. Raises TaskNotFound."""

        def check(state: State, caller: Caller) -> None:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            require_task_id(state, task_id, caller)

        await self._transactions.read_as(bearer, _TRACE, check)
        return await self._transactions.read(lambda state: usage.of_tree(state, task_id), bulk=True)

    async def outputs(
        self, bearer: Bearer, task_id: str, attempt: int, *, limit: int = 200, after: int = 0
    ) -> Page[Output | LongOutput]:
        """Return outputs of an attempt with numbers above `after`, in order. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> Page[Output | LongOutput]:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            final = glance_at_final(state, task_id, attempt, caller)
            return outputs.page(state, self._cfg.limits, task_id, attempt, final, limit=limit, after=after)

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def output(self, bearer: Bearer, task_id: str, attempt: int, seq: int) -> Output:
        """Return one output, whole. Raises TaskNotFound, AttemptNotFound, OutputNotFound."""

        def run(state: State, caller: Caller) -> int:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            final = glance_at_final(state, task_id, attempt, caller)
            return outputs.length(state, task_id, attempt, seq, final)

        size = await self._transactions.read_as(bearer, _TRACE, run)
        return await self._transactions.read(
            lambda state: outputs.find(state, task_id, attempt, seq), bulk=size > BESIDE_THE_LOOP_BYTES
        )

    async def tail(self, task_id: str, attempt: int) -> Sequence[Output]:
        """Return all output events of an attempt, in order; none for an attempt that does not exist."""
        return await self._transactions.read(lambda state: outputs.tail(state, self._cfg.limits, task_id, attempt))

    async def late(
        self, bearer: Bearer, task_id: str, attempt: int, *, limit: int = 200, after: int = -1
    ) -> Page[LateResult]:
        """Return the late results of an attempt with an index above `after`.

        Raises TaskNotFound, AttemptNotFound.
        """

        def run(state: State, caller: Caller) -> Page[LateResult]:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            glance_at_final(state, task_id, attempt, caller)
            return pages.late_results(state, self._cfg.limits, task_id, attempt, limit=limit, after=after)

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def late_result(self, bearer: Bearer, task_id: str, attempt: int, index: int) -> LateResult:
        """Return one late result, whole. Raises TaskNotFound, AttemptNotFound, LateResultNotFound."""

        def run(state: State, caller: Caller) -> LateResult:
            require_access(state, caller, task_id, Verb.READ_TASK_STATE)
            glance_at_final(state, task_id, attempt, caller)
            row = LATE_RESULTS.get(state.db, task_id, attempt, index)
            if row is None:
                raise LateResultNotFound(task_id, attempt, index)
            return row

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def adopt_late(self, token: CapToken, task_id: str, attempt: int, index: int) -> TaskState:
        """Make a late result the task's result. Operators by `mark_pass`, seniors by `override_verdict`.

        Raises LateResultNotFound, InvalidTransition, TaskNotFound.
        """

        def run(state: State, caller: Caller) -> TaskState:
            senior = caller.role is Role.SENIOR
            return tasks.view(
                state, verdicts.adopt(state, self._cfg.questions, caller, task_id, attempt, index, senior=senior)
            )

        return await self._transactions.call("adopt_late", token, (Verb.MARK_PASS, Verb.OVERRIDE_VERDICT), run)
