"""What is wrong with a request before the engine sees it.

    Fault                   the edge's own tree
    ├── RouteNotFound       no such path
    ├── MethodNotAllowed    the path has other methods
    ├── WrongMediaType      the body is of a type that the route does not take
    ├── EncodedBody         the body is compressed
    ├── MalformedBody       the body is not the JSON (or text) that it says it is
    ├── InvalidBody         the body is JSON but breaks its schema
    ├── HandleElsewhere     a worker's handle outside of the workers' routes
    └── ShuttingDown        the server stops before the call could be answered

A malformed parameter is the domain's InvalidRequest, a body beyond the limit its PayloadTooLarge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class Fault(Exception):
    """Root of the tree; `code` and `fields()` are shown as the engine's errors are."""

    code: ClassVar[str] = "fault"

    def fields(self) -> dict[str, Any]:
        """What the problem document says beyond the standard members."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def headers(self) -> dict[str, str]:
        """Header lines that come with the problem."""
        return {}


class RouteNotFound(Fault):
    """No such path."""

    code = "not-found"

    def __str__(self) -> str:
        return "There is nothing at this path. See /docs for what there is."


class MethodNotAllowed(Fault):
    """The path has other methods."""

    code = "method-not-allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(allowed)
        self.allowed = sorted(allowed)

    def __str__(self) -> str:
        return f"This path takes {', '.join(self.allowed)}."

    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(self.allowed)}


class WrongMediaType(Fault):
    """The body is of a type that the route does not take."""

    code = "unsupported-media-type"

    def __init__(self, accepted: Sequence[str]) -> None:
        super().__init__(accepted)
        self.accepted = list(accepted)

    def __str__(self) -> str:
        return f"This route takes a body of type {' or '.join(self.accepted)}."


class EncodedBody(Fault):
    """The body is compressed; RFC 9110 (section 15.5.16) has the reply say which encodings are taken."""

    code = "unsupported-media-type"

    def __str__(self) -> str:
        return "A body is taken as it is, without Content-Encoding."

    def headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "identity"}


class MalformedBody(Fault):
    """The body is not what its type says."""

    code = "malformed-body"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The body cannot be read: {self.reason}."


class InvalidBody(Fault):
    """The body breaks its schema; `errors` says where, and never repeats what was sent."""

    code = "invalid-body"

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__(errors)
        self.errors = [dict(error) for error in errors]

    def __str__(self) -> str:
        shown = "; ".join(f"{error['field'] or 'body'}: {error['message']}" for error in self.errors[:5])
        return f"The body does not fit its schema: {shown}."


class HandleElsewhere(Fault):
    """A worker's handle opens the workers' routes and nothing else, whatever a worker's token may do."""

    code = "role-violation"

    def __str__(self) -> str:
        return "A worker's handle opens the routes under /v1/worker alone."


class ShuttingDown(Fault):
    """The server stops before the call could be answered."""

    code = "shutting-down"

    def __str__(self) -> str:
        return "The server is stopping. What it accepted goes on after the restart; send the call again."
