"""Errors of a request that the HTTP edge raises itself, without asking the engine.

    HttpError
    ├── RouteNotFound           there is no such path
    ├── MethodNotAllowed        the path takes other methods
    ├── UnsupportedMediaType    the route does not take a body of this type
    ├── EncodedBody             the body is compressed
    ├── MalformedBody           the body is not valid JSON, or not the text that it says it is
    ├── InvalidBody             the body is JSON but breaks its schema
    ├── HandleNotAllowed        a worker's handle outside the workers' routes
    ├── ShuttingDown            the server stops before the call could be answered
    ├── PlaceholderInPath       the path still holds a placeholder such as {task_id}
    ├── OriginNotAllowed        a page of another site wants to open a WebSocket
    ├── InvalidHost             no Host header field, or several
    ├── HostNotAllowed          the Host header field names another server
    ├── MalformedRequest        the bytes on the connection are not HTTP
    ├── HeaderTooLarge          the request line and header fields are too long
    └── RequestTooSlow          the rest of the request did not arrive in time

The last three are answered by the connection, before there is a request for the application. A malformed parameter is
the domain's InvalidRequest, a body beyond the limit its PayloadTooLarge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class HttpError(Exception):
    """Root of the tree. `code` and `fields()` appear in the problem document, as those of the engine's errors do."""

    code: ClassVar[str] = "http-error"

    def fields(self) -> dict[str, Any]:
        """Return the members that the problem document has beyond the standard ones."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def headers(self) -> dict[str, str]:
        """Return the header fields that the reply carries."""
        return {}


class RouteNotFound(HttpError):
    """No route has this path."""

    code = "not-found"

    def __str__(self) -> str:
        return "There is nothing at this path. See /docs for what there is."


class MethodNotAllowed(HttpError):
    """The path takes other methods."""

    code = "method-not-allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(allowed)
        self.allowed = sorted(allowed)

    def __str__(self) -> str:
        return f"This path takes {', '.join(self.allowed)}."

    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(self.allowed)}


class UnsupportedMediaType(HttpError):
    """The route does not take a body of this type."""

    code = "unsupported-media-type"

    def __init__(self, accepted: Sequence[str]) -> None:
        super().__init__(accepted)
        self.accepted = list(accepted)

    def __str__(self) -> str:
        return f"This route takes a body of type {' or '.join(self.accepted)}."


class EncodedBody(HttpError):
    """The body is compressed; the reply says which encodings are accepted (RFC 9110, section 15.5.16)."""

    code = "unsupported-media-type"

    def __str__(self) -> str:
        return "Send the body uncompressed, without Content-Encoding."

    def headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "identity"}


class MalformedBody(HttpError):
    """The body is not what its media type says."""

    code = "malformed-body"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The body cannot be read: {self.reason}."


class InvalidBody(HttpError):
    """The body breaks its schema; `errors` says where, and never repeats what was sent."""

    code = "invalid-body"

    def __init__(self, errors: Sequence[Mapping[str, str]], *, left: int = 0) -> None:
        super().__init__(errors)
        self.errors = [dict(error) for error in errors]
        self._left = left

    def first(self, most: int) -> InvalidBody:
        """Return an error that lists so many of its errors at most, and counts the others."""
        return InvalidBody(self.errors[:most], left=self._left + max(0, len(self.errors) - most))

    def fields(self) -> dict[str, Any]:
        """Return the errors that are listed, and how many are not."""
        return {"errors": self.errors} | ({"errors_left": self._left} if self._left else {})

    def __str__(self) -> str:
        shown = "; ".join(f"{error['field'] or 'body'}: {error['message']}" for error in self.errors[:5])
        return f"The body does not fit its schema: {shown}."


class HandleNotAllowed(HttpError):
    """A worker's handle was sent to a route outside /v1/worker, whatever a worker's token may do there."""

    code = "role-violation"

    def __str__(self) -> str:
        return "A worker's handle is accepted by the routes under /v1/worker only."


class ShuttingDown(HttpError):
    """The server stops before the call could be answered."""

    code = "shutting-down"

    def __str__(self) -> str:
        return "The server is stopping. What it accepted goes on after the restart; send the call again."


class PlaceholderInPath(HttpError):
    """The path still holds a placeholder of the documentation; answered before any credential is looked at."""

    code = "invalid-request"

    def __init__(self, placeholder: str) -> None:
        super().__init__(placeholder)
        self.field = placeholder

    def __str__(self) -> str:
        return f"The path still holds the placeholder {{{self.field}}}: put the value itself in its place."


class OriginNotAllowed(HttpError):
    """A page of another site wants to open a WebSocket or to call MCP tools."""

    code = "origin-not-allowed"

    def __str__(self) -> str:
        return (
            "Pages of this origin may not use this server. For a WebSocket, add the origin to the setting "
            "http.allowed_origins if they may."
        )


class InvalidHost(HttpError):
    """The request has no Host header field, or several; the connection is closed."""

    code = "malformed-request"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self._reason = reason

    def __str__(self) -> str:
        return f"The request has {self._reason}; HTTP/1.1 takes exactly one."

    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}


class HostNotAllowed(HttpError):
    """The Host header field names another server, as a request does whose sender was led here by DNS rebinding."""

    code = "host-not-allowed"

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    def __str__(self) -> str:
        return (
            f"This server is not known as {self.host!r}. Call it by one of its own names, or add this one to the "
            "setting http.allowed_hosts (public_url adds its own)."
        )


class MalformedRequest(HttpError):
    """The bytes on the connection are not HTTP."""

    code = "malformed-request"

    def __str__(self) -> str:
        return "This is not an HTTP request."


class HeaderTooLarge(HttpError):
    """The request line and header fields, or the trailer fields, are longer than `limit_bytes`."""

    code = "header-too-large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"The head of a request holds at most {self._limit_bytes} bytes."


class RequestTooSlow(HttpError):
    """The rest of the request did not arrive in time."""

    code = "request-too-slow"

    def __str__(self) -> str:
        return "The rest of the request did not arrive in time; send it again."
