"""Request bodies: limited while they stream in, decoded by orjson, validated by the API's models."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from app.domain.errors import PayloadTooLarge
from app.domain.json import Json
from app.domain.json_size import NestedTooDeep, decode_within
from app.domain.limits import Limits
from app.http.errors import EncodedBody, InvalidBody, MalformedBody, UnsupportedMediaType

AT_ONCE = 64 * 1024
"""Bytes of a body that are decoded on the event loop; larger ones are decoded in a thread."""
MOST_ERRORS = 500
"""Validation errors that are built of one body."""
KEPT_UNKNOWN = 100
"""Unknown members that are validated of a body with very many."""
LONGEST_MESSAGE = 300
SHORT = 256
"""Bytes of a body that is remembered with the model that it was validated as."""
_SHORT_TYPE = 128

JSON_TYPE = "application/json"
WORKERS = "/v1/worker/"
"""Path of the calls that workers make."""
LINKS = "/v1/links/"
"""Path of the calls of those who have a link alone, which is in the body."""

_ENUM_MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")
"""The repr of an enumeration's member."""
_ID_PATTERN = re.compile(r"String should match pattern '\^([A-Z])-\[0-7\].*'")
"""Pydantic's message about a text that does not match an id's pattern."""

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")


class SizeLimit(NamedTuple):
    """The maximum size of a body in bytes, and the name of the setting that limits it."""

    what: str
    size: int


