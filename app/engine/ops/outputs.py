"""Outputs of workers: each is a row and an event on the feed; a Final is stored with its attempt, unless it is held."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.attempts import Attempt
from app.domain.errors import InvalidRequest, OutputNotFound, PayloadTooLarge, QuotaExceeded
from app.domain.events import EventKind
from app.domain.json import NULL, Json
from app.domain.limits import Limits
from app.domain.outputs import Final, Output, OutputEvent, OutputType
from app.engine.ops import leases, usage
from app.engine.ops.access import WorkerRows, require_live
from app.engine.ops.attempts import FinalGlance
from app.engine.ops.pages import Page, preview
from app.engine.ops.rules import EngineCfg
from app.state import schema
from app.state.paging import ITEM_BYTES, FoundRow, PageBounds, PageSearch
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, OUTPUTS

_O = schema.outputs.c
_PAGES = PageSearch(
    OUTPUTS,
    _O.task_id == sa.bindparam("of_task"),
    _O.attempt == sa.bindparam("of_attempt"),
    _O.seq > sa.bindparam("behind"),
    order=(_O.seq,),
    long=("body",),
)
_OF_ATTEMPT = OUTPUTS.search(
    _O.task_id == sa.bindparam("task_id"), _O.attempt == sa.bindparam("number"), order=(_O.seq,), limit=True
)
_LENGTH = Statement(
    sa.select(sa.func.octet_length(_O.body)).where(
        _O.task_id == sa.bindparam("of_task"),
        _O.attempt == sa.bindparam("of_attempt"),
        _O.seq == sa.bindparam("of_seq"),
    )
)
DROPPED_STAGE = "outputs dropped"
"""Stage of the progress that says that an attempt's outputs are dropped."""
_ENVELOPE_BYTES = 64
"""What the fields around a value may need."""
_BEGINNING_BYTES = 4096
"""Enough to read the short fields that precede a long one."""
_SHORT_FIELD = re.compile(r'\{"(name|stage)":("(?:[^"\\]|\\.)*"),"(content|note)":')


@dataclass(frozen=True, slots=True)
class LongOutput:
    """An output that is too long for a list: its row without the body, and the body's size in bytes.

    `fields` are the short ones that could be read, `cut` names the long one and any after it.
    """

    row: Output
    bytes: int
    fields: dict[str, Json]
    cut: tuple[str, ...]


def emit(state: State, cfg: EngineCfg, worker: WorkerRows, event: OutputEvent) -> None:
    """Append progress, partial or artifact to the worker's live attempt, or add to what it used; a heartbeat.

    Raises InvalidRequest, QuotaExceeded, PayloadTooLarge.
    """
    if event.type is OutputType.FINAL:
        raise InvalidRequest("a final result is submitted, not emitted", "type")
    require_live(worker)
    if event.type is OutputType.USAGE:
        usage.add(state, worker.attempt, event.body)
        leases.record_heartbeat(state, cfg, worker.attempt)
        return
    match _reached(cfg.limits, worker.attempt, event):
        case "outputs":
            raise QuotaExceeded("outputs", cfg.limits.outputs, clears=False)
        case "output_bytes":
            raise PayloadTooLarge("output_bytes", cfg.limits.output_bytes)
        case _:
            _append(state, cfg, worker.attempt, event)


def append_or_drop(state: State, cfg: EngineCfg, attempt: Attempt, event: OutputEvent) -> bool:
    """Append an output of a worker that the server drives; return whether it was dropped, as all are after the first.

    The attempt goes on: a progress output says once that its outputs are dropped.
    """
    if event.type is OutputType.USAGE:
        usage.add(state, attempt, event.body)
        leases.record_heartbeat(state, cfg, attempt)
        return False
    reached = _reached(cfg.limits, attempt, event)
    if reached is None:
        _append(state, cfg, attempt, event)
    elif attempt.output_bytes <= cfg.limits.output_bytes:
        note = f"the limit limits.{reached} is reached: this output and all that follow are dropped"
        full = attempt._replace(output_bytes=cfg.limits.output_bytes + 1)
        _append(state, cfg, full, OutputEvent.progress(DROPPED_STAGE, note))
    return reached is not None


def _reached(limits: Limits, attempt: Attempt, event: OutputEvent) -> str | None:
    """Return the name of the limit that one more output exceeds."""
    if attempt.outputs >= limits.outputs:
        return "outputs"
    return "output_bytes" if attempt.output_bytes + _size(event.body) > limits.output_bytes else None


def _append(state: State, cfg: EngineCfg, attempt: Attempt, event: OutputEvent) -> None:
    columns = record(state, attempt, event.type, event.body)
    columns |= {"output_bytes": attempt.output_bytes + _size(event.body)} | leases.renewal(cfg, attempt, state.now)
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **columns)


def _size(body: Json) -> int:
    return len(body.text.encode())


