"""The names and attributes of spans. Those of GenAI are in development, so that they stand here and nowhere else."""

from __future__ import annotations

from app.domain.attempts import Attempt
from app.domain.json import Json
from app.domain.questions import Question
from app.domain.tasks import Task

Attributes = dict[str, str | int | bool]

LONGEST_CONTENT = 8192
"""Characters of a prompt, result, question or answer."""
_OPERATION = "gen_ai.operation.name"
_AGENT = "gen_ai.agent.name"
_CONVERSATION = "gen_ai.conversation.id"
_INPUT = "gen_ai.input.messages"
_OUTPUT = "gen_ai.output.messages"
_INVOKE = "invoke_agent"

TASK, ATTEMPT, DOOR = "swarmhold.task.id", "swarmhold.attempt", "swarmhold.door"
QUESTION_KEY = "swarmhold.question.key"
OUTCOME, REASON = "swarmhold.outcome", "swarmhold.reason"
MCP_METHOD = "mcp.method.name"
METHOD, ROUTE, STATUS = "http.request.method", "http.route", "http.response.status_code"
SCHEME, PATH = "url.scheme", "url.path"
ERROR = "error.type"


def name_of_attempt(attempt: Attempt) -> str:
    """Return the name of an attempt's span."""
    return f"{_INVOKE} {attempt.agent}"


def name_of_question(question: Question) -> str:
    """Return the name of a question's span."""
    return f"swarmhold.question {question.agent}"


def of_attempt(task: Task, attempt: Attempt, *, content: bool) -> Attributes:
    """Return the attributes of an attempt's span."""
    found: Attributes = {_OPERATION: _INVOKE, _AGENT: attempt.agent, TASK: task.id, ATTEMPT: attempt.attempt}
    if attempt.session_id is not None:
        found[_CONVERSATION] = attempt.session_id
    if attempt.outcome is not None:
        found[OUTCOME] = attempt.outcome.value
    if attempt.reason is not None:
        found[REASON] = attempt.reason.value
    if content:
        found[_INPUT] = _message("user", attempt.prompt or task.directive)
        if attempt.final is not None:
            found[_OUTPUT] = _message("assistant", attempt.final)
    return found


def of_question(task: Task, question: Question, *, content: bool) -> Attributes:
    """Return the attributes of a question's span."""
    found: Attributes = {_AGENT: question.agent, TASK: task.id, QUESTION_KEY: question.key}
    found[OUTCOME] = question.status.value
    if question.attempt:
        found[ATTEMPT] = question.attempt
    if task.session_id is not None:
        found[_CONVERSATION] = task.session_id
    door = None if question.answered_through is None else question.answered_through.value.get("door")
    if door is not None:
        found[DOOR] = door
    if content:
        found["swarmhold.question"] = _text(question.question)
        if question.answer is not None:
            found["swarmhold.answer"] = _text(question.answer)
    return found


def _message(role: str, value: Json) -> str:
    part = {"type": "text", "content": _text(value)}
    return Json.of([{"role": role, "parts": [part]}]).text


def _text(value: Json) -> str:
    written = value.written if value.text.startswith('"') else value.text
    return str(written)[:LONGEST_CONTENT]
