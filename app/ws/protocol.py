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
from swarmhold.models.frames import Answer, HookAck, Ping, SpawnAck, Viewing

View = dict[str, Any]

READ_INSTEAD = "too large for a frame: read it at GET /v1/senior/questions/{key}"


@dataclass(frozen=True, slots=True)
class OutgoingFrame:
    """A frame to send. `question_key` names the question that it shows, if any."""

    data: bytes
    question_key: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of the client: pass it to the engine, then call `accepted` or `rejected`."""

    key: str
    value: Json
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An acknowledgement of a request by the client."""

    ack: HookAck | SpawnAck


@dataclass(frozen=True, slots=True)
class Viewed:
    """The question that the client's person looks at now; None for none."""

    key: str | None


Incoming = OutgoingFrame | Answered | Acknowledged | Viewed

PONG = OutgoingFrame(b'{"type":"pong"}')


def _frame_of(kind: str, question_key: str | None = None, **fields: Any) -> OutgoingFrame:
    return OutgoingFrame(encode({"type": kind, **fields}), question_key)


def error(code: str, detail: str, req_id: str | None = None) -> OutgoingFrame:
    """Return an error frame for a frame that could not be used."""
    return _frame_of("error", code=code, detail=detail, **({} if req_id is None else {"req_id": req_id}))


class Protocol:
    """The protocol state of one connection. `frames` validates the frames of the client."""

    def __init__(self, frames: TypeAdapter[Any], *, limits: Limits) -> None:
        self._frames = frames
        self._limit = limits.frame_bytes
        self._limits = limits
        self._shown: set[str] = set()
        # Questions whose answers the engine is deciding on, and the frame to send if they were settled meanwhile.
        self._answering: dict[str, OutgoingFrame | None] = {}

    # Frames of the client

    def receive(self, data: str | bytes) -> Incoming:
        """Decode a message and return the action that it requests: for an invalid one, an error frame to send."""
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
        return self._parse(cast("View", value))

    def _parse(self, value: View) -> Incoming:
        given = value.get("req_id")
        req_id = given if isinstance(given, str) and len(given) <= 200 else None
        try:
            frame = self._frames.validate_python(value)
        except ValidationError as refusal:
            return _invalid_frame(refusal, value.get("type"), req_id)
        match frame:
            case Answer():
                return Answered(frame.key, Json.of(frame.value), frame.comment)
            case Viewing():
                return Viewed(frame.key)
            case HookAck() | SpawnAck():
                return Acknowledged(frame)
            case Ping():
                return PONG
            case _:
                return error("unknown-type", "frames of this type are not for the server", req_id)

    # Frames to the client

    def welcome(self, bridge_id: str, open_questions: int) -> OutgoingFrame:
        """Return the welcome, the first frame of a connection."""
        return _frame_of("welcome", bridge_id=bridge_id, open=open_questions)

    def ask(self, question: View) -> OutgoingFrame | None:
        """Return the frame that shows a question, given in its API form; None when it was shown already."""
        key = question["key"]
        if key in self._shown:
            return None
        self._shown.add(key)
        fields = {name: question[name] for name in _ASK_FIELDS if name in question}
        shown = _frame_of("ask", key, **fields)
        if len(shown.data) <= self._limit:
            return shown
        for name in ("answer_schema", "choices", "action"):
            fields.pop(name, None)
        short = {"truncated": True, "bytes": len(shown.data), "detail": READ_INSTEAD.format(key=key)}
        return _frame_of("ask", key, **{**fields, "question": short})

    def withdrawn(self, key: str, reason: str) -> OutgoingFrame | None:
        """Return the frame for a settled question; None when the client was not shown it, or answered it itself."""
        if key not in self._shown:
            return None
        frame = _frame_of("withdrawn", key=key, reason=reason)
        if key in self._answering:
            self._answering[key] = frame
            return None
        self._shown.discard(key)
        return frame

    def viewers(self, key: str, names: list[str]) -> OutgoingFrame:
        """Return the frame that says who else looks at a question."""
        return _frame_of("viewers", key=key, viewers=names)

    def answering(self, key: str) -> None:
        """Hold back frames about the question until the engine has decided on its answer."""
        self._answering[key] = None

    def accepted(self, key: str) -> list[OutgoingFrame]:
        """Return the frames for an accepted answer."""
        self._answering.pop(key, None)
        self._shown.discard(key)
        return [_frame_of("accepted", key=key)]

    def rejected(self, key: str, code: str, detail: str) -> list[OutgoingFrame]:
        """Return the frames for a rejected answer, and for what happened to the question meanwhile."""
        frames = [_frame_of("rejected", key=key, code=code, detail=detail)]
        if (settled := self._answering.pop(key, None)) is not None:
            self._shown.discard(key)
            frames.append(settled)
        return frames

    def request(self, kind: str, req_id: str, **fields: Any) -> OutgoingFrame:
        """Return the frame of a request to a backend."""
        return _frame_of(kind, req_id=req_id, **fields)


_ASK_FIELDS = (
    "key",
    "task_id",
    "attempt",
    "agent",
    "title",
    "question",
    "answer_schema",
    "choices",
    "comment",
    "asked_at",
    "deadline",
    "bridge_id",
    "action",
    "action_digest",
    "allowed",
)


def _invalid_frame(refusal: ValidationError, kind: object, req_id: str | None) -> OutgoingFrame:
    # A wrong tag is the only error of its frame.
    if refusal.error_count() == 1 and refusal.errors(include_url=False)[0]["type"].startswith("union_tag"):
        return error("unknown-type", "there is no frame of this type" if kind else "a frame has a type", req_id)
    shown = "; ".join(f"{item['field']}: {item['message']}" for item in invalid_body(refusal).errors[:5])
    return error("invalid-frame", shown, req_id)
