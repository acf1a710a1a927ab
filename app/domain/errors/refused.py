"""What a credential does not allow."""

from __future__ import annotations

from math import ceil

from app.domain.errors.root import Refused


class Unauthenticated(Refused):
    """No credential, or one that is of no use. The edge never says which of these it was."""

    code = "unauthenticated"

    def __init__(self, reason: str = "missing") -> None:
        super().__init__(reason)
        self._reason = reason

    @property
    def reason(self) -> str:
        """Why, for the audit log only."""
        return self._reason

    def __str__(self) -> str:
        return "A valid credential is needed: send it as 'Authorization: Bearer …'."


class BadSignature(Refused):
    """The token was not signed by a key of this server, or is not a token at all."""

    code = "bad-signature"

    def __str__(self) -> str:
        return "The token's signature is not of this server."


class TokenExpired(Refused):
    """The token's or handle's life is over."""

    code = "token-expired"

    def __str__(self) -> str:
        return "The credential has expired. Attach or mint again."


class TokenNotFound(Refused):
    """No record of this token, key or handle."""

    code = "token-not-found"

    def __str__(self) -> str:
        return "The credential is not known to this server."


class TokenRevoked(Refused):
    """The token, or one above it, was revoked."""

    code = "token-revoked"

    def __str__(self) -> str:
        return "The credential was revoked."


class TokenUsesExhausted(Refused):
    """Every use that the token had is spent."""

    code = "token-uses-exhausted"

    def __str__(self) -> str:
        return "The token has no use left. Mint a new one."


class HandleMistyped(Refused):
    """The text after `wh-` is not a handle: its length, letters or check character are wrong."""

    code = "handle-mistyped"

    def __str__(self) -> str:
        return "The worker handle is mistyped (its check character does not fit). Copy it again, whole."


class TooManyGuesses(Refused):
    """Too many failed credentials from one source, or in all."""

    code = "too-many-guesses"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"Too many failed credentials. Wait {max(1, ceil(self.retry_after_s))} s, then send a valid one."


class RoleViolation(Refused):
    """The role (or the token's narrower scope) does not include the verb."""

    code = "role-violation"

    def __init__(self, role: str, verb: str) -> None:
        super().__init__(role, verb)
        self.role = role
        self.verb = verb

    def __str__(self) -> str:
        return f"A credential with role {self.role} may not {self.verb}."


class TokenTaskMismatch(Refused):
    """The worker's credential is bound to another task or attempt."""

    code = "token-task-mismatch"

    def __init__(self, task_id: str | None) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        if self.task_id is None:
            return "This worker credential is bound to no task. Use one that was minted for the task."
        return f"This worker credential does not reach {self.task_id}. Use the one of that task."
