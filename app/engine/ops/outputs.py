"""What workers send before their Final: output events, each a row and an event on the feed."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Attempt
from app.domain.errors import InvalidRequest, PayloadTooLarge, QuotaExceeded
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.outputs import Output, OutputEvent, OutputType
from app.engine.ops import leases
from app.engine.ops.access import Reach, require_live
from app.engine.ops.rules import EngineCfg
from app.state.state import State
from app.state.tables import ATTEMPTS, OUTPUTS


def emit(state: State, cfg: EngineCfg, reach: Reach, event: OutputEvent) -> None:
    """Append progress, partial or artifact to the worker's live attempt; a heartbeat.

    Raises InvalidRequest, QuotaExceeded, PayloadTooLarge.
    """
    if event.type is OutputType.FINAL:
        raise InvalidRequest("a final result is submitted, not emitted", "type")
    require_live(reach)
    if reach.attempt.outputs >= cfg.limits.outputs:
        raise QuotaExceeded("outputs", cfg.limits.outputs, clears=False)
    if reach.attempt.output_bytes + _size(event.body) > cfg.limits.output_bytes:
        raise PayloadTooLarge("output_bytes", cfg.limits.output_bytes)
    append(state, cfg, reach.attempt, event)


def append(state: State, cfg: EngineCfg, attempt: Attempt, event: OutputEvent) -> None:
    """Append progress, partial or artifact to a live attempt; a heartbeat."""
    columns = record(state, attempt, event.type, event.body)
    columns |= {"output_bytes": attempt.output_bytes + _size(event.body)} | leases.renewal(cfg, attempt, state.now)
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **columns)


def _size(body: Json) -> int:
    return len(body.text.encode())


def record(state: State, attempt: Attempt, kind: OutputType, body: Json) -> dict[str, Any]:
    """Insert the output and emit its event. Returns the columns of the attempt's row that are still to be written."""
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
