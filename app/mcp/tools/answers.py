"""Answers: a question as tools return it."""

from __future__ import annotations

from app.mcp.calls import Value
from app.mcp.tools.tool import TEXT

ANSWER: Value = {
    "type": "object",
    "properties": {
        "open": {"type": "boolean"},
        "key": TEXT,
        "status": TEXT,
        "answer": {},
        "answered_by": TEXT,
        "next": TEXT,
    },
    "required": ["open", "key", "status"],
}


def answer_of(question: Value) -> Value:
    """Return a question as an Answer."""
    is_open = question["status"] == "open"
    found: Value = {"open": is_open, "key": question["key"], "status": question["status"]}
    found |= {name: question[name] for name in ("answer", "answered_by") if question.get(name) is not None}
    if question["status"] == "answered":
        found["answer"] = question.get("answer")
    if is_open:
        found["next"] = "Nobody has answered yet. Call get_answer with this key later; do not ask again or act before."
    return found
