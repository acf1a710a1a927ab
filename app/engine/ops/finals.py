"""Finals: the first one wins; passed through its layers it ends the attempt, or waits for a senior."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.domain.attempts import Attempt, Phase, Reason
from app.domain.errors import AttemptSuperseded, Cancelled, EngineError, FinalConflict, NotStarted
from app.domain.events import EventKind
from app.domain.json import NULL
from app.domain.limits import Limits
from app.domain.outputs import Final, LateResult, OutputType
from app.domain.questions import Ask, Purpose
from app.domain.tasks import Status, Task
from app.engine.ops import outputs, suspension
from app.engine.ops.access import WorkerRows, ended_because
from app.engine.ops.attempts import facts_for
from app.engine.ops.queries import LATE_RESULTS_OF_ATTEMPT
from app.engine.ops.rules import EngineCfg
from app.engine.ops.settling import pass_or_block, withdraw_questions
from app.engine.ops.tasks import change
from app.spawning.ports import Escalate, LayerRegistry
from app.spawning.stack import active_layers
from app.state import schema
from app.state.state import CommitThenRaise, State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, LATE_RESULTS, QUESTIONS

_Q, _L = schema.questions.c, schema.late_results.c
_COMPARED_BYTES = 64 * 1024
"""Late results of an attempt that are compared by their values, in bytes."""
_SAME_LATE = Statement(
    sa.select(sa.func.count()).where(
        _L.task_id == sa.bindparam("task_id"),
        _L.attempt == sa.bindparam("number"),
        _L.value == sa.bindparam("text"),
        _L.ok == sa.bindparam("is_ok"),
    )
)
_ESCALATIONS = QUESTIONS.search(
    _Q.task_id == sa.bindparam("task_id"),
    _Q.attempt == sa.bindparam("number"),
    _Q.purpose == Purpose.ESCALATION.value,
    order=(_Q.key.desc(),),
)


def submit(
    state: State, cfg: EngineCfg, layers: LayerRegistry, worker: WorkerRows, final: Final
) -> CommitThenRaise[EngineError] | None:
    """Take the Final of the worker's attempt. The first wins; an equal one changes nothing.

    Raises FinalConflict, NotStarted. Returns the conflict to raise once a late result is committed: Cancelled,
    AttemptSuperseded.
    """
    task, attempt = worker.task, worker.attempt
    if attempt.phase in (Phase.WAITING, Phase.QUEUED):
        raise NotStarted(task.id, attempt.attempt)
    if task.status is Status.CANCELLED or attempt.reason is Reason.CANCELLED:
        kept = _keep_late(state, cfg.limits, attempt, final, "the task was cancelled")
        return CommitThenRaise(Cancelled(task.id, kept=kept))
    if attempt.final is None and attempt.is_live:
        accept(state, layers, task, attempt, final)
        return None
    if attempt.final == final.value and attempt.final_ok == final.ok:
        return None
    if attempt.final is not None and attempt.attempt == task.attempt:
        raise FinalConflict(task.id, attempt.attempt)
    why = ended_because(attempt)
    kept = _keep_late(state, cfg.limits, attempt, final, why)
    return CommitThenRaise(AttemptSuperseded(task.id, attempt.attempt, why, kept=kept))


def _keep_late(state: State, limits: Limits, attempt: Attempt, final: Final, reason: str) -> bool:
    """Store the value as a late result, unless an equal one is stored; return whether one is stored now.

    None is kept beyond the limits, nor once the credential that it came with has reached the end of its life.
    """
    size = len(final.value.text.encode())
    if _is_kept(state, attempt, final, size):
        return True
    if (
        attempt.late >= limits.late_results
        or attempt.late_bytes + size > limits.late_bytes
        or attempt.handle_expires_at <= state.now
    ):
        return False
    late = LateResult(
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        index=attempt.late,
        value=final.value,
        ok=final.ok,
        reason=reason,
        at=state.now,
        adopted_at=None,
        adopted_by=None,
    )
    LATE_RESULTS.insert(state.db, late)
    ATTEMPTS.update(
        state.db, attempt.task_id, attempt.attempt, late=late.index + 1, late_bytes=attempt.late_bytes + size
    )
    state.emit(
        EventKind.LATE_RESULT,
        namespace=attempt.namespace,
        task_id=late.task_id,
        attempt=late.attempt,
        index=late.index,
        reason=reason,
    )
    return True


def _is_kept(state: State, attempt: Attempt, final: Final, size: int) -> bool:
    """Return whether a late result with this value is stored; large values are compared as text."""
    if not attempt.late:
        return False
    key = {"task_id": attempt.task_id, "number": attempt.attempt}
    if attempt.late_bytes + size > _COMPARED_BYTES:
        return bool(_SAME_LATE.query(state.db, **key, text=final.value.text, is_ok=int(final.ok))[0][0])
    known = LATE_RESULTS_OF_ATTEMPT.all(state.db, **key)
    return any(late.value == final.value and late.ok == final.ok for late in known)


def accept(
    state: State, layers: LayerRegistry, task: Task, attempt: Attempt, final: Final, *, worker_gone: bool = False
) -> None:
    """Take the first Final of a live attempt and carry out what its layers decide, in this transaction."""
    decision: Final | Escalate = final
    if attempt.layers.text != "[]" or layers.base_settles(detached=attempt.detached):
        facts = facts_for(state, task, attempt)
        decision = active_layers(layers, facts, detached=attempt.detached).settle(final)
    columns = _record(state, attempt, final, held=isinstance(decision, Escalate))
    _carry_out(state, task, attempt, decision, columns, worker_gone=worker_gone)


def _record(state: State, attempt: Attempt, final: Final, *, held: bool) -> dict[str, Any]:
    """Record the Final; return the columns of the attempt's row that are still to be written.

    It is the last output, and stored with the attempt alone; of a held one, outputs may follow.
    """
    columns = {"final": final.value, "final_ok": final.ok}
    if held:
        return columns | outputs.record(state, attempt, OutputType.FINAL, final.body)
    numbered = outputs.announce(state, attempt, OutputType.FINAL)
    return columns | numbered | {"final_seq": numbered["outputs"]}


def release(state: State, layers: LayerRegistry, task: Task, attempt: Attempt) -> None:
    """Carry out what the layers make of a held Final, now that the senior has answered."""
    original = Final(value=attempt.final or NULL, ok=bool(attempt.final_ok))
    asked = _ESCALATIONS.first(state.db, task_id=task.id, number=attempt.attempt)
    answer = asked.answer if asked is not None and asked.answer is not None else NULL
    facts = facts_for(state, task, attempt)
    active = active_layers(layers, facts, detached=attempt.detached, holding=attempt.held_by)
    _carry_out(state, task, attempt, active.resolve(attempt.held_by or "", original, answer), {})


def _carry_out(
    state: State,
    task: Task,
    attempt: Attempt,
    decision: Final | Escalate,
    columns: dict[str, Any],
    *,
    worker_gone: bool = False,
) -> None:
    if isinstance(decision, Escalate):
        _hold(state, task, attempt, decision, columns)
    else:
        pass_or_block(state, task, attempt, decision, columns, worker_gone=worker_gone)


def _hold(state: State, task: Task, attempt: Attempt, escalation: Escalate, columns: dict[str, Any]) -> None:
    """Suspend the task on the layer's question; the Final waits with the attempt."""
    if task.open_questions:
        withdraw_questions(state, task, "the worker has finished")
        task = change(state, task, open_questions=0)
    columns |= {"phase": Phase.HELD, "due_at": None, "held_by": escalation.layer}
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **columns)
    suspension.suspend(
        state,
        task,
        attempt,
        Ask(question=escalation.question, answer_schema=escalation.answer_schema),
        purpose=Purpose.ESCALATION,
        asked_by=f"layer:{escalation.layer}",
        asker_role="engine",
        asker_keys=attempt.keys,
        bridge_id=None,
    )
    state.wake(f"attempt:{attempt.task_id}")
