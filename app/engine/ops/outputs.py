"""What workers send: output events, the Final that ends an attempt, and what came too late."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.attempts import Attempt, Phase, Reason
from app.domain.errors import (
    AttemptSuperseded,
    Cancelled,
    EngineError,
    FinalConflict,
    InvalidRequest,
    NotStarted,
)
from app.domain.events import EventKind
from app.domain.outputs import Final, LateResult, OutputEvent, OutputType
from app.domain.tasks import Status
from app.engine.ops import finals
from app.engine.ops.access import Reach, ended_because, require_live
from app.engine.ops.rules import EngineCfg
from app.spawning.ports import LayerRegistry
from app.state import schema
from app.state.state import Keep, State
from app.state.tables import ATTEMPTS, LATE_RESULTS, OUTPUTS

_O = schema.outputs.c
OUTPUTS_OF = OUTPUTS.search(
    _O.task_id == sa.bindparam("task_id"),
    _O.attempt == sa.bindparam("number"),
    _O.seq > sa.bindparam("after"),
    order=(_O.seq,),
    limit=True,
)
_L = schema.late_results.c
LATE_OF = LATE_RESULTS.search(
    _L.task_id == sa.bindparam("task_id"), _L.attempt == sa.bindparam("number"), order=(_L.index,)
)


def emit(state: State, cfg: EngineCfg, reach: Reach, event: OutputEvent) -> None:
    """Append progress, partial or artifact to the live attempt that was reached. A sign of life."""
    if event.type is OutputType.FINAL:
        raise InvalidRequest("a final result is submitted, not emitted", "type")
    require_live(reach)
    if reach.attempt.outputs >= cfg.max_outputs:
        raise InvalidRequest(f"an attempt has at most {cfg.max_outputs} outputs; submit the result", "type")
    finals.append(state, cfg, reach.attempt, event.type, event.body)


def submit(state: State, cfg: EngineCfg, layers: LayerRegistry, reach: Reach, final: Final) -> Keep[EngineError] | None:
    """The Final of the attempt that was reached. The first wins; the same again changes nothing.

    What it returns is the conflict to raise once what was sent is kept as a late result: Cancelled, AttemptSuperseded.
    Raises FinalConflict, NotStarted.
    """
    refusal = _refusal(state, cfg, reach, final)
    if refusal is None and reach.attempt.final is None:
        finals.accept(state, layers, reach.task, reach.attempt, final)
    return refusal


def _refusal(state: State, cfg: EngineCfg, reach: Reach, final: Final) -> Keep[EngineError] | None:
    task, attempt = reach.task, reach.attempt
    if attempt.phase in (Phase.WAITING, Phase.QUEUED):
        raise NotStarted(task.id, attempt.attempt)
    if task.status is Status.CANCELLED or attempt.reason is Reason.CANCELLED:
        _keep_late(state, cfg, attempt, final, "the task was cancelled")
        return Keep(Cancelled(task.id, kept=True))
    if attempt.final is not None:
        if attempt.final == final.value and attempt.final_ok == final.ok:
            return None
        if attempt.attempt == task.attempt:
            raise FinalConflict(task.id, attempt.attempt)
    elif attempt.is_live:
        return None
    _keep_late(state, cfg, attempt, final, ended_because(attempt))
    return Keep(AttemptSuperseded(task.id, attempt.attempt, ended_because(attempt), kept=True))


def _keep_late(state: State, cfg: EngineCfg, attempt: Attempt, final: Final, reason: str) -> None:
    """Keep it to be adopted, once per value and a bounded number of them."""
    known = LATE_OF.all(state.db, task_id=attempt.task_id, number=attempt.attempt)
    if len(known) >= cfg.max_late_results or any(late.value == final.value and late.ok == final.ok for late in known):
        return
    late = LateResult(
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        index=len(known),
        value=final.value,
        ok=final.ok,
        reason=reason,
        at=state.now,
        adopted_at=None,
        adopted_by=None,
    )
    LATE_RESULTS.insert(state.db, late)
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, late=late.index + 1)
    state.emit(EventKind.LATE_RESULT, task_id=late.task_id, attempt=late.attempt, index=late.index, reason=reason)
