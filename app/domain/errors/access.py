"""Calls that their credential does not allow."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from app.domain.errors.base import AccessDenied


@dataclass(eq=False)
class Unauthenticated(AccessDenied):
    """The credential is missing or invalid. `reason` says which, for the audit log only."""

    code = "unauthenticated"
    reason: str = "missing"

    def fields(self) -> dict[str, Any]:
        """Return nothing: the caller must not learn why."""
        return {}

    def __str__(self) -> str:
        return "A valid credential is needed: send it as 'Authorization: Bearer …'."


class BadSignature(AccessDenied):
    """The token was not signed by a key of this server, or is not a token at all.

    `unknown_key` says that it names a key which this process does not have: another node may just have made it.
    """

    code = "bad-signature"

    def __init__(self, *, unknown_key: bool = False) -> None:
        super().__init__()
        self.unknown_key = unknown_key

    def __str__(self) -> str:
        return "The token was not signed by this server. Use a token of this server, or attach or mint again."


class TokenExpired(AccessDenied):
    """The token or handle has expired."""

    code = "token-expired"

    def __str__(self) -> str:
        return "The credential has expired. Attach or mint again."


class TokenNotFound(AccessDenied):
    """The server has no record of this token, key or handle."""

    code = "token-not-found"

    def __str__(self) -> str:
        return "The credential is not known to this server. Check it, or attach or mint again."


class TokenRevoked(AccessDenied):
    """The token, or one that it descends from, was revoked."""

    code = "token-revoked"

    def __str__(self) -> str:
        return "The credential was revoked. Ask its issuer for a new one."


class TokenUsesExhausted(AccessDenied):
    """The token has no uses left."""

    code = "token-uses-exhausted"

    def __str__(self) -> str:
        return "The token has no use left. Mint a new one."


class HandleMistyped(AccessDenied):
    """The text after `wh-` is not a handle: its length, letters or check character are wrong."""

    code = "handle-mistyped"

    def __str__(self) -> str:
        return "The worker handle is mistyped (its check character does not match). Copy it again, whole."


@dataclass(eq=False)
class AuthRateLimited(AccessDenied):
    """Too many failed authentication attempts, from one source or in all."""

    code = "too-many-guesses"
    retry_after_s: float

    def __str__(self) -> str:
        wait_s = max(1, ceil(self.retry_after_s))
        return f"Too many failed authentication attempts. Wait {wait_s} s, then send a valid credential."


@dataclass(eq=False)
class RoleViolation(AccessDenied):
    """The role, or the token's narrower scope, does not include the verb."""

    code = "role-violation"
    role: str
    verb: str

    def __str__(self) -> str:
        who = "This API key" if self.role == "this API key" else f"A credential with role {self.role}"
        return f"{who} may not {self.verb}."


@dataclass(eq=False)
class AskerCannotAnswer(AccessDenied):
    """The caller descends from an API key that the question descends from as well."""

    code = "asker-cannot-answer"
    key: str

    def __str__(self) -> str:
        return (
            f"Question {self.key} was asked with the same API key. Have somebody decide whose key is another one, "
            "or a person with a key of its own."
        )


@dataclass(eq=False)
class IdTaken(AccessDenied):
    """Another API key owns this id of a bridge, hook or backend."""

    code = "id-taken"
    id: str

    def __str__(self) -> str:
        return (
            f"The id {self.id!r} belongs to another API key. Use another id, or have the root key release it "
            "(DELETE /v1/admin/ids/{id})."
        )


@dataclass(eq=False)
class TokenTaskMismatch(AccessDenied):
    """The worker's credential is bound to another task or attempt."""

    code = "token-task-mismatch"
    task_id: str | None

    def __str__(self) -> str:
        if self.task_id is None:
            return "This worker credential is bound to no task. Use one that was minted for the task."
        return f"This worker credential is not valid for {self.task_id}. Use the one of that task."


@dataclass(eq=False)
class DoorNotAllowed(AccessDenied):
    """The asker lets the question be answered by other doors alone."""

    code = "door-not-allowed"
    key: str
    door: str
    doors: tuple[str, ...]

    def __str__(self) -> str:
        return f"Question {self.key} is not answered by {self.door}. Use one of: {', '.join(self.doors)}."
