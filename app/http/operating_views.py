"""Replies of the calls that operators look at the swarm with: workers, minutes, and changes of many tasks."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.clock import to_rfc3339 as at
from app.engine.ops.listeners import Held, Listening, QueueRow, WorkerRow
from app.engine.ops.minutes import Minute
from app.engine.selections import Changed
from app.http.views import View, at_or_none, present


def changed(found: Changed) -> View:
    """Render how many tasks a call changed."""
    reasons = [{"task_id": task_id, "detail": detail} for task_id, detail in found.reasons]
    return {
        "count": found.count,
        "skipped": found.skipped,
        "reasons": reasons,
        "next_cursor": found.next_cursor,
    }


def workers(found: tuple[Sequence[WorkerRow], Sequence[QueueRow]]) -> View:
    """Render the workers of a namespace and its queues."""
    rows, queues = found
    return {"items": [_worker(row) for row in rows], "queues": [row._asdict() for row in queues]}


def _worker(row: WorkerRow) -> View:
    return {
        "worker": row.worker,
        "key_id": row.key_id,
        "key_name": row.key_name,
        "queues": [_queue(one) for one in row.queues],
        "held": row.held,
        "holds": [_held(one) for one in row.holds],
    }


def _queue(row: Listening) -> View:
    return {"queue": row.queue, "listening": row.listening, "since": at(row.since), "last_seen": at(row.last_seen)}


def _held(row: Held) -> View:
    return {
        "task_id": row.task_id,
        "attempt": row.attempt,
        "agent": row.agent,
        "queue": row.queue,
        "since": at(row.since),
        **present(last_seen_at=at_or_none(row.last_seen_at)),
    }


def history(found: Sequence[Minute]) -> View:
    """Render what happened in each minute."""
    return {"items": [_minute(row) for row in found]}


def _minute(row: Minute) -> View:
    oldest = at_or_none(row.oldest_question_at)
    shown = row._asdict() | {"at": at(row.at)}
    del shown["oldest_question_at"]
    return {**shown, **present(oldest_question_at=oldest)}
