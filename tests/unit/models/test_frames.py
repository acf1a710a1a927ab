from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from swarmhold.models.frames import (
    SpawnAck,
    backend_client_frames,
    backend_server_frames,
    frames_document,
    senior_client_frames,
    senior_server_frames,
)

AT = "2026-01-01T00:00:00.000Z"
SENIOR_SERVER: list[dict[str, Any]] = [
    {"type": "welcome", "bridge_id": "b", "open": 2},
    {
        "type": "ask",
        "key": "R-0",
        "task_id": "T-0",
        "attempt": 1,
        "agent": "a",
        "question": None,
        "choices": ["yes", "no"],
        "asked_at": AT,
    },
    {"type": "accepted", "key": "R-0"},
    {"type": "rejected", "key": "R-0", "code": "already-answered", "detail": "d"},
    {"type": "withdrawn", "key": "R-0", "reason": "cancelled"},
    {"type": "viewers", "key": "R-0", "viewers": ["mo"]},
    {"type": "pong"},
    {"type": "error", "code": "invalid-request", "detail": "d"},
]
BACKEND_SERVER: list[dict[str, Any]] = [
    *SENIOR_SERVER,
    {"type": "hook_before", "req_id": "1", "task_id": "T-0", "agent": "a", "attempt": 1},
    {"type": "hook_after", "req_id": "2", "task_id": "T-0", "agent": "a", "attempt": 1, "result": {"ok": True}},
    {
        "type": "spawn",
        "req_id": "3",
        "task_id": "T-0",
        "agent": "a",
        "attempt": 1,
        "worker_handle": "wh-x",
        "base_url": "http://h",
        "directive": "start",
    },
    {"type": "cancel", "req_id": "4", "task_id": "T-0", "attempt": 1},
]
SENIOR_CLIENT: list[dict[str, Any]] = [
    {"type": "answer", "key": "R-0", "value": None},
    {"type": "viewing", "key": "R-" + "0" * 26},
    {"type": "viewing", "key": None},
    {"type": "ping"},
]
BACKEND_CLIENT: list[dict[str, Any]] = [
    *SENIOR_CLIENT,
    {"type": "hook_ack", "req_id": "1", "ok": True},
    {"type": "hook_ack", "req_id": "1", "ok": False, "reason": "no"},
    {"type": "spawn_ack", "req_id": "3", "ok": True},
    {"type": "spawn_ack", "req_id": "3", "ok": True, "value": None},
    {"type": "spawn_ack", "req_id": "3", "ok": False, "error": "broke"},
]
TABLE: list[tuple[Any, list[dict[str, Any]], str, str]] = [
    (senior_server_frames, SENIOR_SERVER, "/v1/senior/bridges/{bridge_id}/ws", "server_to_client"),
    (senior_client_frames, SENIOR_CLIENT, "/v1/senior/bridges/{bridge_id}/ws", "client_to_server"),
    (backend_server_frames, BACKEND_SERVER, "/v1/operator/backends/{id}/ws", "server_to_client"),
    (backend_client_frames, BACKEND_CLIENT, "/v1/operator/backends/{id}/ws", "client_to_server"),
]


@pytest.mark.parametrize(("adapter", "frames", "socket", "direction"), TABLE)
def test_every_frame_reads_and_writes_back(
    adapter: Any, frames: list[dict[str, Any]], socket: str, direction: str
) -> None:
    """Both sockets, both directions; the published schema takes each frame as well."""
    document = frames_document()
    schema = {**document["sockets"][socket][direction], "$defs": document["$defs"]}
    for frame in frames:
        assert adapter.dump_python(adapter.validate_python(frame), mode="json") == frame
        Draft202012Validator(schema).validate(frame)


def test_a_field_from_the_future_is_skipped_or_kept() -> None:
    """Newer peers may say more in either direction."""
    answer = senior_client_frames.validate_python({"type": "answer", "key": "k", "value": 1, "mood": "good"})
    assert "mood" not in senior_client_frames.dump_python(answer, mode="json")
    pong = senior_server_frames.validate_python({"type": "pong", "load": 3})
    assert senior_server_frames.dump_python(pong, mode="json")["load"] == 3


@pytest.mark.parametrize(
    "frame",
    [
        {},
        [],
        None,
        {"type": "shout"},
        {"type": "answer", "key": "k"},
        {"type": "answer", "value": 1},
        {"type": "hook_ack", "req_id": "1"},
        {"type": "hook_ack", "req_id": "1", "ok": "yes"},
    ],
)
def test_a_broken_frame_is_refused(frame: object) -> None:
    """Unknown types and missing fields raise the one validation error."""
    with pytest.raises(ValidationError):
        backend_client_frames.validate_python(frame)


def test_a_console_may_not_speak_as_a_backend() -> None:
    """Acks are unknown on a senior's socket."""
    with pytest.raises(ValidationError):
        senior_client_frames.validate_python({"type": "spawn_ack", "req_id": "1"})


@pytest.mark.parametrize(
    ("ack", "finished"),
    [
        ({}, False),
        ({"ok": True}, False),
        ({"error": None}, False),
        ({"value": None}, True),
        ({"value": 1}, True),
        ({"error": "broke"}, True),
        ({"ok": False}, True),
    ],
)
def test_a_spawn_ack_says_started_or_finished(ack: dict[str, Any], finished: bool) -> None:
    """Without value, error or a false ok the worker was merely started."""
    assert SpawnAck.model_validate({"type": "spawn_ack", "req_id": "1", **ack}).finished is finished
