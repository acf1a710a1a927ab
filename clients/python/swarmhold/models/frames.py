"""Frames: everything that travels over the two WebSockets, distinguished by `type`.

A senior console and an operator backend use the same frames; a backend has some more.
Readers skip fields and frame types that they do not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, TypeAdapter

from swarmhold.models.close_codes import CloseCode
from swarmhold.models.instants import Instant
from swarmhold.models.names import QuestionKey
from swarmhold.models.questions import Choice, Comment, choices_of
from swarmhold.models.shapes import JsonObject, JsonValue, Shape, WireModel
from swarmhold.models.workers import TraceContext

__all__ = [
    "BEARER_SUBPROTOCOL",
    "SUBPROTOCOL",
    "Accepted",
    "Answer",
    "Ask",
    "BackendClientFrame",
    "BackendServerFrame",
    "CancelSpawn",
    "ClientFrame",
    "CloseCode",
    "ErrorFrame",
    "HookAck",
    "HookAfter",
    "HookBefore",
    "Ping",
    "Pong",
    "Rejected",
    "SeniorClientFrame",
    "SeniorServerFrame",
    "Spawn",
    "SpawnAck",
    "Viewers",
    "Viewing",
    "Welcome",
    "Withdrawn",
    "backend_client_frames",
    "backend_server_frames",
    "frames_document",
    "senior_client_frames",
    "senior_server_frames",
]

SUBPROTOCOL = "swarmhold.v1"
BEARER_SUBPROTOCOL = "swarmhold.bearer."
"""A browser, which cannot set headers, offers a subprotocol of this prefix and its credential."""


class Welcome(Shape):
    """The first frame: the id that the connection is registered under, and what is open."""

    type: Literal["welcome"] = "welcome"
    bridge_id: str
    open: int


class Ask(Shape):
    """A question to answer. It is sent at least once, and again on every connect while open."""

    type: Literal["ask"] = "ask"
    key: str
    task_id: str
    attempt: int
    agent: str
    title: str | None = None
    question: JsonValue
    answer_schema: JsonObject | None = None
    choices: list[JsonValue] | None = None
    comment: bool | None = None
    asked_at: Instant
    deadline: Instant | None = None
    action: JsonObject | None = None
    action_digest: str | None = None
    allowed: list[str] | None = None

    @property
    def options(self) -> list[Choice]:
        """The choices with the values that are answered, none without choices."""
        return choices_of(self.choices)


class Accepted(Shape):
    """The answer counts and is durable."""

    type: Literal["accepted"] = "accepted"
    key: str


class Rejected(Shape):
    """The answer does not count; `code` is the engine's."""

    type: Literal["rejected"] = "rejected"
    key: str
    code: str
    detail: str


class Withdrawn(Shape):
    """The question was closed; an answer would not count any more."""

    type: Literal["withdrawn"] = "withdrawn"
    key: str
    reason: str


class Viewers(Shape):
    """The labels of others who look at the question that this console said it is viewing."""

    type: Literal["viewers"] = "viewers"
    key: str
    viewers: list[str]


class Pong(Shape):
    """The reply to a ping."""

    type: Literal["pong"] = "pong"


class ErrorFrame(Shape):
    """The last frame could not be used; the connection lives on."""

    type: Literal["error"] = "error"
    code: str
    detail: str
    req_id: str | None = None


class HookBefore(Shape):
    """A request to agree to the start of an attempt, which waits for the `hook_ack`."""

    type: Literal["hook_before"] = "hook_before"
    req_id: str
    task_id: str
    agent: str
    attempt: int


class HookAfter(Shape):
    """The attempt ended with `result`; it waits for the `hook_ack`."""

    type: Literal["hook_after"] = "hook_after"
    req_id: str
    task_id: str
    agent: str
    attempt: int
    result: JsonValue


class Spawn(Shape):
    """Run this attempt: start a worker, give it handle and base URL, let it fetch and submit."""

    type: Literal["spawn"] = "spawn"
    req_id: str
    task_id: str
    agent: str
    attempt: int
    worker_handle: str = Field(repr=False)
    base_url: str
    directive: str = Field(repr=False)
    trace: TraceContext | None = None


