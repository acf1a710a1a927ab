from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from swarmhold.models.attempts import Dispatched, DispatchOutcome
from swarmhold.models.events import Event
from swarmhold.models.problems import Problem
from swarmhold.models.questions import Question
from swarmhold.models.shapes import Page
from swarmhold.models.spawners import Spawner
from swarmhold.models.tasks import Task

TASK: dict[str, Any] = {
    "id": "T-0",
    "spec": {"agent": "a", "initial_directive": "do"},
    "status": "running",
    "attempt": 1,
    "suspended_on": [],
    "last_result": None,
    "spawn_depth": 0,
    "parent_task_id": None,
    "session_id": None,
    "labels": {},
    "retry": None,
    "version": 3,
    "created_at": "2026-01-01T00:00:00.000Z",
    "updated_at": "2026-01-01T00:00:01.500Z",
}
QUESTION: dict[str, Any] = {
    "key": "R-0",
    "task_id": "T-0",
    "attempt": 1,
    "agent": "a",
    "question": "go?",
    "on_deadline": "keep_waiting",
    "status": "open",
    "asked_at": "2026-01-01T00:00:00.000Z",
    "delivered_to": ["desk"],
}


def test_a_task_reads_and_writes_back_whole() -> None:
    """Fields that the wire always shows are written also when null."""
    assert Task.model_validate(TASK).model_dump(mode="json") == TASK


def test_a_field_from_the_future_is_kept() -> None:
    """Adding to a reply breaks no reader."""
    task = Task.model_validate({**TASK, "colour": "blue"})
    assert task.model_dump(mode="json")["colour"] == "blue"


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        ("pending", False),
        ("running", False),
        ("suspended", False),
        ("pass", True),
        ("blocked", True),
        ("cancelled", True),
    ],
)
def test_settled_means_that_waiting_is_over(status: str, settled: bool) -> None:
    """Blocked is settled, suspended is not."""
    assert Task.model_validate({**TASK, "status": status}).settled is settled


def test_absent_fields_of_a_question_stay_absent() -> None:
    """Also inside a page: an answer of null is an answer, no answer is not."""
    page = Page[Question].model_validate({"items": [QUESTION], "next_cursor": None})
    assert page.model_dump(mode="json") == {"items": [QUESTION], "next_cursor": None}
    answered = Question.model_validate({**QUESTION, "status": "answered", "answer": None})
    assert answered.has("answer")
    assert answered.model_dump(mode="json")["answer"] is None


def test_a_handle_is_not_shown_by_repr() -> None:
    """Logs of a reply do not tell the secret."""
    assert "wh-secret" not in repr(Dispatched(task_id="T-0", attempt=1, worker_handle="wh-secret"))


def test_an_outcome_shows_only_what_it_has() -> None:
    """A key comes with suspended, a value with an end."""
    suspended = DispatchOutcome.model_validate({"outcome": "suspended", "key": "R-0"})
    assert suspended.model_dump(mode="json") == {"outcome": "suspended", "key": "R-0"}


def test_an_event_carries_the_fields_of_its_kind() -> None:
    """They are extra fields of the model."""
    event = Event.model_validate(
        {"cursor": 7, "kind": "task_blocked", "at": "2026-01-31T09:30:00.000Z", "reason": "lost"}
    )
    assert event.model_extra == {"reason": "lost"}


def test_a_problem_separates_its_own_fields() -> None:
    """RFC 9457 members on one side, the code's on the other."""
    body = {"type": "t", "title": "T", "status": 409, "code": "final-conflict", "detail": "d", "attempt": 2}
    assert Problem.model_validate(body).fields == {"attempt": 2}


def test_a_reply_is_frozen() -> None:
    """What was said is not changed afterwards."""
    task = Task.model_validate(TASK)
    with pytest.raises(ValidationError):
        task.version = 4


def test_the_schema_requires_what_tells_models_apart() -> None:
    """A kind may be left out in Python, never on the wire; a custom kind is none of the built-in ones."""
    defs = TypeAdapter[Any](Spawner).json_schema()["$defs"]
    for name, schema in defs.items():
        assert "kind" in schema["required"], name
    assert "queue" in defs["CustomSpawner"]["properties"]["kind"]["not"]["enum"]
