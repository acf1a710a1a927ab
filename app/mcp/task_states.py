"""Questions and tasks as the protocol's tasks: the state that a row stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mcp import types

from app.domain.clock import system_clock
from app.engine.ops.reports import Outlook
from app.http.settings import HttpSettings
from app.mcp.calls import Value
from app.mcp.results import result_of
from app.mcp.tools.answers import answer_of
from app.mcp.tools.runs import run_of

FRAME = ("taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs")
"""The fields that a task has in every status."""
_PACES = ((timedelta(minutes=1), 2_000), (timedelta(hours=1), 10_000))
_SLOWEST_MS = 60_000
_MS = timedelta(milliseconds=1)


def state_of_question(question: Value, task: Value | None, settings: HttpSettings) -> Value:
    """Return the state of a question. `task` is the one that it belongs to, once it is settled."""
    status = question["status"]
    updated = question.get("answered_at") or (task["updated_at"] if task else question["asked_at"])
    ends = None if task is None else _kept_until(task, settings)
    frame = _frame(question["key"], question["asked_at"], updated, ends)
    if status == "open":
        return frame | {"status": "working", "statusMessage": waits_for(question)}
    if status == "withdrawn":
        return frame | _noted("cancelled", question.get("reason"))
    failed = status == "expired" and "answer" not in question
    result = result_of(answer_of(question), is_error=failed)
    return frame | _noted("completed", question.get("reason") if failed else None) | {"result": _dump(result)}


def waits_for(question: Value) -> str:
    """Return whom an open question waits for."""
    return f"It waits for an answer from {question.get('bridge_id', 'any senior')}."


def state_of_task(
    task: Value, outlook: Outlook | None, settings: HttpSettings, result: types.CallToolResult | None = None
) -> Value:
    """Return the state of a task, of which `outlook` is known unless it has passed or is cancelled.

    `result` is that of the call which made it, if that is not the task as a Run.
    """
    status = task["status"]
    frame = _frame(task["id"], task["created_at"], task["updated_at"], _kept_until(task, settings))
    if outlook is None:
        if status == "cancelled":
            return frame | {"status": status}
        return frame | {"status": "completed", "result": _dump(result or result_of(run_of(task)))}
    if status != "blocked" or outlook.tries_again:
        return frame | {"ttlMs": None} | _noted("working", outlook.waits_for)
    if outlook.failure is None:
        return frame | {"status": "completed", "result": _dump(result or result_of(run_of(task), is_error=True))}
    message = f"Task {task['id']} is blocked without a result: {outlook.failure}."
    error = {"code": types.INTERNAL_ERROR, "message": message, "data": {"code": outlook.failure}}
    return frame | {"status": "failed", "statusMessage": message, "error": error}


def _noted(status: str, message: str | None) -> Value:
    return {"status": status, **({} if message is None else {"statusMessage": message})}


def _frame(task_id: str, created_at: str, updated_at: str, ends: datetime | None) -> Value:
    """Return what is said of every task. Its life is counted from its creation, as the protocol has it."""
    created = datetime.fromisoformat(created_at)
    age = datetime.fromtimestamp(system_clock() / 1000, UTC) - created
    return {
        "taskId": task_id,
        "createdAt": created_at,
        "lastUpdatedAt": updated_at,
        "ttlMs": None if ends is None else (ends - created) // _MS,
        "pollIntervalMs": next((every for below, every in _PACES if age < below), _SLOWEST_MS),
    }


def _kept_until(task: Value, settings: HttpSettings) -> datetime | None:
    """Return when retention deletes a task, None while it is open and where nothing does."""
    kept = settings.blocked_kept if task["status"] == "blocked" else settings.finished_kept
    if "settled_at" not in task or kept is None:
        return None
    return datetime.fromisoformat(task["settled_at"]) + kept


def _dump(result: types.CallToolResult) -> Value:
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)
