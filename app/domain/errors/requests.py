"""Calls that name something which does not exist, or whose content cannot be accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.domain.errors.base import InvalidInput, NotFound

_COUNTED = {"values": "JSON values", "digits": "digits"}
"""What limits count that do not count bytes."""


@dataclass(eq=False)
class TaskNotFound(NotFound):
    """There is no such task."""

    code = "task-not-found"
    task_id: str

    def __str__(self) -> str:
        return f"There is no task {self.task_id}."


@dataclass(eq=False)
class AttemptNotFound(NotFound):
    """The task has no such attempt."""

    code = "attempt-not-found"
    task_id: str
    attempt: int

    def __str__(self) -> str:
        return f"Task {self.task_id} has no attempt {self.attempt}."


@dataclass(eq=False)
class SessionNotFound(NotFound):
    """There is no session with this id, or the credential belongs to none."""

    code = "session-not-found"
    session_id: str | None = None

    def __str__(self) -> str:
        return f"There is no session {self.session_id}." if self.session_id else "This credential has no session."


@dataclass(eq=False)
class ResumeKeyNotFound(NotFound):
    """There is no question with this key, or this caller may not see it."""

    code = "resume-key-not-found"
    key: str

    def __str__(self) -> str:
        return f"There is no question {self.key}."


@dataclass(eq=False)
class ResourceNotFound(NotFound):
    """There is no resource with this name."""

    code = "resource-not-found"
    key: str

    def __str__(self) -> str:
        return f"There is no resource named {self.key!r}."


@dataclass(eq=False)
class OutputNotFound(NotFound):
    """The attempt has no such output."""

    code = "output-not-found"
    task_id: str
    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"Attempt {self.attempt} of {self.task_id} has no output {self.seq}."


@dataclass(eq=False)
class LateResultNotFound(NotFound):
    """The attempt has no such late result."""

    code = "late-result-not-found"
    task_id: str
    attempt: int
    index: int

    def __str__(self) -> str:
        return f"Attempt {self.attempt} of {self.task_id} has no late result {self.index}."


@dataclass(eq=False)
class KeyNotFound(NotFound):
    """There is no API key or token record with this id."""

    code = "key-not-found"
    key_id: str

    def __str__(self) -> str:
        return f"There is no key or token {self.key_id}."


@dataclass(eq=False)
class LinkNotFound(NotFound):
    """No answer link with this secret or id can be used: it never was, or expired, or its question is closed."""

    code = "link-not-found"

    def __str__(self) -> str:
        return "This link cannot be used: it is mistyped, used or revoked, its time is over, or nobody waits now."


@dataclass(eq=False)
class HeldIdNotFound(NotFound):
    """Nobody holds this id of a bridge, hook or backend."""

    code = "id-not-found"
    id: str

    def __str__(self) -> str:
        return f"Nobody holds the id {self.id!r}."


@dataclass(eq=False)
class SkillNotFound(NotFound):
    """There is no skill with this id."""

    code = "skill-not-found"
    skill_id: str

    def __str__(self) -> str:
        return f"There is no skill {self.skill_id}."


@dataclass(eq=False)
class WebhookNotFound(NotFound):
    """There is no webhook with this id."""

    code = "webhook-not-found"
    webhook_id: str

    def __str__(self) -> str:
        return f"There is no webhook {self.webhook_id}."


@dataclass(eq=False)
class AnswerInvalid(InvalidInput):
    """The answer breaks the question's schema or is not one of its choices; the question stays open."""

    code = "answer-invalid"
    key: str
    reason: str
    path: str = ""

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"The answer does not fit the question's schema{where}: {self.reason}. The question is still open."


@dataclass(eq=False)
class DefaultRefused(InvalidInput):
    """A worker's question would be answered by its own default when nobody answers in time."""

    code = "default-refused"
    field: str = "on_deadline"

    def __str__(self) -> str:
        return (
            "A worker's question is not answered by silence. Use keep_waiting, escalate or block, or set "
            "questions.worker_default."
        )


@dataclass(eq=False)
class DispatchFailed(InvalidInput):
    """The spawner cannot be built or used as requested."""

    code = "dispatch-failed"
    reason: str

    def __str__(self) -> str:
        return f"The attempt cannot be dispatched: {self.reason}."


@dataclass(eq=False)
class WebhookInvalid(InvalidInput):
    """The fields of a new webhook contradict each other, or its template cannot be used."""

    code = "webhook-invalid"
    reason: str
    field: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}."


@dataclass(eq=False)
class IdempotencyMismatch(InvalidInput):
    """The idempotency key was used before with a different request."""

    code = "idempotency-mismatch"
    key: str

    def __str__(self) -> str:
        return f"The idempotency key {self.key!r} was used before with another request. Use a new key."


@dataclass(eq=False)
class InvalidRequest(InvalidInput):
    """A parameter or id is malformed."""

    code = "invalid-request"
    reason: str
    field: str | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


@dataclass(eq=False)
class InvalidName(InvalidInput):
    """A name is too long, empty, or has characters that names may not have."""

    code = "invalid-name"
    field: str
    reason: str

    def __str__(self) -> str:
        return f"The name in {self.field} cannot be used: {self.reason}."


@dataclass(eq=False)
class PayloadTooLarge(InvalidInput):
    """The content exceeds a limit. `what` is the limit's name in the section `limits` of the settings.

    `subject` says in the message what was too large.
    """

    code = "payload-too-large"
    what: str
    limit: int
    subject: str = field(default="What was sent", kw_only=True)

    def fields(self) -> dict[str, Any]:
        """Return the name of the limit and its value."""
        return {"what": self.what, "limit": self.limit}

    def __str__(self) -> str:
        unit = _COUNTED.get(self.what, "bytes")
        return f"{self.subject} exceeds the limit limits.{self.what} of {self.limit} {unit}. Send less, or a file_ref."