def size_limit(scope: Scope, limits: Limits) -> SizeLimit:
    """Return the limit of this request's body."""
    if scope["path"].startswith((WORKERS, LINKS)):
        return SizeLimit("worker_body", limits.worker_body_bytes)
    return SizeLimit("body", limits.body_bytes)


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header field with this (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def limited(scope: Scope, receive: Receive, limit: SizeLimit) -> Receive:
    """Return `receive` wrapped to raise PayloadTooLarge once the body passes the limit, whatever its header says."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit.size:
                raise PayloadTooLarge(*limit)
        return message

    check_length(scope, limit)
    return counted


def check_length(scope: Scope, limit: SizeLimit) -> None:
    """Raise PayloadTooLarge when the Content-Length header exceeds the limit."""
    length = header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > limit.size:
        raise PayloadTooLarge(*limit)


async def read(scope: Scope, receive: Receive, limit: SizeLimit) -> bytes:
    """Return the whole body. Raises PayloadTooLarge, or ClientDisconnect when the client disconnects before its end."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body = message.get("body", b"")
        if len(body) > limit.size:
            raise PayloadTooLarge(*limit)
        return body
    check_length(scope, limit)
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit.size:
            raise PayloadTooLarge(*limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def media_type(scope: Scope) -> tuple[str, str]:
    """Return the body's media type in lower case and its charset, each empty when missing. Raises EncodedBody."""
    said = b""
    for key, value in reversed(scope["headers"]):
        if key == b"content-type":
            said = value
        elif key == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise EncodedBody
    return _short_type(said) if len(said) <= _SHORT_TYPE else _type(said)


def _type(said: bytes) -> tuple[str, str]:
    kind, _, rest = said.decode("latin-1").partition(";")
    charset = ""
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return kind.strip().lower(), charset


_short_type = lru_cache(maxsize=256)(_type)


def require_json(scope: Scope, accepted: Sequence[str] = (JSON_TYPE,)) -> None:
    """Raise UnsupportedMediaType unless the media type is JSON or missing."""
    kind, charset = media_type(scope)
    if (kind and kind != JSON_TYPE) or charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType(accepted)


async def value_of(body: bytes, limits: Limits) -> Any:
    """Return the decoded JSON of a body within the limits. Large ones are decoded in a thread.

    Raises MalformedBody, PayloadTooLarge.
    """
    if len(body) <= AT_ONCE:
        return decoded(body, limits)
    return await asyncio.to_thread(decoded, body, limits)


async def off_loop(body: bytes, work: Callable[[], Result]) -> Result:
    """Return `work()`, run in a thread if the body is large, so that the event loop serves other requests."""
    return work() if len(body) <= AT_ONCE else await asyncio.to_thread(work)


def decoded(body: bytes, limits: Limits) -> Any:
    """Return the decoded JSON of a body. Raises MalformedBody, PayloadTooLarge."""
    try:
        return decode_within(body, limits)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"not valid JSON: {error.msg} (at {error.pos})") from None
    except NestedTooDeep as error:
        raise MalformedBody(str(error)) from None
    except ValueError as error:
        raise MalformedBody(f"not valid JSON: {error}") from None


async def json_of(body: bytes, limits: Limits) -> Json:
    """Return a body as a normalised `Json` value. Raises MalformedBody, PayloadTooLarge."""
    return await off_loop(body, lambda: Json.of(decoded(body, limits)))


async def encoded_value(body: bytes, value: Any) -> Json:
    """Return a value of a decoded body as `Json`; of a large body it is encoded in a thread."""
    return await off_loop(body, lambda: Json.of(value))


def validated(model: type[Model], value: Any) -> Model:
    """Return the validated model of a decoded body. Raises InvalidBody."""
    checked, left = value, 0
    if isinstance(value, dict) and len(cast("dict[str, Any]", value)) > MOST_ERRORS:
        checked, left = _with_fewer_members(model, cast("dict[str, Any]", value))
    try:
        # What `model_validate` does after it has looked at its options.
        return model.__pydantic_validator__.validate_python(checked)
    except ValidationError as error:
        raise invalid_body(error, left=left) from None


def short_validated(model: type[Model], body: bytes, limits: Limits) -> Model:
    """Return the validated model of a short body, which is remembered: few different ones are sent.

    Raises InvalidBody, MalformedBody, PayloadTooLarge.
    """
    return _remembered(model, body, limits.values, limits.digits)


@lru_cache(maxsize=512)
def _remembered(model: type[Model], body: bytes, values: int, digits: int) -> Model:
    return validated(model, decoded(body, Limits(values=values, digits=digits)))


def _with_fewer_members(model: type[BaseModel], members: dict[str, Any]) -> tuple[Any, int]:
    """Return a body without most of its very many unknown members, each of which is one error, and how many it lost."""
    if model.model_config.get("extra") != "forbid":
        return members, 0
    known = {name for field, info in model.model_fields.items() for name in (field, info.alias)}
    lost = set([name for name in members if name not in known][KEPT_UNKNOWN:])
    return {name: member for name, member in members.items() if name not in lost}, len(lost)


def validated_union(adapter: TypeAdapter[Result], value: Any) -> Result:
    """Return a decoded body as the model of a union that it validates as. Raises InvalidBody."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise invalid_body(error) from None


def readable_message(message: str) -> str:
    """Return a validation message with enumeration members shown by their values and id patterns in words."""
    return _ID_PATTERN.sub(r"an id here is \1- and 26 letters and digits", _ENUM_MEMBER.sub(r"\1", message))


def invalid_body(error: ValidationError, *, left: int = 0) -> InvalidBody:
    """Return where a body breaks its schema and why, without the values that were sent; `left` errors more are known.

    Of very many errors the number is returned alone.
    """
    count = error.error_count() + left
    if error.error_count() > MOST_ERRORS:  # pydantic builds all or none
        return InvalidBody(
            [_field_error([], f"{count} parts of it do not fit; send fewer to see which")], left=count - 1
        )
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return InvalidBody([_field_error(item["loc"], item["msg"]) for item in found], left=left)


def _field_error(path: Iterable[object], message: str) -> dict[str, str]:
    """Return one entry of `errors`; names and messages that contain what was sent are cut."""
    return {"field": field_path(path), "message": readable_message(message)[:LONGEST_MESSAGE]}


def field_path(parts: Iterable[object]) -> str:
    """Return a field's path with dots, cut where it is very long."""
    return ".".join(map(str, parts))[:LONGEST_MESSAGE]
