"""The OpenAPI document and the frames' JSON Schema, as they are served, committed and checked for freshness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import orjson
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

import app
from app.domain.events import EventKind
from app.http.idempotency import HEADER, LONGEST
from app.http.queries import NEVER_EMPTY
from app.http.routers import all_routes
from app.http.routes import CREDENTIAL, IDEMPOTENT, REPLY
from app.http.settings import HttpSettings
from swarmhold.models.events import Event
from swarmhold.models.frames import frames_document
from swarmhold.models.problems import PROBLEM_MEDIA_TYPE, Problem

Operation = dict[str, Any]

_ABOUT = """\
A durable orchestration server for swarms of agents.

Every route but health and documents needs a credential in the `Authorization: Bearer` header: an API key (`shk_…`), a
token, or a worker handle (`wh-…`). `x-verbs` names what a token must be allowed to do; any one of them opens the route.
Errors are problem documents (RFC 9457); their `code` is stable.
"""

_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A session's or minted token."},
    "handle": {"type": "http", "scheme": "bearer", "description": "A worker handle, wh-…"},
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, shk_…"},
}
_OPENS: Mapping[str, tuple[str, ...]] = {
    "token": ("token",),
    "worker": ("token", "handle"),
    "key": ("key",),
    "root": ("key",),
    "key or handle": ("key", "handle"),
}
_TEXTS = {
    "400": "The request is malformed.",
    "401": "No valid credential was sent.",
    "403": "The credential may not do this.",
    "404": "There is no such thing.",
    "408": "The rest of the request did not arrive in time. The connection is closed.",
    "409": "Not possible as things stand; nothing was changed.",
    "413": "The body is larger than the limit.",
    "415": "The body is of a type that this route does not take.",
    "422": "The body breaks its schema, or its content cannot be accepted.",
    "429": "Too many failed authentication attempts; a valid credential is still accepted.",
    "431": "The request line and header fields are too long. The connection is closed.",
    "500": "The server failed; the reference finds it in its log.",
    "503": "Busy, paused or stopping; try again after Retry-After.",
}
_ALWAYS = ("400", "408", "431", "500", "503")
_AUTHENTICATED = ("401", "403", "404", "409", "429")
_WITH_BODY = ("413", "415", "422")

_REF = "#/components/schemas/{model}"
_KINDS = [kind.value for kind in EventKind]
_KEY_HEADER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "The same key with the same body gives the same object again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}


@cache
def document(settings: HttpSettings | None = None) -> bytes:
    """Return the OpenAPI document of this version, with the limits of these settings (by default the default ones)."""
    described = describe(all_routes(), settings or HttpSettings())
    return orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def render() -> dict[str, bytes]:
    """Return the files that are committed, by their path in the repository."""
    frames = orjson.dumps(frames_document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return {"openapi/openapi.json": document(), "openapi/frames.json": frames}


def describe(routes: list[BaseRoute], settings: HttpSettings) -> dict[str, Any]:
    """Return FastAPI's document of the routes, completed by what it cannot know."""
    described = get_openapi(
        title="swarmhold",
        version=app.__version__,
        description=_ABOUT,
        routes=routes,
        license_info={"name": "Apache-2.0"},
    )
    schemas: dict[str, Any] = described["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (Event, Problem):
        schemas[model.__name__] = model.model_json_schema(mode="serialization", ref_template=_REF)
    described["components"]["schemas"] = dict(sorted(schemas.items()))
    described["components"]["securitySchemes"] = _SCHEMES
    described["components"]["responses"] = {f"Problem{status}": _problem(status) for status in _TEXTS}
    limits = _limits(settings)
    schemas["ClaimRequest"]["properties"]["hold"]["anyOf"][0] |= limits["hold"]
    schemas["AttachRequest"]["properties"]["ttl"]["maximum"] = settings.limits.session_life_ms / 1000
    schemas["MintRequest"]["properties"]["ttl"]["maximum"] = settings.limits.token_life_ms / 1000
    schemas["WebhookRequest"]["properties"]["events"]["anyOf"][0]["items"] = {"type": "string", "enum": _KINDS}
    for operation in _operations(described):
        _complete(operation, limits)
    return described


def _limits(settings: HttpSettings) -> dict[str, dict[str, Any]]:
    """Return what the settings decide about parameters, by the parameter's name."""
    longest = settings.longest_hold.total_seconds()
    return {
        "hold": {"maximum": longest, "default": settings.default_hold.total_seconds()},
        "wait": {"maximum": longest},
        "limit": {
            "maximum": settings.limits.page_items,
            "default": min(settings.page_default, settings.limits.page_items),
        },
    }


def _operations(described: Mapping[str, Any]) -> Iterator[Operation]:
    for path in described["paths"].values():
        yield from path.values()


def _complete(operation: Operation, limits: Mapping[str, Mapping[str, Any]]) -> None:
    responses: dict[str, Any] = operation["responses"]
    responses.pop("422", None)
    statuses: set[str] = {*_ALWAYS, *(status for status in responses if status in _TEXTS)}
    if (credential := operation.get(CREDENTIAL)) is not None:
        operation["security"] = [{scheme: []} for scheme in _OPENS[credential]]
        statuses.update(_AUTHENTICATED)
    if "requestBody" in operation:
        statuses.update(_WITH_BODY)
    for parameter in operation.get("parameters", ()):
        _complete_parameter(parameter, limits)
    if (idempotent := operation.get(IDEMPOTENT)) is not None:
        required = {"required": True} if idempotent == "required" else {}
        operation.setdefault("parameters", []).append(_KEY_HEADER | required)
    if (reply := operation.pop(REPLY, None)) is not None:
        responses["200"]["content"] = reply
    for status in sorted(statuses):
        responses[status] = {"$ref": f"#/components/responses/Problem{status}"}
    for status, response in responses.items():
        if status in ("204", "304"):
            response.pop("content", None)
    operation["responses"] = dict(sorted(responses.items()))


def _complete_parameter(parameter: dict[str, Any], limits: Mapping[str, Mapping[str, Any]]) -> None:
    """Leave out null, which no URL can say; an optional query parameter may be empty instead (`KnownParameters`)."""
    schema: dict[str, Any] = parameter["schema"]
    if (choices := schema.get("anyOf")) is not None and choices[-1] == {"type": "null"}:
        schema |= choices[0]
        del schema["anyOf"]
    schema.pop("title", None)
    schema |= limits.get(parameter["name"], {})
    if parameter["in"] == "query" and parameter["name"] not in NEVER_EMPTY:
        parameter["allowEmptyValue"] = True


def _problem(status: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": _TEXTS[status], "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}