def record(state: State, attempt: Attempt, kind: OutputType, body: Json) -> dict[str, Any]:
    """Insert the output and emit its event. Returns the columns of the attempt's row that are still to be written."""
    columns = announce(state, attempt, kind)
    seq = columns["outputs"]
    OUTPUTS.insert(
        state.db,
        Output(task_id=attempt.task_id, attempt=attempt.attempt, seq=seq, type=kind, body=body, at=state.now),
    )
    return columns


def announce(state: State, attempt: Attempt, kind: OutputType) -> dict[str, Any]:
    """Number the next output and emit its event. Returns the columns of the attempt's row that are to be written."""
    seq = attempt.outputs + 1
    state.emit(
        EventKind.WORKER_OUTPUT,
        namespace=attempt.namespace,
        task_id=attempt.task_id,
        session_id=attempt.session_id,
        attempt=attempt.attempt,
        type=kind,
        seq=seq,
    )
    return {"outputs": seq}


def page(
    state: State, limits: Limits, task_id: str, attempt: int, final: FinalGlance | None, *, limit: int, after: int
) -> Page[Output | LongOutput]:
    """Return the outputs of an attempt with numbers above `after`, in order."""
    bounds = PageBounds(
        items=limit,
        bytes=limits.page_bytes,
        long_bytes=limits.inline_output_bytes + _ENVELOPE_BYTES,
        shown_bytes=_BEGINNING_BYTES,
    )
    found = _PAGES.page(state.db, bounds, of_task=task_id, of_attempt=attempt, behind=after)
    ok = None if final is None else final.ok
    items = [_long(row, ok) if row.long else row.row for row in found.rows]
    if found.more or final is None or final.seq is None or final.seq <= after:
        return Page(items, str(found.rows[-1].row.seq) if found.more else None)
    is_long = final.bytes > bounds.long_bytes
    size = ITEM_BYTES + (bounds.shown_bytes if is_long else final.bytes)
    if items and (len(items) >= limit or found.bytes + size > bounds.bytes):
        return Page(items, str(found.rows[-1].row.seq))
    return Page([*items, _final_item(state, task_id, attempt, final, is_long=is_long)], None)


def _final_item(state: State, task_id: str, attempt: int, final: FinalGlance, *, is_long: bool) -> Output | LongOutput:
    """Return a Final that is stored with its attempt."""
    if not is_long:
        return find(state, task_id, attempt, final.seq or 0)
    row = Output(
        task_id=task_id, attempt=attempt, seq=final.seq or 0, type=OutputType.FINAL, body=NULL, at=final.at or 0
    )
    return LongOutput(row, final.bytes, {"ok": Json.of(final.ok)}, ("content",))


def tail(state: State, limits: Limits, task_id: str, attempt: int) -> list[Output]:
    """Return all outputs of an attempt, in order; none for an attempt that does not exist."""
    found = _OF_ATTEMPT.all(state.db, task_id=task_id, number=attempt, limit=limits.outputs + 1)
    row = ATTEMPTS.get(state.db, task_id, attempt)
    return found if row is None or row.final_seq is None else [*found, _final(row)]


def _final(attempt: Attempt) -> Output:
    """Return the output of a Final that is stored with its attempt alone."""
    return Output(
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        seq=attempt.final_seq or 0,
        type=OutputType.FINAL,
        body=Final(value=attempt.final or NULL, ok=bool(attempt.final_ok)).body,
        at=attempt.ended_at or 0,
    )


def _long(found: FoundRow[Output], ok: bool | None) -> LongOutput:
    """Return a long output with the short fields that its beginning shows."""
    row, body = found.row, found.long["body"]
    match row.type:
        case OutputType.PARTIAL:
            return LongOutput(row, body.bytes, {}, ("chunk",))
        case OutputType.FINAL:
            return LongOutput(row, body.bytes, {"ok": Json.of(ok)}, ("content",))
        case OutputType.ARTIFACT | OutputType.PROGRESS | OutputType.USAGE:
            short, long = ("name", "content") if row.type is OutputType.ARTIFACT else ("stage", "note")
            read = _SHORT_FIELD.match(body.text)
            if read is None or read.group(1) != short:
                return LongOutput(row, body.bytes, {}, (short, long))
            fields = {short: Json(read.group(2))}
            if long == "note":
                fields[long] = preview(body.text[read.end() :])
            return LongOutput(row, body.bytes, fields, (long,))


def length(state: State, task_id: str, attempt: int, seq: int, final: FinalGlance | None) -> int:
    """Return how long an output is, in bytes. Raises OutputNotFound."""
    if final is not None and final.seq == seq:
        return final.bytes
    found = _LENGTH.query(state.db, of_task=task_id, of_attempt=attempt, of_seq=seq)
    if not found:
        raise OutputNotFound(task_id, attempt, seq)
    return found[0][0]


def find(state: State, task_id: str, attempt: int, seq: int) -> Output:
    """Return one output. Raises OutputNotFound."""
    row = OUTPUTS.get(state.db, task_id, attempt, seq)
    if row is not None:
        return row
    ended = ATTEMPTS.get(state.db, task_id, attempt)
    if ended is None or ended.final_seq != seq:
        raise OutputNotFound(task_id, attempt, seq)
    return _final(ended)
