"""Path and query parameters: parsed strictly; errors name the limit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.types import Scope

from app.domain.errors import InvalidRequest
from app.domain.events import EventKind
from app.domain.ids import is_id
from app.domain.search_words import QUERY_LENGTH
from app.engine.ops.minutes import KEPT_MINUTES
from app.engine.ops.task_filters import MOST_LABELS
from app.http.queries import pairs_of
from app.http.routes import parameter
from app.http.settings import HttpSettings
from swarmhold.models.instants import from_rfc3339
from swarmhold.models.names import LinkId, Name, NamespaceName, QuestionKey, SessionId, TaskId

_NUMBER = re.compile(r"[0-9][0-9.eE+-]{0,30}", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,18}", re.ASCII)
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_NONE: Mapping[str, str] = {}


def _id_schema(letter: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{letter}-[0-7][0-9a-hjkmnp-tv-z]{{25}}$"}


# What the OpenAPI document says of parameters; it adds the limits that the settings decide.
_ID = _id_schema("T")
_SECONDS = {"type": "number", "minimum": 0}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}

TASK_ID = parameter("task_id", _ID, "A task's id.", where="path")
_KEY_TEXT = "A question's key."
QUESTION_KEY = parameter("key", {**_id_schema("R"), "description": _KEY_TEXT}, _KEY_TEXT, where="path")
OPTIONAL_TASK_ID = parameter("task_id", _ID, "Checked when given: it must be the worker's own.")
HOLD = parameter("hold", _SECONDS, "Seconds to wait; 0 is a snapshot.")
WAIT = parameter("wait", {**_SECONDS, "default": 0}, "Seconds to wait for the outcome.")
SINCE = parameter("since", _COUNT, "Return as soon as the version is greater.")
OK = parameter(
    "ok", {"type": "string", "enum": ["true", "false", "1", "0"], "default": "true"}, "Whether it succeeded."
)
FAILED = parameter(
    "failed",
    {"type": "string", "enum": ["true", "false", "1", "0"], "default": "false"},
    "Whether the worker's program failed: retried by policies that cover `failed`. `ok` is false then.",
)
AFTER = parameter("after", _COUNT, "Begin after this cursor, 0 from the beginning; live without it.")
LAST = parameter("last", {**_COUNT, "maximum": 1000}, "Begin with so many of the latest events; `after` wins.")
TYPES = parameter(
    "types",
    {"type": "array", "items": {"type": "string", "enum": [kind.value for kind in EventKind]}},
    "Kinds of events, separated by commas or by giving the parameter again.",
)
TASK = parameter("task", _ID, "Events of this task only.")
LAST_EVENT_ID = parameter(
    "Last-Event-ID", {"anyOf": [_COUNT, {"const": ""}]}, "Resume after this cursor.", where="header"
)


def _decimal(value: object) -> int:
    """Return the integer that a path or query parameter spells: digits alone, no sign, fraction or space."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise PydanticCustomError("whole_number", "a whole number in decimal digits")


_DECIMAL = BeforeValidator(_decimal)

TaskPath = Annotated[TaskId, Path(description="A task's id.")]
QuestionPath = Annotated[QuestionKey, Path(description="A question's key.")]
LinkPath = Annotated[LinkId, Path(description="A link's id.")]
SessionPath = Annotated[SessionId, Path(description="A session's id.")]
NamePath = Annotated[Name, Path(description="A name.")]
NewNamePath = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200}),
    Path(description="A name, as `POST` bodies have them."),
]
AttemptPath = Annotated[int, Field(ge=1, le=2**31 - 1), _DECIMAL, Path(description="An attempt's number, from 1.")]
LateIndex = Annotated[int, Field(ge=0, le=2**31 - 1), _DECIMAL, Path(description="A late result's index, from 0.")]

Hold = Annotated[str | None, WithJsonSchema(HOLD["schema"]), Query(description=HOLD["description"])]
Limit = Annotated[
    int | None, _DECIMAL, WithJsonSchema({"type": "integer", "minimum": 1}), Query(description="Items per page.")
]
_PAGE_CURSOR = Query(max_length=1000, description="`next_cursor` of the page before.")
TaskCursor = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]{1,15}\.[0-9]{1,15}\.)?T-[0-7][0-9a-hjkmnp-tv-z]{25}$"}),
    _PAGE_CURSOR,
]
SessionCursor = Annotated[str | None, WithJsonSchema(_id_schema("S")), _PAGE_CURSOR]
KeyCursor = Annotated[str | None, WithJsonSchema(_id_schema("K")), _PAGE_CURSOR]
SkillCursor = Annotated[str | None, WithJsonSchema(_id_schema("P")), _PAGE_CURSOR]
WebhookCursor = Annotated[str | None, WithJsonSchema(_id_schema("H")), _PAGE_CURSOR]
NumberCursor = Annotated[str | None, WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,18}$"}), _PAGE_CURSOR]
BehindOutput = Annotated[
    int, Field(ge=0, le=2**31 - 1), _DECIMAL, Query(description="`next_cursor` of the page before, or a number.")
]
OutputPath = Annotated[int, Field(ge=1, le=2**31 - 1), _DECIMAL, Path(description="An output's number, from 1.")]
QuestionCursor = Annotated[str | None, WithJsonSchema(_id_schema("R")), _PAGE_CURSOR]
NameQuery = Annotated[Name | None, Query()]
NamespaceQuery = Annotated[NamespaceName | None, Query()]
TaskQuery = Annotated[TaskId | None, Query()]
SessionQuery = Annotated[SessionId | None, Query()]
_LABEL_SCHEMA = {"type": "string", "pattern": "^[^:]+:.*$", "maxLength": 1201}
LabelFilter = Annotated[
    list[str] | None,
    WithJsonSchema({"type": "array", "items": _LABEL_SCHEMA, "maxItems": MOST_LABELS}),
    Query(description="`key:value`; give it again for tasks that have several."),
]
SearchQuery = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": QUERY_LENGTH}),
    Query(
        description="Words in directive, result, agent and labels, or the beginning of an id. What is in quotes is "
        "searched for as it is, a word as the beginning of one. The index behind it may lag by seconds."
    ),
]
_INSTANT = {"type": "string", "format": "date-time"}
InstantQuery = Annotated[str | None, WithJsonSchema(_INSTANT), Query(max_length=64)]
Sort = Annotated[
    Literal["newest", "oldest", "longest", "shortest"] | None,
    Query(
        description="Which tasks come first; the newest. `longest` and `shortest` go by the time from the first "
        "dispatch until the task was settled, or until now, among the newest 10,000 that fit. Tasks that were never "
        "dispatched are left out of these."
    ),
]
AttachedQuery = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "enum": ["true", "false", "1", "0"]}),
    Query(description="Those that are attached now, or those that ended."),
]
Minutes = Annotated[
    int,
    Field(ge=1, le=KEPT_MINUTES),
    _DECIMAL,
    Query(description="How many of the latest whole minutes."),
]


