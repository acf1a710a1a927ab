"""What does not exist, or not for this caller."""

from __future__ import annotations

from app.domain.errors.root import Missing


class TaskNotFound(Missing):
    """No such task."""

    code = "task-not-found"

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        return f"There is no task {self.task_id}."


class AttemptNotFound(Missing):
    """The task has no such attempt."""

    code = "attempt-not-found"

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(task_id, attempt)
        self.task_id = task_id
        self.attempt = attempt

    def __str__(self) -> str:
        return f"Task {self.task_id} has no attempt {self.attempt}."


class SessionNotFound(Missing):
    """No session of this id, or none bound to this token."""

    code = "session-not-found"

    def __init__(self, session_id: str | None = None) -> None:
        super().__init__(session_id)
        self.session_id = session_id

    def __str__(self) -> str:
        return f"There is no session {self.session_id}." if self.session_id else "This credential has no session."


class ResumeKeyNotFound(Missing):
    """No question of this key, or not for this caller."""

    code = "resume-key-not-found"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"There is no question {self.key}."


class ResourceNotFound(Missing):
    """No resource of this name."""

    code = "resource-not-found"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"There is no resource named {self.key!r}."


class LateResultNotFound(Missing):
    """The attempt has no such late result."""

    code = "late-result-not-found"

    def __init__(self, task_id: str, attempt: int, index: int) -> None:
        super().__init__(task_id, attempt, index)
        self.task_id = task_id
        self.attempt = attempt
        self.index = index

    def __str__(self) -> str:
        return f"Attempt {self.attempt} of {self.task_id} has no late result {self.index}."


class KeyNotFound(Missing):
    """No API key (or token record) of this id."""

    code = "key-not-found"

    def __init__(self, key_id: str) -> None:
        super().__init__(key_id)
        self.key_id = key_id

    def __str__(self) -> str:
        return f"There is no key or token {self.key_id}."


class WebhookNotFound(Missing):
    """No webhook of this id."""

    code = "webhook-not-found"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(webhook_id)
        self.webhook_id = webhook_id

    def __str__(self) -> str:
        return f"There is no webhook {self.webhook_id}."
