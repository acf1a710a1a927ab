"""The problem document of whatever a request raised.

Callers without a valid credential learn nothing about the validity of their request: before a malformed request is
answered as such, its credential is checked, and an invalid one is what is reported.
"""

from __future__ import annotations

import secrets

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope

from app.domain.errors import Conflict, EngineError, InvalidRequest, PayloadTooLarge
from app.domain.tokens import ApiKey
from app.http import auth
from app.http.bodies import LONGEST_MESSAGE, field_path, readable_message
from app.http.context import ServerContext
from app.http.errors import (
    EncodedBody,
    HandleNotAllowed,
    HttpError,
    InvalidBody,
    MalformedBody,
    MethodNotAllowed,
    RouteNotFound,
    UnsupportedMediaType,
)
from app.http.holds import HALF_CLOSED
from app.http.problems import ProblemDetails, internal, problem_of
from app.http.receiving import IncomingBody
from app.http.routes import RouteAccess, methods_of

_log = structlog.get_logger(__name__)

_PARAMETERS = frozenset({"path", "query", "header", "cookie"})
_AUTHENTICATED_FIRST = (
    EncodedBody,
    HandleNotAllowed,
    InvalidBody,
    InvalidRequest,
    MalformedBody,
    PayloadTooLarge,
    UnsupportedMediaType,
)


class ErrorResponses:
    """Turns exceptions into problem documents, checking the credential of malformed requests first."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context

    def authenticate_before_body(self, scope: Scope, body: IncomingBody) -> Receive:
        """Return a `receive` that checks the credential before a body's second chunk is read.

        A body in one chunk has arrived already and is left to the call's own check. The returned function raises what
        that check would raise, and Overloaded.
        """
        checked = complete = reported = False

        async def receive_authenticated() -> Message:
            nonlocal checked, complete, reported
            half_closed = complete and not reported and HALF_CLOSED in scope
            message = {"type": HALF_CLOSED} if half_closed else await body.receive()
            if complete and message["type"] != "http.disconnect":
                reported = True
                return {"type": HALF_CLOSED}
            complete = not message.get("more_body", False)
            if not checked and message.get("more_body", False):
                checked = True
                if (access := RouteAccess.of(scope.get("route"))) is not None:
                    body.belongs_to(await self._sender(access, scope))
            return message

        return receive_authenticated

    async def handle(self, request: Request, error: Exception) -> Response:
        """Return the reply to an exception that a FastAPI route raised."""
        return (await self.problem(error, request.scope)).reply()

    async def problem(self, error: Exception, scope: Scope) -> ProblemDetails:
        """Return the problem of an exception. An unexpected one is logged under a reference, and only that is shown."""
        known = _classified(error, scope)
        if known is None:
            return _unexpected(error, scope)
        if isinstance(known, InvalidBody):
            known = known.first(self._context.settings.limits.complaints)
        if isinstance(known, _AUTHENTICATED_FIRST):
            known = await self._credential_error(scope, known) or known
        return (
            await self._context.auth_failures.problem(scope, known)
            if isinstance(known, EngineError)
            else problem_of(known)
        )

    async def _credential_error(self, scope: Scope, known: EngineError | HttpError) -> EngineError | None:
        """Return what is wrong with the request's credential, or None. The check spends a use, as the call would."""
        access = RouteAccess.of(scope.get("route"))
        if access is None:
            return None
        try:
            await self._authorize(access, scope)
        except EngineError as error:
            # A handle on the wrong route gets that answer, not the state of its attempt.
            wrong_route = isinstance(error, Conflict) and isinstance(known, HandleNotAllowed)
            return None if wrong_route else error
        return None

    async def _sender(self, access: RouteAccess, scope: Scope) -> str:
        """Return the id of the API key that a valid credential descends from; of a worker that claimed, of its own.

        What code of this process made is known by the credential's own id. Spends no use: the call will.
        """
        if _takes_key(access, scope):
            return (await self._api_key(access, scope)).id
        caller = await self._context.engine.credentials.whoami(auth.bearer_of(auth.credential_text(scope)))
        return caller.claimed_key_id or caller.key_id or str(caller.jti)

    async def _api_key(self, access: RouteAccess, scope: Scope) -> ApiKey:
        keys = self._context.engine.keys
        # The role that a route takes may be in a body that could not be read.
        return await (keys.check_root if access.credential == "root" else keys.find)(auth.api_key(scope))

    async def _authorize(self, access: RouteAccess, scope: Scope) -> None:
        if _takes_key(access, scope):
            await self._api_key(access, scope)
            return
        credentials, bearer = self._context.engine.credentials, auth.bearer_of(auth.credential_text(scope))
        await (credentials.authorize(bearer, access.verbs) if access.verbs else credentials.whoami(bearer))


def _takes_key(access: RouteAccess, scope: Scope) -> bool:
    """Return whether what was sent has to be an API key."""
    if access.credential == "key or handle":
        return not auth.is_handle(auth.credential_text(scope))
    return access.credential in ("root", "key")


def _classified(error: Exception, scope: Scope) -> EngineError | HttpError | None:
    """Return the error as one that has a code, or None for an unexpected exception."""
    if isinstance(error, InvalidRequest) and (allowed := _allowed_methods(scope)) and scope["method"] not in allowed:
        return MethodNotAllowed(allowed)  # A fixed path, taken for a parametrised one that has this method.
    if isinstance(error, EngineError | HttpError):
        return error
    if isinstance(error, RequestValidationError):
        return _validation_error(error)
    if isinstance(error, HTTPException):
        return _routing_error(error, scope)
    return None


def _routing_error(error: HTTPException, scope: Scope) -> EngineError | HttpError | None:
    if error.status_code == 404:
        return RouteNotFound()
    if error.status_code == 405:
        return MethodNotAllowed(_allowed_methods(scope))
    cause = error.__cause__
    return cause if isinstance(cause, EngineError | HttpError) else None


def _allowed_methods(scope: Scope) -> list[str]:
    """Return every method that the path takes (RFC 9110, section 15.5.6). Fixed paths come before parametrised ones."""
    routes = [route for route in scope["app"].router.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
    return sorted({method for route in matching if route.path == matching[0].path for method in methods_of(route)})


def _validation_error(error: RequestValidationError) -> EngineError | HttpError:
    for item in error.errors():
        where, *rest = item["loc"]
        if where in _PARAMETERS:
            return InvalidRequest(readable_message(item["msg"])[:LONGEST_MESSAGE], field_path(rest))
    return InvalidBody(
        [
            {"field": field_path(item["loc"][1:]), "message": readable_message(item["msg"])[:LONGEST_MESSAGE]}
            for item in error.errors()
        ]
    )


def _unexpected(error: Exception, scope: Scope) -> ProblemDetails:
    reference = secrets.token_hex(8)
    method, path = scope.get("method"), scope.get("path")
    _log.error("request_failed", reference=reference, method=method, path=path, exc_info=error)
    return internal(reference)
