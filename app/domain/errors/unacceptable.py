"""What is well-formed and cannot be accepted all the same."""

from __future__ import annotations

from app.domain.errors.root import Unacceptable


class AnswerInvalid(Unacceptable):
    """The answer breaks the question's schema or choices; the question stays open."""

    code = "answer-invalid"

    def __init__(self, key: str, reason: str, path: str = "") -> None:
        super().__init__(key, reason, path)
        self.key = key
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"The answer does not fit the question's schema{where}: {self.reason}. The question is still open."


class DispatchFailed(Unacceptable):
    """The spawner cannot be built or used as asked."""

    code = "dispatch-failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The attempt cannot be dispatched: {self.reason}."


class IdempotencyMismatch(Unacceptable):
    """The idempotency key was used before with another body."""

    code = "idempotency-mismatch"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"The idempotency key {self.key!r} was used before with another request. Use a new key."


class InvalidRequest(Unacceptable):
    """A parameter or id is malformed."""

    code = "invalid-request"

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason, field)
        self.reason = reason
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class PayloadTooLarge(Unacceptable):
    """The body or frame is larger than the limit."""

    code = "payload-too-large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"The body is larger than the limit of {self.limit_bytes} bytes. Send less, or a file_ref."
