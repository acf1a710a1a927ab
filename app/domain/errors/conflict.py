"""What does not fit the present state of things."""

from __future__ import annotations

from app.domain.errors.root import Conflict


class InvalidTransition(Conflict):
    """The table of states has no such step. Nothing was changed."""

    code = "invalid-transition"

    def __init__(self, task_id: str, status: str, operation: str, detail: str = "") -> None:
        super().__init__(task_id, status, operation, detail)
        self.task_id = task_id
        self.status = status
        self.operation = operation
        self._detail = detail

    def __str__(self) -> str:
        why = f": {self._detail}" if self._detail else ""
        return f"Task {self.task_id} is {self.status}; {self.operation} is not possible now{why}."


class FinalConflict(Conflict):
    """The attempt already has another Final; the first one stands."""

    code = "final-conflict"

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(task_id, attempt)
        self.task_id = task_id
        self.attempt = attempt

    def __str__(self) -> str:
        return f"Attempt {self.attempt} of {self.task_id} already has another final result. The first one stands."


class AttemptSuperseded(Conflict):
    """The attempt is over (replaced, lost, timed out or settled): its credential is spent."""

    code = "attempt-superseded"

    def __init__(self, task_id: str, attempt: int, reason: str, *, kept: bool = False) -> None:
        super().__init__(task_id, attempt, reason)
        self.task_id = task_id
        self.attempt = attempt
        self.reason = reason
        self.kept = kept

    def __str__(self) -> str:
        kept = " What it sent was kept as a late result, which an operator may adopt." if self.kept else ""
        return f"Attempt {self.attempt} of {self.task_id} is over ({self.reason}); its credential is spent.{kept}"


class Cancelled(Conflict):
    """The task was cancelled: stop working on it."""

    code = "cancelled"

    def __init__(self, task_id: str, *, kept: bool = False) -> None:
        super().__init__(task_id)
        self.task_id = task_id
        self.kept = kept

    def __str__(self) -> str:
        kept = " What it sent was kept as a late result." if self.kept else ""
        return f"Task {self.task_id} was cancelled. Stop working on it.{kept}"


class NotStarted(Conflict):
    """The attempt has not begun: its spawn hook has not agreed yet, or nobody has claimed it, or there is none."""

    code = "not-started"

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(task_id, attempt)
        self.task_id = task_id
        self.attempt = attempt

    def __str__(self) -> str:
        return (
            f"Attempt {self.attempt} of {self.task_id} has not started yet: "
            "it has to be dispatched, agreed to by its spawn hook or claimed from its queue first."
        )


class AlreadyAnswered(Conflict):
    """Another answer came first and stands."""

    code = "already-answered"

    def __init__(self, key: str, answered_by: str | None) -> None:
        super().__init__(key, answered_by)
        self.key = key
        self.answered_by = answered_by

    def __str__(self) -> str:
        who = f" by {self.answered_by}" if self.answered_by else ""
        return f"Question {self.key} was already answered{who} with another value. The first answer stands."


class QuestionClosed(Conflict):
    """The question was withdrawn or its deadline passed."""

    code = "question-closed"

    def __init__(self, key: str, status: str) -> None:
        super().__init__(key, status)
        self.key = key
        self.status = status

    def __str__(self) -> str:
        return f"Question {self.key} is {self.status}; it takes no answer any more."


class SpawnDepthExceeded(Conflict):
    """The tree of tasks is as deep as it may be."""

    code = "spawn-depth-exceeded"

    def __init__(self, depth: int, max_spawn_depth: int) -> None:
        super().__init__(depth, max_spawn_depth)
        self.depth = depth
        self.max_spawn_depth = max_spawn_depth

    def __str__(self) -> str:
        return f"A task at depth {self.depth} is too deep: the deepest allowed is {self.max_spawn_depth}."
