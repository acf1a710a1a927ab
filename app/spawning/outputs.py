"""Read what workers send out of plain JSON values: output events `{type: progress | partial | artifact | usage |
final, …}` and replies `{value?, ok=true, error?}`.
"""

from __future__ import annotations

from typing import Any, cast

from app.domain.errors import InvalidInput
from app.domain.json import Json
from app.domain.outputs import Final, OutputEvent, OutputType
from app.domain.redaction import printable
from app.domain.usage import read_report
from app.spawning.ports import Exit


def as_event(value: Any) -> OutputEvent | Final | None:
    """Return the output event that a decoded value spells; None when it spells none. Further fields are skipped.

    `ok` of a final may be missing and is then true; `note` of a progress may be missing.
    """
    fields = _object(value)
    match fields.get("type"):
        case "progress" if _is_name(fields.get("stage")) and isinstance(fields.get("note"), str | None):
            return OutputEvent.progress(fields["stage"], fields.get("note"))
        case "partial" if "chunk" in fields:
            return OutputEvent.partial(fields["chunk"])
        case "artifact" if _is_name(fields.get("name")) and content_value(fields.get("content")) is not None:
            body = {"name": fields["name"], "content": fields["content"]}
            return OutputEvent(type=OutputType.ARTIFACT, body=Json.of(body))
        case "usage":
            return _usage(fields)
        case "final":
            return _final(fields)
        case _:
            return None


def as_exact_final(value: Any) -> Final | None:
    """Return the Final of an object with exactly the fields `{type: final, content, ok}`; else None."""
    fields = _object(value)
    return _final(fields) if fields.keys() == {"type", "content", "ok"} and fields["type"] == "final" else None


def content_value(content: Any) -> Json | None:
    """Return the value of output content: of inline content its value, of a file reference itself; else None."""
    fields = _object(content)
    match fields.get("kind"):
        case "inline" if "value" in fields:
            return Json.of(fields["value"])
        case "file_ref" if _is_name(fields.get("path")):
            return Json.of(fields)
        case _:
            return None


def read_reply(fields: dict[str, Any]) -> Exit | None:
    """Return how the worker ended; None if it was only started: without value, error or `ok` false. Null is a value.

    An error is the worker's failure, whatever else there is. Raises ValueError when `ok` is no boolean.
    """
    ok, error = fields.get("ok", True), fields.get("error")
    if not isinstance(ok, bool):
        raise ValueError("'ok' is not a boolean")
    if error is not None:
        return Exit(detail=printable(error if isinstance(error, str) else Json.of(error).text))
    if "value" not in fields and ok:
        return None
    return Exit(final=Final(value=Json.of(fields.get("value")), ok=ok))


def _usage(fields: dict[str, Any]) -> OutputEvent | None:
    known = {name: fields.get(name) for name in ("input_tokens", "output_tokens", "cost", "model")}
    try:
        read_report(known)
    except InvalidInput:
        return None
    return OutputEvent.usage(**known)


def _final(fields: dict[str, Any]) -> Final | None:
    value, ok = content_value(fields.get("content")), fields.get("ok", True)
    return Final(value=value, ok=ok) if value is not None and isinstance(ok, bool) else None


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""
