"""What a Final does: passed through its layers, it ends the attempt, or waits for a senior."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Attempt, Outcome, Phase, Reason
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.outputs import Final, Output, OutputType
from app.domain.questions import Ask, Purpose
from app.domain.tasks import Step, Task, step
from app.engine.ops import clocks, suspension
from app.engine.ops.attempts import facts_for
from app.engine.ops.endings import block_or_retry, change, end_attempt, settle, withdraw_all
from app.engine.ops.rules import EngineCfg
from app.spawning import stack
from app.spawning.ports import Escalate, LayerRegistry
from app.state.state import State
from app.state.tables import ATTEMPTS, OUTPUTS

Changes = dict[str, Any]
"""Columns of an attempt's row that are still to be written."""


def record(state: State, attempt: Attempt, kind: OutputType, body: Json) -> Changes:
    """One more output row and its event; what that changes in the attempt's own row is the caller's to write."""
    seq = attempt.outputs + 1
    OUTPUTS.insert(
        state.db,
        Output(task_id=attempt.task_id, attempt=attempt.attempt, seq=seq, type=kind, body=body, at=state.now),
    )
    state.emit(
        EventKind.WORKER_OUTPUT,
        task_id=attempt.task_id,
        session_id=attempt.session_id,
        attempt=attempt.attempt,
        type=kind.value,
        seq=seq,
    )
    return {"outputs": seq}


def append(state: State, cfg: EngineCfg, attempt: Attempt, kind: OutputType, body: Json) -> None:
    """Progress, partial or artifact of a live attempt; a sign of life."""
    changes = record(state, attempt, kind, body) | clocks.renewal(cfg, attempt, state.now)
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **changes)


def accept(
    state: State,
    layers: LayerRegistry,
    task: Task,
    attempt: Attempt,
    final: Final,
    *,
    worker_gone: bool = False,
) -> None:
    """Take a Final of a live attempt and do what its layers make of it, all in this transaction."""
    body = Json(f'{{"content":{{"kind":"inline","value":{final.value.text}}},"ok":{"true" if final.ok else "false"}}}')
    changes = record(state, attempt, OutputType.FINAL, body)
    changes |= {"final": final.value, "final_ok": final.ok}
    layered = attempt.layers.text != "[]" or layers.base_decides(attempt.kind)
    facts = facts_for(state, task, attempt) if layered else None
    decision = stack.settle(layers, facts, final) if facts is not None else final
    conclude(state, task, attempt, decision, changes, worker_gone=worker_gone)


def conclude(
    state: State,
    task: Task,
    attempt: Attempt,
    decision: Final | Escalate,
    changes: Changes,
    *,
    worker_gone: bool = False,
) -> None:
    """Carry a decision out: hold the attempt for a senior, pass the task, block it or plan the next attempt."""
    if isinstance(decision, Escalate):
        _hold(state, task, attempt, decision, changes)
        return
    outcome = Outcome.PASS if decision.ok else Outcome.BLOCKED
    end_attempt(state, attempt, outcome=outcome, reason=Reason.FINAL, worker_gone=worker_gone, **changes)
    if decision.ok:
        after = step(task.id, task.status, Step.FINAL_OK)
        settle(state, task, after, result=decision.value)
    else:
        what, reason = Step.FINAL_FAILED, Reason.FINAL
        block_or_retry(state, task, attempt, what=what, result=decision.value, reason=reason)


def _hold(state: State, task: Task, attempt: Attempt, escalation: Escalate, changes: Changes) -> None:
    """Suspend the task on a question of the engine's own; the Final waits with the attempt."""
    if task.open_questions:
        withdraw_all(state, task, "the worker has finished")
        task = change(state, task, open_questions=0)
    changes |= {"phase": Phase.HELD, "due_at": None, "held_by": escalation.layer}
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **changes)
    ask = Ask(question=escalation.question, answer_schema=escalation.answer_schema)
    suspension.put(
        state,
        task,
        attempt,
        ask,
        purpose=Purpose.ESCALATION,
        asked_by=f"layer:{escalation.layer}",
        asker_role="engine",
        bridge_id=None,
    )
    state.wake(f"attempt:{attempt.task_id}")
