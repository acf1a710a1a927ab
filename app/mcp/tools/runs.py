"""Runs: a task as tools return it."""

from __future__ import annotations

from app.mcp.calls import Value
from app.mcp.tools.tool import TEXT

RUN: Value = {
    "type": "object",
    "properties": {
        "open": {"type": "boolean"},
        "task_id": TEXT,
        "status": TEXT,
        "attempt": {"type": "integer"},
        "result": {},
        "waits_for": {"type": "array", "items": TEXT},
        "next": TEXT,
    },
    "required": ["open", "task_id", "status", "attempt"],
}

_OPEN = ("pending", "running", "suspended")


def run_of(task: Value) -> Value:
    """Return a task as a Run."""
    is_open = task["status"] in _OPEN
    found: Value = {"open": is_open, "task_id": task["id"], "status": task["status"], "attempt": task["attempt"]}
    if task.get("last_result") is not None:
        found["result"] = task["last_result"]
    if task.get("suspended_on"):
        found["waits_for"] = task["suspended_on"]
    if is_open:
        found["next"] = "It is not done. Call get_task with this id later, or why to learn what it waits for."
    return found
