"""Principals: the API keys that a call descends from, and what follows for those who decide on a question."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.access import Caller
from app.domain.errors import AskerCannotAnswer
from app.domain.json import Json
from app.domain.questions import Question, QuestionRules
from app.domain.tasks import Task
from app.engine.ops import audit
from app.engine.ops.queries import OPEN_QUESTIONS
from app.state.state import State
from app.state.tables import API_KEYS


def require_no_asker(
    state: State, rules: QuestionRules, caller: Caller, question: Question, *, decides: bool = True
) -> None:
    """Raise AskerCannotAnswer when the caller descends from a key that the question descends from.

    The root key and a person, each in a session of its own, may decide all the same, and so may everybody where the
    rules allow it; that is recorded unless the call decides nothing.
    """
    if caller.keys.isdisjoint(question.asker_keys.value):
        return
    if not (rules.self_answer or _is_exempt(state, caller)):
        raise AskerCannotAnswer(question.key)
    if not decides:
        return
    audit.record(
        state, caller, "self_answer", target=question.key, namespace=question.namespace, task_id=question.task_id
    )


def may_be_asked(state: State, caller: Caller, question: Question) -> bool:
    """Return whether a door may put the question to the caller: a person or the root key, and none that asked."""
    return _is_exempt(state, caller) and caller.keys.isdisjoint(question.asker_keys.value)


def require_may_pass(state: State, rules: QuestionRules, caller: Caller, task: Task) -> None:
    """Raise AskerCannotAnswer when the caller may not answer a question that is open on the task."""
    if task.open_questions:
        for question in OPEN_QUESTIONS.all(state.db, task_id=task.id):
            require_no_asker(state, rules, caller, question)


def _is_exempt(state: State, caller: Caller) -> bool:
    key = API_KEYS.get(state.db, caller.key_id or "")
    return key is not None and (key.root or key.person) and caller.session_id is not None and caller.attempt is None


def answered_through(state: State, caller: Caller, proof: Mapping[str, str] | None = None) -> Json:
    """Return how the caller answers: door, role, key and session, and the fields of `proof`, as those of a link."""
    key = None if caller.key_id is None else API_KEYS.get(state.db, caller.key_id)
    return Json.of(
        {
            "door": state.door.value,
            "role": caller.role.value,
            "key_id": caller.key_id,
            "key_name": None if key is None else key.name,
            "session_id": caller.session_id,
            **(proof or {}),
        }
    )
