"""The engine's rows as they look on the wire.

Plain dicts for orjson, JSON columns embedded as they are stored. An optional field that has no value is left out where
the wire marks it with a question mark, and null elsewhere.
"""

from __future__ import annotations

from typing import Any, cast

import orjson

from app.domain.attempts import Attempt, Dispatched, DispatchOutcome, WorkerPayload
from app.domain.clock import to_rfc3339 as at
from app.domain.json import Json
from app.domain.outputs import LateResult, Output
from app.domain.questions import Question, QuestionStatus
from app.domain.sessions import Session
from app.domain.tasks import Task, TaskState
from app.domain.tokens import ApiKey
from app.engine.credentials import Inspection

View = dict[str, Any]


def at_or_none(instant: int | None) -> str | None:
    """Render an instant as `at` does, or null when it is missing."""
    return None if instant is None else at(instant)


def fragment(value: Json | None) -> orjson.Fragment | None:
    """Return a JSON column for embedding, null when it is empty."""
    return None if value is None else value.fragment


def present(**fields: Any) -> View:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def task(state: TaskState) -> View:
    """Return the view of a task."""
    row = state.task
    return {
        "id": row.id,
        "spec": {"agent": row.agent, "initial_directive": row.directive.fragment},
        "status": row.status.value,
        "attempt": row.attempt,
        "suspended_on": state.suspended_on,
        "last_result": fragment(row.last_result),
        "spawn_depth": row.spawn_depth,
        "parent_task_id": row.parent_task_id,
        "session_id": row.session_id,
        "labels": row.labels.fragment,
        "retry": fragment(row.retry),
        "version": row.version,
        "created_at": at(row.created_at),
        "updated_at": at(row.updated_at),
    }


def etag(state: TaskState) -> str:
    """Return the task's version as an entity tag (RFC 9110, section 8.8.3)."""
    return f'"{state.task.version}"'


def dispatched(row: Dispatched) -> View:
    """Return the view of a new attempt, with its handle only if the dispatcher has to pass it on."""
    return {
        "task_id": row.task_id,
        "attempt": row.attempt,
        **present(worker_handle=row.handle, expires_at=at_or_none(row.expires_at)),
    }


def outcome(row: DispatchOutcome) -> View:
    """Return the view of a dispatch's outcome."""
    return {"outcome": row.outcome.value, **present(value=fragment(row.value), key=row.key, reason=row.reason)}


def output(row: Output) -> View:
    """Return the view of an output."""
    return {**row.body.value, "type": row.type.value, "seq": row.seq, "at": at(row.at)}


def attempt(row: Attempt, task: Task) -> View:
    """Return the view of an attempt. Without a prompt of its own it has the task's."""
    ended: View = {}
    if row.final is not None:
        ended["final"] = {"value": row.final.fragment, "ok": row.final_ok}
    return {
        "task_id": row.task_id,
        "attempt": row.attempt,
        "status": "live" if row.is_live else "ended",
        "phase": row.phase.value,
        "agent": task.agent,
        "spawner": row.spawner.fragment,
        "layers": row.layers.fragment,
        "prompt": (row.prompt or task.directive).fragment,
        "started_at": at(row.started_at),
        "late_results": row.late,
        **present(
            outcome=row.outcome,
            reason=row.reason,
            detail=row.detail,
            worker_id=row.worker_id,
            system=fragment(row.system),
            ended_at=at_or_none(row.ended_at),
            lease_expires_at=at_or_none(row.lease_expires_at),
            timeout_at=at_or_none(row.timeout_at),
            last_seen_at=at_or_none(row.last_seen_at),
            owner=row.owner,
            session_id=row.session_id,
        ),
        **ended,
    }


def late(row: LateResult) -> View:
    """Return the view of a late result."""
    return {
        "index": row.index,
        "task_id": row.task_id,
        "attempt": row.attempt,
        "value": row.value.fragment,
        "ok": row.ok,
        "reason": row.reason,
        "received_at": at(row.at),
        **present(adopted_at=at_or_none(row.adopted_at), adopted_by=row.adopted_by),
    }


def question(row: Question) -> View:
    """Return the view of a question, with its answer once there is one."""
    shown: View = {
        "key": row.key,
        "task_id": row.task_id,
        "attempt": row.attempt,
        "agent": row.agent,
        "question": row.question.fragment,
        **present(
            answer_schema=fragment(row.answer_schema),
            choices=fragment(row.choices),
            bridge_id=row.bridge_id,
            deadline=at_or_none(row.deadline),
            default=fragment(row.default_answer),
            escalate_to=row.escalate_to,
        ),
        "on_deadline": row.on_deadline.value,
        "status": row.status.value,
        "asked_at": at(row.asked_at),
        **present(answered_by=row.answered_by, answered_at=at_or_none(row.answered_at), reason=row.reason),
        "delivered_to": row.delivered_to.fragment,
    }
    if row.status is QuestionStatus.ANSWERED or row.answer is not None:
        shown["answer"] = fragment(row.answer)
    return shown


def session(row: Session) -> View:
    """Return the view of a session, without its token."""
    return {
        "id": row.id,
        "operator_id": row.operator_id,
        "role": row.role.value,
        "kind": row.kind,
        "attached": row.attached,
        "attached_at": at(row.attached_at),
        "last_seen": at(row.last_seen),
        "bridge_id": row.bridge_id,
        "hook_id": row.hook_id,
        "operator_backend_id": row.operator_backend_id,
        "operator_kind_overrides": row.operator_kind_overrides.fragment,
        "bp_agent_kinds": row.bp_agent_kinds.fragment,
        "bp_global_kind": row.bp_global_kind,
        "rebuildable": row.rebuildable,
        "detached_at": at_or_none(row.detached_at),
        "expires_at": at(row.expires_at),
    }


def api_key(row: ApiKey) -> View:
    """Return the view of an API key, without its text."""
    return {
        "id": row.id,
        "name": row.name,
        "roles": row.roles.split(),
        "root": row.root,
        "created_at": at(row.created_at),
        **present(expires_at=at_or_none(row.expires_at), revoked_at=at_or_none(row.revoked_at)),
    }


def payload(row: WorkerPayload) -> View:
    """Return the view of a worker's payload."""
    answers = [
        {**answer, "answered_at": at_or_none(cast("int | None", answer["answered_at"]))} for answer in row.answers
    ]
    return {
        "task_id": row.task_id,
        "attempt": row.attempt,
        "agent": row.agent,
        **present(system=row.system),
        "prompt": row.prompt,
        "answers": answers,
    }


_INSTANTS = frozenset({"since", "until", "at", "deadline", "last_seen_at", "asked_at", "oldest_open_question_at"})


def report(value: Any) -> Any:
    """Return a report of the engine with its instants as text, without empty fields."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {
            name: at(field) if name in _INSTANTS and isinstance(field, int) else report(field)
            for name, field in fields.items()
            if not (name in _INSTANTS and field is None)
        }
    if isinstance(value, list):
        return [report(item) for item in cast("list[Any]", value)]
    return value


def inspection(row: Inspection) -> View:
    """Return the view of a token's claims."""
    return {
        "valid": row.valid,
        **present(code=row.code),
        "role": row.role,
        "sub": row.subject,
        "expires_at": at_or_none(row.expires_at),
        "uses_left": row.uses_left,
    }


def page(items: list[View], next_cursor: str | None = None) -> View:
    """Return the view of one page."""
    return {"items": items, "next_cursor": next_cursor}
