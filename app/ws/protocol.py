"""The WebSocket protocol as a state machine without I/O: bytes in, frames and actions out.

One `Protocol` serves one connection. It parses and builds frames and records which questions the client was shown; it
has no socket, no engine and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from app.domain.errors import PayloadTooLarge
from app.domain.json import Json, encode
from app.domain.limits import Limits
from app.http.bodies import decoded, invalid_body
from app.http.errors import MalformedBody
from swarmhold.models.frames import Answer, HookAck, Ping, SpawnAck

View = dict[str, Any]

READ_INSTEAD = "too large for a frame: read it at GET /v1/senior/questions/{key}"


@dataclass(frozen=True, slots=True)
class Say:
    """A frame to send. `delivers` is the key of the question that it shows."""

    frame: bytes
    delivers: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of the client: pass it to the engine, then call `accepted` or `rejected`."""

    key: str
    value: Json


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An acknowledgement of a request by the client."""

    ack: HookAck | SpawnAck


Heard = Say | Answered | Acknowledged

PONG = Say(b'{"type":"pong"}')


def _say(kind: str, delivers: str | None = None, **fields: Any) -> Say:
    return Say(encode({"type": kind, **fields}), delivers)


def error(code: str, detail: str, req_id: str | None = None) -> Say:
    """Return an error frame for a frame that could not be used."""
    return _say("error", code=code, detail=detail, **({} if req_id is None else {"req_id": req_id}))


class Protocol:
    """The protocol state of one connection. `frames` validates the frames of the client."""

    def __init__(self, frames: TypeAdapter[Any], *, limits: Limits) -> None:
        self._frames = frames
        self._limit = limits.frame_bytes
        self._limits = limits
        self._shown: set[str] = set()
        # Questions whose answers the engine is deciding on, and the frame to send if they were settled meanwhile.
        self._answering: dict[str, Say | None] = {}

    # Frames of the client

    def hear(self, data: str | bytes) -> Heard:
        """Decode a message and return what it requests; an invalid one returns an error frame to send."""
        raw = data.encode(errors="replace") if isinstance(data, str) else data
        if len(raw) > self._limit:
            return error("payload-too-large", f"a frame holds at most {self._limit} bytes")
        try:
            value = decoded(raw, self._limits)
        except MalformedBody as fault:
            return error("malformed-frame", fault.reason)
        except PayloadTooLarge as fault:
            return error(fault.code, str(fault))
        if not isinstance(value, dict):
            return error("malformed-frame", "a frame is a JSON object with a type")
        return self._understand(cast("View", value))

    def _understand(self, value: View) -> Heard:
        given = value.get("req_id")
        req_id = given if isinstance(given, str) and len(given) <= 200 else None
        try:
            frame = self._frames.validate_python(value)
        except ValidationError as refusal:
            return _misunderstood(refusal, value.get("type"), req_id)
        match frame:
            case Answer():
                return Answered(frame.key, Json.of(frame.value))
            case HookAck() | SpawnAck():
                return Acknowledged(frame)
            case Ping():
                return PONG
            case _:
                return error("unknown-type", "frames of this type are not for the server", req_id)

    # Frames to the client

    def welcome(self, bridge_id: str, open_questions: int) -> Say:
        """Return the first frame."""
        return _say("welcome", bridge_id=bridge_id, open=open_questions)

    def ask(self, question: View) -> Say | None:
        """Return the frame that shows a question, given in its API form; None when it was shown already."""
        key = question["key"]
        if key in self._shown:
            return None
        self._shown.add(key)
        fields = {name: question[name] for name in _ASKED if name in question}
        said = _say("ask", key, **fields)
        if len(said.frame) <= self._limit:
            return said
        for name in ("answer_schema", "choices"):
            fields.pop(name, None)
        short = {"truncated": True, "bytes": len(said.frame), "detail": READ_INSTEAD.format(key=key)}
        return _say("ask", key, **{**fields, "question": short})

    def withdrawn(self, key: str, reason: str) -> Say | None:
        """Return the frame for a settled question; None when the client was not shown it, or answered it itself."""
        if key not in self._shown:
            return None
        said = _say("withdrawn", key=key, reason=reason)
        if key in self._answering:
            self._answering[key] = said
            return None
        self._shown.discard(key)
        return said

    def answering(self, key: str) -> None:
        """Hold back frames about the question until the engine has decided on its answer."""
        self._answering[key] = None

    def accepted(self, key: str) -> list[Say]:
        """Return the frames for an accepted answer."""
        self._answering.pop(key, None)
        self._shown.discard(key)
        return [_say("accepted", key=key)]

    def rejected(self, key: str, code: str, detail: str) -> list[Say]:
        """Return the frames for a rejected answer, and for what happened to the question meanwhile."""
        said = [_say("rejected", key=key, code=code, detail=detail)]
        if (settled := self._answering.pop(key, None)) is not None:
            self._shown.discard(key)
            said.append(settled)
        return said

    def request(self, kind: str, req_id: str, **fields: Any) -> Say:
        """Return the frame of a request to a backend."""
        return _say(kind, req_id=req_id, **fields)


_ASKED = (
    "key",
    "task_id",
    "attempt",
    "agent",
    "question",
    "answer_schema",
    "choices",
    "asked_at",
    "deadline",
    "bridge_id",
)


def _misunderstood(refusal: ValidationError, kind: object, req_id: str | None) -> Say:
    # A wrong tag is the only error of its frame.
    if refusal.error_count() == 1 and refusal.errors(include_url=False)[0]["type"].startswith("union_tag"):
        return error("unknown-type", "there is no frame of this type" if kind else "a frame has a type", req_id)
    shown = "; ".join(f"{item['field']}: {item['message']}" for item in invalid_body(refusal).errors[:5])
    return error("invalid-frame", shown, req_id)
