"""Errors as the Agent Approval Protocol writes them, made of problem documents."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from app.domain.errors import InvalidRequest
from app.http import replies
from app.http.problems import ProblemDetails
from app.http.replies import Reply

_CODES: Mapping[str, tuple[int, str]] = {
    "idempotency-mismatch": (409, "idempotency_conflict"),
    "already-answered": (409, "already_terminal"),
    "question-closed": (409, "already_terminal"),
    "outcome-recorded": (409, "outcome_conflict"),
    "resume-key-not-found": (404, "not_found"),
    "webhook-invalid": (422, "webhook_verification_failed"),
    "key-not-found": (409, "instance_deleted"),
}
"""Status and code of the protocol for problems that it calls otherwise."""
_TYPES: Mapping[int, str] = {
    401: "authentication",
    403: "authorization",
    404: "not_found",
    409: "conflict",
    429: "rate_limit",
    500: "internal",
    503: "dependency",
}
"""The protocol's type of error by status; all others are requests that it calls invalid."""
_NOT_FOUND = "This credential has no request with this id."
_INVALID = "invalid_request"
_PRECISE = frozenset({413, 415})
"""Statuses of invalid requests that stay, where the protocol has 400 for all."""
_FIELDS: Mapping[str, str] = {"url": "invalid_webhook_url", "type": "unsupported_delivery_type"}
"""The protocol's code of an invalid request by the field that is to blame."""


def refusal(problem: ProblemDetails) -> Reply:
    """Return the reply for a problem. It names the exchange by the id in the header `X-Request-ID`."""
    status, code = _CODES.get(problem.code, (problem.status, problem.code.replace("-", "_")))
    kind = _TYPES.get(status, _INVALID)
    if kind == _INVALID and problem.code not in _CODES and status not in _PRECISE:
        status = 400
    if problem.code == InvalidRequest.code:
        code = _FIELDS.get(problem.fields.get("field", ""), code)
    error = {
        "type": kind,
        "code": code,
        "message": _NOT_FOUND if code == "not_found" else problem.detail,
        "request_id": structlog.contextvars.get_contextvars().get("request_id", ""),
    }
    return replies.json({"error": error}, status=status, headers=problem.headers)