def query_of(scope: Scope) -> Mapping[str, str]:
    """Return the query's parameters; the last value of a repeated one."""
    return dict(pairs_of(scope["query_string"])) if scope["query_string"] else _NONE


def listed_in(scope: Scope, name: str) -> list[str]:
    """Return the items of a list parameter, separated by commas, given repeatedly, or both."""
    given = [value for key, value in pairs_of(scope["query_string"]) if key == name]
    return [text for item in ",".join(given).split(",") if (text := item.strip())]


def hold_of(
    text: str | None, settings: HttpSettings, *, name: str = "hold", default: timedelta | None = None
) -> timedelta:
    """Return a hold in seconds. Raises InvalidRequest unless it is a number from 0 to the longest hold."""
    if text is None:
        return settings.default_hold if default is None else default
    return duration_of(_number(text), settings, name=name)


def duration_of(seconds: float | None, settings: HttpSettings, *, name: str = "hold") -> timedelta:
    """Return a hold from its seconds. Raises InvalidRequest outside 0 to the longest hold."""
    longest = settings.longest_hold.total_seconds()
    if seconds is None or not 0 <= seconds <= longest:
        raise InvalidRequest(f"a number of seconds from 0 to {longest:g}", name)
    return timedelta(seconds=seconds)


def _number(text: str) -> float | None:
    if _NUMBER.fullmatch(text) is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def integer_of(text: str | None, name: str) -> int | None:
    """Return a non-negative integer, None when missing. Raises InvalidRequest."""
    if text is None:
        return None
    if _WHOLE.fullmatch(text) is None:
        raise InvalidRequest("a whole number from 0, of at most 18 digits", name)
    return int(text)


def boolean_of(text: str | None, name: str, *, default: bool) -> bool:
    """Return a boolean written as true, false, 1 or 0. Raises InvalidRequest."""
    if text is None:
        return default
    truth = _TRUTH.get(text)
    if truth is None:
        raise InvalidRequest("true, false, 1 or 0", name)
    return truth


def limit_of(limit: int | None, settings: HttpSettings) -> int:
    """Return the number of items per page. Raises InvalidRequest beyond the limit."""
    if limit is None:
        return min(settings.page_default, settings.limits.page_items)
    if not 1 <= limit <= settings.limits.page_items:
        raise InvalidRequest(f"a page holds 1 to {settings.limits.page_items} items", "limit")
    return limit


def labels_of(texts: list[str] | None) -> tuple[tuple[str, str], ...]:
    """Return label filters, each `key:value`. Raises InvalidRequest."""
    return tuple(_label_of(text) for text in texts or ())


def _label_of(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not key or not colon:
        raise InvalidRequest("a label filter is key:value", "label")
    return key, value


def instant_of(text: str | None, name: str) -> int | None:
    """Return an instant in milliseconds, None when missing. Raises InvalidRequest."""
    if text is None:
        return None
    try:
        return round(from_rfc3339(text).timestamp() * 1000)
    except ValueError as error:
        raise InvalidRequest(str(error), name) from None


def task_id_of(scope: Scope) -> str:
    """Return the task id in the path. Raises InvalidRequest for a malformed one."""
    text: str = scope["path_params"]["task_id"]
    return checked_task_id(text)


def question_key_of(scope: Scope) -> str:
    """Return the question's key in the path. Raises InvalidRequest for a malformed one."""
    text: str = scope["path_params"]["key"]
    if not is_id(text, "R"):
        raise InvalidRequest("an id here is R- and 26 letters and digits", "key")
    return text


def checked_task_id(text: str, name: str = "task_id") -> str:
    """Return the text if it is a well-formed task id. Raises InvalidRequest."""
    if not is_id(text, "T"):
        raise InvalidRequest("a task's id is T- and 26 letters and digits", name)
    return text
