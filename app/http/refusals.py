"""What a failed credential gets: one reply for all of them, a row in the audit log, and 429 when there are too many."""

from __future__ import annotations

import structlog
from starlette.types import Scope

from app.domain.errors import AuthRateLimited, Busy, EngineError, Unauthenticated
from app.domain.tokens import fingerprint
from app.engine.engine import Engine
from app.http.auth import credential_text
from app.http.guessing import Guesses, source_of
from app.http.problems import FAILED_CREDENTIAL, UNAUTHENTICATED, Problem, problem_of

_GUESSED = frozenset({"unauthenticated", "bad-signature", "token-not-found"})
"""What a credential that never was is told by; expired, revoked and used-up ones were good once."""

_log = structlog.get_logger(__name__)


class Refusals:
    """Answers failed credentials and counts them. One per server, shared by routes and sockets."""

    def __init__(self, engine: Engine, guesses: Guesses) -> None:
        self._engine = engine
        self._guesses = guesses

    async def problem(self, scope: Scope, error: EngineError) -> Problem:
        """The problem of a refused call; that of a failed credential tells nothing about it."""
        if error.code not in FAILED_CREDENTIAL:
            return problem_of(error)
        try:
            await self.record(scope, error)
        except AuthRateLimited as too_many:
            return problem_of(too_many)
        return UNAUTHENTICATED

    async def record(self, scope: Scope, error: EngineError, *, credential: str | None = None) -> None:
        """Audit a failed credential. Raises AuthRateLimited when its source, or all together, guessed too often.

        `credential` is what was presented, where that is not the Authorization header. One source fills the audit log
        no faster than it may guess.
        """
        source = source_of(scope.get("client"))
        secret = credential or _presented(scope)
        mark = None if secret is None else fingerprint(secret)
        if mark is not None and error.code in _GUESSED:
            self._guesses.failed(source, mark)
        if self._guesses.noted(source):
            reason = error.reason if isinstance(error, Unauthenticated) else error.code
            await self._audit(reason, source, mark)

    async def _audit(self, reason: str, source: str, mark: str | None) -> None:
        try:
            await self._engine.record_refusal(reason=reason, source=source, fingerprint=mark)
        except Busy as busy:
            _log.warning("refusal_not_audited", reason=reason, source=source, credential=mark, cause=busy.code)


def _presented(scope: Scope) -> str | None:
    try:
        return credential_text(scope)
    except Unauthenticated:
        return None
