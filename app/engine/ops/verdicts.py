"""Verdicts on tasks: mark one, override it, adopt a late result."""

from __future__ import annotations

from typing import Any

from app.domain.access import Caller
from app.domain.attempts import Reason
from app.domain.errors import LateResultNotFound
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.outputs import LateResult
from app.domain.questions import QuestionRules
from app.domain.tasks import Status, Step, Task, step
from app.engine.ops import audit
from app.engine.ops.principals import require_may_pass
from app.engine.ops.queries import lock_task
from app.engine.ops.settling import UNCHANGED, end_live, settled_task, stored
from app.state.state import State
from app.state.tables import LATE_RESULTS


def mark(
    state: State,
    rules: QuestionRules,
    caller: Caller,
    task_id: str,
    *,
    ok: bool,
    value: Json | None,
    late: LateResult | None = None,
) -> Task:
    """Apply an operator's verdict. A live attempt is ended; `value` replaces the result when it is given.

    `late` is the late result that is adopted thereby. Raises AskerCannotAnswer when it would pass the task over the
    caller's own question.
    """
    return _judge(state, rules, caller, task_id, Step.MARK_PASS if ok else Step.MARK_BLOCKED, value, late)


def override(
    state: State,
    rules: QuestionRules,
    caller: Caller,
    task_id: str,
    *,
    ok: bool,
    value: Json | None,
    late: LateResult | None = None,
) -> Task:
    """Apply a senior's verdict, also to a passed task. Raises AskerCannotAnswer as `mark` does."""
    task = _judge(state, rules, caller, task_id, Step.OVERRIDE_PASS if ok else Step.OVERRIDE_BLOCKED, value, late)
    state.emit(
        EventKind.VERDICT_OVERRIDDEN,
        namespace=task.namespace,
        task_id=task.id,
        attempt=task.attempt,
        by=caller.subject,
        ok=ok,
    )
    return task


def _judge(
    state: State,
    rules: QuestionRules,
    caller: Caller,
    task_id: str,
    what: Step,
    value: Json | None,
    late: LateResult | None,
) -> Task:
    task = lock_task(state, task_id, caller)
    after = step(task.id, task.status, what)
    if after is Status.PASS:
        require_may_pass(state, rules, caller, task)
    end_live(state, task, Reason.VERDICT, after)
    detail: dict[str, Any] = {"status": after.value, "attempt": task.attempt, **audit.value(value)}
    action = what.name.lower()
    if late is not None:
        action = "late_result_adopted"
        detail |= {"verdict": what.name.lower(), "attempt": late.attempt, "index": late.index}
    audit.record(state, caller, action, target=task.id, namespace=task.namespace, **detail)
    result = stored(value) if value is not None else UNCHANGED
    return settled_task(state, task, after, result=result, by=caller.subject, verdict=what.value)


def adopt(
    state: State, rules: QuestionRules, caller: Caller, task_id: str, number: int, index: int, *, senior: bool
) -> Task:
    """Make a late result the task's result, as a verdict of the caller. Raises LateResultNotFound."""
    task = lock_task(state, task_id, caller)
    late = LATE_RESULTS.get(state.db, task_id, number, index)
    if late is None:
        raise LateResultNotFound(task_id, number, index)
    judge = override if senior else mark
    task = judge(state, rules, caller, task.id, ok=late.ok, value=late.value, late=late)
    LATE_RESULTS.update(state.db, task_id, number, index, adopted_at=state.now, adopted_by=caller.subject)
    state.emit(
        EventKind.LATE_RESULT_ADOPTED,
        namespace=task.namespace,
        task_id=task_id,
        attempt=number,
        index=index,
        by=caller.subject,
    )
    return task
