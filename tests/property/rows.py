"""What must hold of every row, whatever has happened, and how rows and model compare."""

from typing import Any

from app.domain.attempts import Attempt
from app.domain.json import Json, same_json
from app.domain.questions import Question
from app.domain.tasks import Task
from app.domain.tokens import TokenRecord
from app.state.state import State
from app.state.tables import ATTEMPTS, LATE_RESULTS, OUTPUTS, QUESTIONS, TASKS, TOKENS
from tests.support.model import ModelAttempt, ModelQuestion, ModelTask

ALL_ROWS = [table.search() for table in (TASKS, ATTEMPTS, QUESTIONS, TOKENS, OUTPUTS, LATE_RESULTS)]


class Rows:
    """Every row that the model speaks of."""

    def __init__(self, state: State) -> None:
        found: list[Any] = [search.all(state.db) for search in ALL_ROWS]
        self.tasks: dict[str, Task] = {row.id: row for row in found[0]}
        self.attempts: dict[tuple[str, int], Attempt] = {(row.task_id, row.attempt): row for row in found[1]}
        self.questions: dict[str, Question] = {row.key: row for row in found[2]}
        self.tokens: list[TokenRecord] = found[3]
        self.outputs: list[Any] = found[4]
        self.late: list[Any] = found[5]


def same_task(task: ModelTask, row: Task) -> None:
    """The task is what the model has."""
    assert (row.status.value, row.attempt, row.live) == (task.status, len(task.attempts), task.live)
    assert (row.parent_task_id, row.spawn_depth) == (task.parent and task.parent.id, task.depth)
    assert (row.open_questions, row.retry_at) == (len(task.open()), task.retry_at)
    result = row.last_result.value if row.last_result is not None else None
    assert same_json(result, task.result), (result, task.result)


def same_attempt(attempt: ModelAttempt, row: Attempt, rows: Rows, finals: dict[tuple[str, int], Any]) -> None:
    """The attempt is what the model has, and a Final that was there once stays; `finals` remembers them."""
    assert (row.phase.value, row.reason and row.reason.value) == (attempt.phase, attempt.reason)
    assert row.due_at == attempt.due_at()
    assert row.outputs == attempt.outputs
    key = (row.task_id, row.attempt)
    found = [x for x in rows.outputs if (x.task_id, x.attempt) == key and x.type.value == "final"]
    assert len(found) + (row.final_seq is not None) == (row.final is not None) == (attempt.final is not None)
    assert row.final_seq in (None, row.outputs)
    if row.final is not None and attempt.final is not None:
        assert same_json(finals.setdefault(key, row.final.value), row.final.value)
        assert (row.final, row.final_ok) == (Json.of(attempt.final[0]), attempt.final[1])
    late = [(x.value, x.ok) for x in rows.late if (x.task_id, x.attempt) == key]
    assert late == [(Json.of(value), ok) for value, ok in attempt.late]


def same_question(question: ModelQuestion, row: Question, answers: dict[str, Any]) -> None:
    """The question is what the model has, and an answer that was there once stays; `answers` remembers them."""
    assert (row.status.value, row.due_at, row.bridge_id) == (question.status, question.due_at, question.bridge)
    if row.answer is not None:
        assert same_json(answers.setdefault(row.key, row.answer.value), row.answer.value)
        assert same_json(row.answer.value, question.answer)


def nothing_waits_for_nothing(rows: Rows) -> None:
    """Every task that is not settled has something durable to go on by, or is up to its dispatcher."""
    for row in rows.tasks.values():
        if row.status.value == "suspended":
            assert row.open_questions > 0
        if row.live:
            attempt = rows.attempts[(row.id, row.attempt)]
            assert row.status.value in ("running", "suspended")
            assert (
                attempt.due_at is not None
                or attempt.paused_at is not None
                or attempt.phase.value
                in (
                    "queued",
                    "held",
                )
            )
        if row.status.value == "running" and not row.live and row.retry_at is None:
            # Answered before it was ever dispatched: it awaits its dispatcher, as a pending task does.
            assert row.attempt == 0
        if row.settled_at is not None:
            assert (row.live, row.open_questions, row.retry_at) == (False, 0, None)


def credentials_stay_within_bounds(known: dict[str, ModelTask], rows: Rows) -> None:
    """No child has more than its parent; nothing lives below what was cancelled or revoked."""
    records = {record.jti: record for record in rows.tokens}
    for record in rows.tokens:
        parent = records.get(record.parent_jti or "")
        if parent is not None:
            assert record.expires_at <= parent.expires_at + 999  # a token carries its expiry in whole seconds
            assert parent.revoked_at is None or record.revoked_at is not None
        if record.task_id is not None and known[record.task_id].is_cancelled():
            assert record.revoked_at is not None
    for (task_id, _), attempt in rows.attempts.items():
        above = records.get(attempt.parent_jti or "")
        if attempt.is_live:
            assert not known[task_id].is_cancelled()
            assert above is None or above.revoked_at is None
