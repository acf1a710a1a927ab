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
    """A living API key, or a skill of the namespace, has this name. `first` is what gives the name free."""

    code = "name-taken"
    name: str
    kind: str = "living key"
    first: str = "revoke that key"

    def __str__(self) -> str:
        return f"There is a {self.kind} named {self.name!r}. Give another name, or {self.first} first."

    def fields(self) -> dict[str, Any]:
        """Return the name alone; the rest is for the message."""
        return {"name": self.name}


@dataclass(eq=False)
class SpawnDepthExceeded(Conflict):
    """The new task would lie deeper in the tree of tasks than `max_spawn_depth` allows."""

    code = "spawn-depth-exceeded"
    depth: int
    max_spawn_depth: int

    def __str__(self) -> str:
        return f"A task at depth {self.depth} is too deep: the deepest allowed is {self.max_spawn_depth}."


@dataclass(eq=False)
class NotApproved(Conflict):
    """Nobody approved the action, so that there is nothing to consume. `why` is for the message alone."""

    code = "not-approved"
    key: str
    why: str

    def fields(self) -> dict[str, Any]:
        """Return all fields but `why`."""
        return {"key": self.key}

    def __str__(self) -> str:
        return f"Question {self.key} has no approval to consume: {self.why}. Do not act."


@dataclass(eq=False)
class AlreadyConsumed(Conflict):
    """The approval was consumed before, by a call with another idempotency key."""

    code = "already-consumed"
    key: str

    def __str__(self) -> str:
        return (
            f"Question {self.key} allowed its action once, and that approval was consumed before: the action may have "
            "been carried out. Check before you ask anew."
        )


@dataclass(eq=False)
class ApprovalExpired(Conflict):
    """The approval was not consumed within its time."""

    code = "approval-expired"
    key: str

    def __str__(self) -> str:
        return f"The approval of question {self.key} has expired. Do not act; ask anew."


@dataclass(eq=False)
class ActionMismatch(Conflict):
    """The digest is not that of the action that was approved."""

    code = "action-mismatch"
    key: str

    def __str__(self) -> str:
        return f"Question {self.key} approves another action. Do not act; consume what was approved."


@dataclass(eq=False)
class NotConsumed(Conflict):
    """The approval was not consumed, so that nothing can have come of it."""

    code = "not-consumed"
    key: str

    def __str__(self) -> str:
        return f"The approval of question {self.key} is not consumed. Consume it first, act, then report."


@dataclass(eq=False)
class OutcomeRecorded(Conflict):
    """Another outcome is recorded; the first one stands."""

    code = "outcome-recorded"
    key: str
    status: str

    def __str__(self) -> str:
        return f"The action of question {self.key} has {self.status}, noted otherwise. The first outcome stands."
