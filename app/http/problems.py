"""Problem documents (RFC 9457): the table from an error's code to status and title, and their rendering.

Every failed credential gets the same bytes, so that nobody learns which of them ever existed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.websockets import WebSocket

from app.domain.clock import to_rfc3339
from app.domain.errors import AuthRateLimited, EngineError, Internal, QuotaExceeded, Unauthenticated
from app.http.errors import HttpError
from app.http.replies import Reply, content
from swarmhold.models.problems import PROBLEM_MEDIA_TYPE

STATUS: Mapping[str, tuple[int, str]] = {
    "poll-timeout": (202, "Not finished yet"),
    "invalid-request": (400, "Malformed request"),
    "malformed-body": (400, "Malformed body"),
    "malformed-request": (400, "Malformed request"),
    "handle-mistyped": (400, "Mistyped worker handle"),
    "unauthenticated": (401, "Unauthenticated"),
    "bad-signature": (401, "Unauthenticated"),
    "token-expired": (401, "Unauthenticated"),
    "token-not-found": (401, "Unauthenticated"),
    "token-revoked": (401, "Unauthenticated"),
    "token-uses-exhausted": (401, "Unauthenticated"),
    "role-violation": (403, "Not allowed for this role"),
    "token-task-mismatch": (403, "Not this credential's task"),
    "asker-cannot-answer": (403, "The asker cannot answer"),
    "door-not-allowed": (403, "Not to be answered by this door"),
    "id-taken": (403, "The id belongs to another key"),
    "origin-not-allowed": (403, "Origin not allowed"),
    "not-found": (404, "Not found"),
    "task-not-found": (404, "No such task"),
    "attempt-not-found": (404, "No such attempt"),
    "session-not-found": (404, "No such session"),
    "resume-key-not-found": (404, "No such question"),
    "resource-not-found": (404, "No such resource"),
    "late-result-not-found": (404, "No such late result"),
    "output-not-found": (404, "No such output"),
    "key-not-found": (404, "No such key"),
    "skill-not-found": (404, "No such skill"),
    "webhook-not-found": (404, "No such webhook"),
    "id-not-found": (404, "No such id"),
    "link-not-found": (404, "No such link"),
    "method-not-allowed": (405, "Method not allowed"),
    "request-too-slow": (408, "Request too slow"),
    "invalid-transition": (409, "Not possible in this state"),
    "final-conflict": (409, "Another final result stands"),
    "attempt-superseded": (409, "The attempt is over"),
    "cancelled": (409, "The task was cancelled"),
    "not-started": (409, "The attempt has not started"),
    "already-answered": (409, "Already answered"),
    "question-closed": (409, "The question is closed"),
    "not-approved": (409, "Not approved"),
    "already-consumed": (409, "Already consumed"),
    "approval-expired": (409, "The approval has expired"),
    "action-mismatch": (409, "Another action was approved"),
    "not-consumed": (409, "Not consumed"),
    "outcome-recorded": (409, "Another outcome is recorded"),
    "name-taken": (409, "The name is taken"),
    "spawn-depth-exceeded": (409, "Spawned too deep"),
    "payload-too-large": (413, "Too large"),
    "unsupported-media-type": (415, "Type of body not taken"),
    "host-not-allowed": (421, "Not this server's name"),
    "invalid-body": (422, "The body breaks its schema"),
    "answer-invalid": (422, "The answer breaks its schema"),
    "default-refused": (422, "Not open to workers"),
    "webhook-invalid": (422, "The webhook cannot be made"),
    "dispatch-failed": (422, "Cannot be dispatched"),
    "invalid-name": (422, "Not a possible name"),
    "idempotency-mismatch": (422, "Idempotency key used before"),
    "quota-exceeded": (429, "Too many at a time"),
    "too-many-guesses": (429, "Too many failed authentication attempts"),
    "header-too-large": (431, "Header too large"),
    "internal": (500, "Internal error"),
    "lock-busy": (503, "Busy"),
    "max-hold-exceeded": (503, "Busy"),
    "store-unavailable": (503, "Store unavailable"),
    "overloaded": (503, "Overloaded"),
    "loop-paused": (503, "Dispatching is paused"),
    "shutting-down": (503, "Shutting down"),
}
"""Status and title of every code."""

FAILED_CREDENTIAL = frozenset(
    {
        "unauthenticated",
        "bad-signature",
        "token-expired",
        "token-not-found",
        "token-revoked",
        "token-uses-exhausted",
    }
)
"""Codes of failed credentials, which all get the problem document of `unauthenticated`."""

_RETRY_AFTER_S = {
    "lock-busy": 1,
    "max-hold-exceeded": 1,
    "store-unavailable": 2,
    "loop-paused": 5,
    "shutting-down": 2,
    "quota-exceeded": 1,
    "overloaded": 1,
}
_INSTANTS = frozenset({"since"})
# An extension member must not take the place of a standard one.
_RENAMED = {"status": "state", "type": "kind", "title": "name", "detail": "info", "code": "error_code"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemDetails:
    """One problem document and the header fields of its reply."""

    status: int
    title: str
    detail: str
    code: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def document(self) -> dict[str, Any]:
        """Return the members of the document."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.fields,
        }

    def reply(self) -> Reply:
        """Return the HTTP reply that carries the document."""
        body = orjson.dumps(self.document(), default=str)
        return content(body, PROBLEM_MEDIA_TYPE, status=self.status, headers=self.headers)


UNAUTHENTICATED = ProblemDetails(
    status=401,
    title="Unauthenticated",
    detail=str(Unauthenticated()),
    code=Unauthenticated.code,
    headers={"WWW-Authenticate": "Bearer"},
)
"""The problem document of every failed credential."""


def problem_of(error: EngineError | HttpError) -> ProblemDetails:
    """Return the problem document of an error."""
    if error.code in FAILED_CREDENTIAL:
        return UNAUTHENTICATED
    status, title = STATUS.get(error.code, (500, "Internal error"))
    return ProblemDetails(
        status=status,
        title=title,
        detail=str(error),
        code=error.code,
        fields=_extension_members(error.fields()),
        headers={**(error.headers() if isinstance(error, HttpError) else {}), **_retry_after(error)},
    )


def internal(reference: str) -> ProblemDetails:
    """Return the problem of an unexpected exception: the reference of its log entry, and nothing of the exception."""
    return problem_of(Internal(reference))


async def refuse(socket: WebSocket, error: EngineError | HttpError) -> None:
    """Answer a WebSocket's handshake with the problem document of an error, or with 403 where the server cannot."""
    if "websocket.http.response" in socket.scope.get("extensions", ()):
        await socket.send_denial_response(problem_of(error).reply())
    else:
        await socket.close()


def _extension_members(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _RENAMED.get(name, name): to_rfc3339(value) if name in _INSTANTS and isinstance(value, int) else value
        for name, value in fields.items()
    }


def _retry_after(error: EngineError | HttpError) -> dict[str, str]:
    if isinstance(error, AuthRateLimited):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, QuotaExceeded) and not error.clears:
        return {}
    seconds = _RETRY_AFTER_S.get(error.code)
    return {} if seconds is None else {"Retry-After": str(seconds)}
