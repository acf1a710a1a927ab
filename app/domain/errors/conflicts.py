"""Calls that do not fit the current state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.domain.errors.base import Conflict


@dataclass(eq=False)
class InvalidTransition(Conflict):
    """The task's status does not allow the operation. Nothing was changed."""

    code = "invalid-transition"
    task_id: str
    status: str
    operation: str
    detail: str = ""

    def fields(self) -> dict[str, Any]:
        """Return all fields but `detail`, which is for the message alone."""
        return {"task_id": self.task_id, "status": self.status, "operation": self.operation}

    def __str__(self) -> str:
        why = f": {self.detail}" if self.detail else ""
        return f"Task {self.task_id} is {self.status}; {self.operation} is not possible now{why}."


@dataclass(eq=False)
class FinalConflict(Conflict):
    """The attempt already has a different Final; the first one stands."""

    code = "final-conflict"
    task_id: str
    attempt: int

    def __str__(self) -> str:
        return f"Attempt {self.attempt} of {self.task_id} already has another final result. The first one stands."


@dataclass(eq=False)
class AttemptSuperseded(Conflict):
    """The attempt is over (replaced, lost, timed out or settled), and its credential with it.

    `kept`: what it sent was stored as a late result.
    """

    code = "attempt-superseded"
    task_id: str
    attempt: int
    reason: str
    kept: bool = field(default=False, kw_only=True)

    def __str__(self) -> str:
        kept = " What it sent was kept as a late result, which an operator may adopt." if self.kept else ""
        return f"Attempt {self.attempt} of {self.task_id} is over ({self.reason}), and so is its credential.{kept}"


@dataclass(eq=False)
class Cancelled(Conflict):
    """The task was cancelled. `kept`: what its worker sent was stored as a late result."""

    code = "cancelled"
    task_id: str
    kept: bool = field(default=False, kw_only=True)

    def __str__(self) -> str:
        kept = " What it sent was kept as a late result." if self.kept else ""
        return f"Task {self.task_id} was cancelled. Stop working on it.{kept}"


@dataclass(eq=False)
class NotStarted(Conflict):
    """The attempt has not started: it was not dispatched, approved by its spawn hook, or claimed yet."""

    code = "not-started"
    task_id: str
    attempt: int

    def __str__(self) -> str:
        return (
            f"Attempt {self.attempt} of {self.task_id} has not started yet: "
            "it has to be dispatched, approved by its spawn hook or claimed from its queue first."
        )


@dataclass(eq=False)
class AlreadyAnswered(Conflict):
    """The question already has a different answer; the first one stands."""

    code = "already-answered"
    key: str
    answered_by: str | None

    def __str__(self) -> str:
        who = f" by {self.answered_by}" if self.answered_by else ""
        return f"Question {self.key} was already answered{who} with another value. The first answer stands."


@dataclass(eq=False)
class QuestionClosed(Conflict):
    """The question was withdrawn, or its deadline passed."""

    code = "question-closed"
    key: str
    status: str

    def __str__(self) -> str:
        return f"Question {self.key} is {self.status} and can no longer be answered."


@dataclass(eq=False)
class NameTaken(Conflict):
    """A living API key has this name."""

    code = "name-taken"
    name: str

    def __str__(self) -> str:
        return f"There is a living key named {self.name!r}. Give another name, or revoke that key first."


@dataclass(eq=False)
class SpawnDepthExceeded(Conflict):
    """The new task would lie deeper in the tree of tasks than `max_spawn_depth` allows."""

    code = "spawn-depth-exceeded"
    depth: int
    max_spawn_depth: int

    def __str__(self) -> str:
        return f"A task at depth {self.depth} is too deep: the deepest allowed is {self.max_spawn_depth}."
