"""Attempts of a task: read them, what they put out, and what came too late."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.access import Caller, Role, Verb
from app.domain.attempts import Attempt
from app.domain.outputs import LateResult, Output
from app.domain.tasks import TaskState
from app.domain.tokens import Bearer, CapToken
from app.engine.ops import tasks, verdicts
from app.engine.ops.access import own
from app.engine.ops.attempts import require_attempt
from app.engine.ops.queries import LATE_RESULTS_OF_ATTEMPT, OUTPUTS_OF_ATTEMPT, require_task
from app.engine.ops.rules import EngineCfg
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.tables import ATTEMPTS

_TRACE = (Verb.READ_TRACE, Verb.READ_TASK_STATE)


class Attempts:
    """Calls about attempts."""

    def __init__(self, transactions: Transactions, cfg: EngineCfg) -> None:
        self._transactions = transactions
        self._cfg = cfg

    async def every(self, bearer: Bearer, task_id: str) -> list[Attempt]:
        """Return every attempt of the task, first to last. Raises TaskNotFound."""

        def run(state: State, caller: Caller) -> list[Attempt]:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            last = require_task(state, task_id).attempt
            rows = [ATTEMPTS.get(state.db, task_id, number) for number in range(1, last + 1)]
            return [row for row in rows if row is not None]

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def read(self, bearer: Bearer, task_id: str, attempt: int) -> Attempt:
        """Return one attempt. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> Attempt:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            return require_attempt(state, task_id, attempt)[1]

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def outputs(
        self, bearer: Bearer, task_id: str, attempt: int, *, after: int = 0, limit: int = 200
    ) -> list[Output]:
        """Return output events of an attempt behind number `after`, in order. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> list[Output]:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            require_attempt(state, task_id, attempt)
            return OUTPUTS_OF_ATTEMPT.all(state.db, task_id=task_id, number=attempt, after=after, limit=limit)

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def tail(self, task_id: str, attempt: int) -> Sequence[Output]:
        """Return all output events of an attempt, in order; none for an attempt that does not exist."""
        return await self._transactions.read(
            lambda state: OUTPUTS_OF_ATTEMPT.all(
                state.db, task_id=task_id, number=attempt, after=0, limit=self._cfg.limits.outputs + 1
            )
        )

    async def late(self, bearer: Bearer, task_id: str, attempt: int) -> list[LateResult]:
        """Return results that came after the attempt was over. Raises TaskNotFound, AttemptNotFound."""

        def run(state: State, caller: Caller) -> list[LateResult]:
            own(state, caller, task_id, Verb.READ_TASK_STATE)
            require_attempt(state, task_id, attempt)
            return LATE_RESULTS_OF_ATTEMPT.all(state.db, task_id=task_id, number=attempt)

        return await self._transactions.read_as(bearer, _TRACE, run)

    async def adopt_late(self, token: CapToken, task_id: str, attempt: int, index: int) -> TaskState:
        """Make a late result the task's result. Operators by `mark_pass`, seniors by `override_verdict`.

        Raises LateResultNotFound, InvalidTransition, TaskNotFound.
        """

        def run(state: State, caller: Caller) -> TaskState:
            senior = caller.role is Role.SENIOR
            return tasks.view(state, verdicts.adopt(state, caller, task_id, attempt, index, senior=senior))

        return await self._transactions.call("adopt_late", token, (Verb.MARK_PASS, Verb.OVERRIDE_VERDICT), run)
