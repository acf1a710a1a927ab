"""From whatever was raised to the problem that is answered.

Who may not call learns nothing from the shape of its request: before a malformed request is refused as such, its
credential is checked, and a bad one is what is refused.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope

from app.domain.access import Role
from app.domain.errors import Conflict, EngineError, InvalidRequest, PayloadTooLarge, RoleViolation
from app.http import auth
from app.http.bodies import plainly
from app.http.edge import Edge
from app.http.faults import (
    EncodedBody,
    Fault,
    HandleElsewhere,
    InvalidBody,
    MalformedBody,
    MethodNotAllowed,
    RouteNotFound,
    WrongMediaType,
)
from app.http.problems import Problem, internal, problem_of
from app.http.routes import Gate, methods_of

_log = structlog.get_logger(__name__)

_PARAMETERS = frozenset({"path", "query", "header", "cookie"})
_OF_THE_REQUEST = (
    EncodedBody,
    HandleElsewhere,
    InvalidBody,
    InvalidRequest,
    MalformedBody,
    PayloadTooLarge,
    WrongMediaType,
)


class Verdicts:
    """Decides what a failed request is answered."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def from_known(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that takes no more than the first piece of a body from somebody without a living credential.

        What is sent in one piece is let through: it is there already, and the call itself checks. Raises as the call.
        """
        asked = False

        async def received() -> Message:
            nonlocal asked
            message = await receive()
            if not asked and message.get("more_body", False):
                asked = True
                if (gate := Gate.of(scope.get("route"))) is not None:
                    await self._require_alive(gate, scope)
            return message

        return received

    async def handle(self, request: Request, error: Exception) -> Response:
        """The reply to what a FastAPI route raised."""
        return (await self.of(error, request.scope)).reply()

    async def of(self, error: Exception, scope: Scope) -> Problem:
        """The problem of an error. One that nobody foresaw is logged under a reference, which is all that is shown."""
        known = _known(error, scope)
        if known is None:
            return _unforeseen(error, scope)
        if isinstance(known, _OF_THE_REQUEST):
            known = await self._credential_first(scope, known) or known
        return await self._edge.refusals.problem(scope, known) if isinstance(known, EngineError) else problem_of(known)

    async def _credential_first(self, scope: Scope, known: EngineError | Fault) -> EngineError | None:
        """What is wrong with the request's credential, or None. It counts as a use, as the call itself would."""
        gate = Gate.of(scope.get("route"))
        if gate is None:
            return None
        try:
            await self._check(gate, scope)
        except EngineError as error:
            # Of a handle that does not belong here, nobody wants to know how its attempt went.
            misplaced = isinstance(error, Conflict) and isinstance(known, HandleElsewhere)
            return None if misplaced else error
        return None

    async def _require_alive(self, gate: Gate, scope: Scope) -> None:
        """Raise unless the credential is alive. Spends no use: the call will."""
        if gate.credential in ("root", "key"):
            await self._check(gate, scope)
        else:
            await self._edge.engine.whoami(auth.bearer_of(auth.credential_text(scope)))

    async def _check(self, gate: Gate, scope: Scope) -> None:
        engine = self._edge.engine
        if gate.credential == "root":
            await engine.list_keys(auth.api_key(scope))
        elif gate.credential == "key":
            # Which role is wanted may stand in the body that could not be read.
            with contextlib.suppress(RoleViolation):
                await engine.check_key(auth.api_key(scope), Role.OPERATOR)
        else:
            bearer = auth.bearer_of(auth.credential_text(scope))
            await (engine.authorize(bearer, gate.verbs) if gate.verbs else engine.whoami(bearer))


def _known(error: Exception, scope: Scope) -> EngineError | Fault | None:
    """The error as one of the trees that have codes, or None."""
    if isinstance(error, EngineError | Fault):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_routing(error, scope)
    return None


def _of_routing(error: HTTPException, scope: Scope) -> EngineError | Fault | None:
    if error.status_code == 404:
        return RouteNotFound()
    if error.status_code == 405:
        return MethodNotAllowed(_methods(scope))
    cause = error.__cause__
    return cause if isinstance(cause, EngineError | Fault) else None


def _methods(scope: Scope) -> list[str]:
    """Every method that the path takes (RFC 9110, section 15.5.6); a fixed path comes before one with parameters."""
    routes = [route for route in scope["app"].router.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
    return sorted({method for route in matching if route.path == matching[0].path for method in methods_of(route)})


def _of_validation(error: RequestValidationError) -> EngineError | Fault:
    for item in error.errors():
        where, *rest = item["loc"]
        if where in _PARAMETERS:
            return InvalidRequest(plainly(item["msg"]), _path(rest))
    return InvalidBody([{"field": _path(item["loc"][1:]), "message": plainly(item["msg"])} for item in error.errors()])


def _path(parts: Iterable[object]) -> str:
    return ".".join(map(str, parts))


def _unforeseen(error: Exception, scope: Scope) -> Problem:
    reference = secrets.token_hex(8)
    method, path = scope.get("method"), scope.get("path")
    _log.error("request_failed", reference=reference, method=method, path=path, exc_info=error)
    return internal(reference)
