"""Two kinds of routes in one FastAPI application, and their descriptions in the OpenAPI document.

`ModelRoute` is FastAPI's own way: parameters and body are checked by their annotations. `PlainRoute` passes the request
to its endpoint as it is, for the calls that workers make all the time; `documented` adds to the document what FastAPI
cannot see. Both declare with `requires` which credential they accept.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, cast

from fastapi import APIRouter, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.domain.access import Verb
from app.http.bodies import require_json, validated, value_of
from app.http.context import context_of
from app.http.queries import KnownParameters

# FastAPI silences this about its own declarations of bodies, but models that are built on first use warn later.
warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)

VERBS = "x-verbs"
CREDENTIAL = "x-credential"
IDEMPOTENT = "x-idempotency-key"
REPLY = "x-reply"
_BODY = "x-body"
CHECKED_FIRST = 16 * 1024
"""Bytes of a body beyond which it is validated before FastAPI does so, which builds every error."""

Extra = dict[str, Any]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _DecodedRequest(Request):
    """A request with a decoded body."""

    @classmethod
    def of(cls, request: Request, body: bytes, value: Any) -> _DecodedRequest:
        """Return a request whose body is `body`, decoded to `value`."""
        ready = cls(request.scope, request.receive)
        ready._body = body
        ready._json = value
        return ready


class ModelRoute(APIRoute):
    """A FastAPI route whose body is checked by its media type and decoded by orjson."""

    def get_route_handler(self) -> Handler:
        """Return FastAPI's handler, preceded by the check of the query's names and the decoding of the body."""
        handle = super().get_route_handler()
        fields = get_flat_params(self.dependant)
        known = KnownParameters([field.alias for field in fields if isinstance(field.field_info, params.Query)])

        model = cast("type[BaseModel]", self.body_field.field_info.annotation) if self.body_field else None

        async def checked(request: Request) -> Response:
            scope = request.scope
            if query := scope["query_string"]:
                scope["query_string"] = known.accept(query)
            body = b"" if model is None else await request.body()
            if model is None or not body:
                return await handle(request)
            require_json(scope)
            value = await value_of(body, context_of(request).settings.limits)
            if len(body) > CHECKED_FIRST:
                validated(model, value)
            return await handle(_DecodedRequest.of(request, body, value))

        return checked


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request and returns the reply, without FastAPI's dependency injection."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra: Extra = dict(options.pop("openapi_extra", None) or {})
        body = extra.pop(_BODY, None)
        described: list[Extra] = extra.get("parameters", [])
        self.query = KnownParameters([one["name"] for one in described if one["in"] == "query"])
        super().__init__(path, endpoint, openapi_extra=extra, **options)
        if body is not None:
            self.body_field = _body_field(path, *body)

    def get_route_handler(self) -> Handler:
        """Return the endpoint."""
        return self.endpoint


def _body_field(path: str, model: Any, optional: bool) -> Any:
    """Return what FastAPI derives from the annotation of a body, for the document."""

    async def takes(body: Any) -> None:
        del body

    kind, default = inspect.Parameter.POSITIONAL_OR_KEYWORD, None if optional else inspect.Parameter.empty
    annotated = inspect.Parameter("body", kind, default=default, annotation=model | None if optional else model)
    vars(takes)["__signature__"] = inspect.Signature([annotated])
    return APIRoute(path.partition("{")[0] or "/", takes, methods=["POST"]).body_field


def _operation_id(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name}"


def model_router(prefix: str, tag: str) -> APIRouter:
    """Return a router of model routes. A body without a media type is treated as JSON."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=ModelRoute,
        strict_content_type=False,
        generate_unique_id_function=_operation_id,
    )


def plain_router(prefix: str, tag: str) -> APIRouter:
    """Return a router of plain routes."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=PlainRoute, generate_unique_id_function=_operation_id)


def requires(*verbs: Verb, credential: str = "token", idempotent: bool | str = False, **more: Any) -> Extra:
    """Declare the credential that a route requires: `token` (session or minted), `worker` (that or a handle), `key`,
    `root`, or `key or handle`.

    Any one of `verbs` is sufficient. `idempotent` routes honour the Idempotency-Key header; with "required" they
    refuse requests without one.
    """
    extra: Extra = {VERBS: [verb.value for verb in verbs], CREDENTIAL: credential}
    extra |= {f"x-{name}": value for name, value in more.items()}
    if idempotent:
        extra[IDEMPOTENT] = idempotent
    return extra


def documented(
    *,
    parameters: tuple[Extra, ...] = (),
    body: Any = None,
    optional: bool = False,
    content: Mapping[str, Any] | None = None,
    reply: Mapping[str, Any] | None = None,
) -> Extra:
    """Return the OpenAPI fields of a plain route: its parameters, body (a model, or types with schemas) and reply."""
    extra: Extra = {"parameters": list(parameters)} if parameters else {}
    if body is not None:
        extra[_BODY] = (body, optional)
    if content is not None:
        extra["requestBody"] = {
            "required": not optional,
            "content": {kind: {"schema": schema} for kind, schema in content.items()},
        }
    if reply is not None:
        extra[REPLY] = {kind: {"schema": schema} for kind, schema in reply.items()}
    return extra


def parameter(name: str, schema: Mapping[str, Any], text: str, *, where: str = "query") -> Extra:
    """Return the OpenAPI description of a parameter."""
    return {"name": name, "in": where, "required": where == "path", "description": text, "schema": dict(schema)}


@dataclass(frozen=True, slots=True)
class RouteAccess:
    """The credential that a route requires."""

    verbs: tuple[Verb, ...]
    credential: str

    @classmethod
    def of(cls, route: object) -> RouteAccess | None:
        """Return what a route requires, None when it needs no credential."""
        extra: Mapping[str, Any] = getattr(route, "openapi_extra", None) or {}
        if CREDENTIAL not in extra:
            return None
        return cls(tuple(Verb(verb) for verb in extra[VERBS]), extra[CREDENTIAL])


def methods_of(route: Route) -> set[str]:
    """Return the methods of a route: where there is GET, HEAD as well (RFC 9110, section 9.3.2)."""
    methods = set(route.methods or ())
    return methods | {"HEAD"} if "GET" in methods else methods