class CancelSpawn(Shape):
    """Stop what runs for this attempt."""

    type: Literal["cancel"] = "cancel"
    req_id: str
    task_id: str
    attempt: int


class ClientFrame(WireModel):
    """A frame from outside: fields that this version does not know are skipped."""

    model_config = ConfigDict(extra="ignore")


class Answer(ClientFrame):
    """A senior's answer; it is replied to with `accepted` or `rejected`."""

    type: Literal["answer"] = "answer"
    key: Annotated[str, Field(max_length=200)]
    value: JsonValue
    comment: Comment | None = None


class Viewing(ClientFrame):
    """The question that a person looks at now, null for none. Others who look at it see that; it decides nothing."""

    type: Literal["viewing"] = "viewing"
    key: QuestionKey | None


class Ping(ClientFrame):
    """A request for a `pong`, to see whether the connection lives."""

    type: Literal["ping"] = "ping"


class HookAck(ClientFrame):
    """The reply to a hook; `ok` false with a `reason` keeps an attempt from starting."""

    type: Literal["hook_ack"] = "hook_ack"
    req_id: Annotated[str, Field(max_length=200)]
    ok: StrictBool
    reason: str | None = None


class SpawnAck(ClientFrame):
    """The reply to a spawn: the worker was started or, with a value (even null), an error or `ok` false, has ended."""

    type: Literal["spawn_ack"] = "spawn_ack"
    req_id: Annotated[str, Field(max_length=200)]
    value: JsonValue = None
    ok: StrictBool = True
    error: JsonValue = None

    @property
    def finished(self) -> bool:
        """Whether the worker has ended, rather than only started."""
        return self.has("value") or self.error is not None or not self.ok


SeniorServerFrame = Annotated[
    Welcome | Ask | Accepted | Rejected | Withdrawn | Viewers | Pong | ErrorFrame,
    Field(discriminator="type"),
]
BackendServerFrame = Annotated[
    Welcome
    | Ask
    | Accepted
    | Rejected
    | Withdrawn
    | Viewers
    | Pong
    | ErrorFrame
    | HookBefore
    | HookAfter
    | Spawn
    | CancelSpawn,
    Field(discriminator="type"),
]
SeniorClientFrame = Annotated[Answer | Viewing | Ping, Field(discriminator="type")]
BackendClientFrame = Annotated[Answer | Viewing | Ping | HookAck | SpawnAck, Field(discriminator="type")]

_WHEN_USED = ConfigDict(defer_build=True)  # most programs and commands use none of these
senior_server_frames: TypeAdapter[SeniorServerFrame] = TypeAdapter(SeniorServerFrame, config=_WHEN_USED)
senior_client_frames: TypeAdapter[SeniorClientFrame] = TypeAdapter(SeniorClientFrame, config=_WHEN_USED)
backend_server_frames: TypeAdapter[BackendServerFrame] = TypeAdapter(BackendServerFrame, config=_WHEN_USED)
backend_client_frames: TypeAdapter[BackendClientFrame] = TypeAdapter(BackendClientFrame, config=_WHEN_USED)


def frames_document() -> dict[str, Any]:
    """Return the JSON Schema of every frame by socket and direction, as committed in `openapi/`."""
    by_socket, shared = TypeAdapter.json_schemas(
        [
            ("senior_server_to_client", "serialization", senior_server_frames),
            ("senior_client_to_server", "validation", senior_client_frames),
            ("backend_server_to_client", "serialization", backend_server_frames),
            ("backend_client_to_server", "validation", backend_client_frames),
        ],
        ref_template="#/$defs/{model}",
    )
    sockets = {name: schema for (name, _mode), schema in by_socket.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "swarmhold WebSocket frames",
        "description": "Every frame is a JSON object, distinguished by its type.",
        "subprotocol": SUBPROTOCOL,
        "close_codes": {str(code.value): code.name.lower() for code in CloseCode},
        "sockets": {
            "/v1/senior/bridges/{bridge_id}/ws": {
                "server_to_client": sockets["senior_server_to_client"],
                "client_to_server": sockets["senior_client_to_server"],
            },
            "/v1/operator/backends/{id}/ws": {
                "server_to_client": sockets["backend_server_to_client"],
                "client_to_server": sockets["backend_client_to_server"],
            },
        },
        "$defs": shared["$defs"],
    }
