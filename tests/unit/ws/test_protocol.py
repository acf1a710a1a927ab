"""The WebSocket protocol without sockets."""

import asyncio
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.limits import Limits
from app.spawning.backends.protocols import BackendGone
from app.ws.outbox import Outbox, SlowReader
from app.ws.pending_requests import EARLY, PendingRequests, req_id_of
from app.ws.protocol import Acknowledged, Answered, OutgoingFrame, Protocol
from swarmhold.models.frames import HookAck, SpawnAck, backend_client_frames, senior_client_frames, senior_server_frames
from tests.support.waiting import eventually

QUESTION = {
    "key": "R-1",
    "task_id": "T-1",
    "attempt": 1,
    "agent": "a",
    "question": "?",
    "asked_at": "2026-01-01T00:00:00.000Z",
    "status": "open",
    "delivered_to": [],
}


def senior(limit: int = 1000) -> Protocol:
    """A console's protocol."""
    return Protocol(senior_client_frames, limits=Limits(frame_bytes=limit))


def content(received: object) -> dict[str, Any]:
    """The frame that is to be sent."""
    assert isinstance(received, OutgoingFrame)
    return orjson.loads(received.data)


def test_an_answer_is_passed_on() -> None:
    """Null counts as an answer."""
    received = senior().receive('{"type":"answer","key":"R-1","value":null,"more":1}')

    assert isinstance(received, Answered)
    assert (received.key, received.value.text) == ("R-1", "null")


def test_acks_are_for_backends() -> None:
    """A senior console that sends one gets an error."""
    frame = '{"type":"spawn_ack","req_id":"r","value":1}'
    received = Protocol(backend_client_frames, limits=Limits(frame_bytes=1000)).receive(frame)

    assert isinstance(received, Acknowledged)
    assert isinstance(received.ack, SpawnAck)
    assert received.ack.finished
    assert content(senior().receive(frame))["code"] == "unknown-type"
    assert content(senior().receive(frame))["req_id"] == "r"


FIELDS = st.sampled_from(["type", "key", "value", "req_id", "ok"])
TYPES = st.sampled_from(["answer", "ping", "spawn_ack", "hook_ack", "dance"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | TYPES,
    lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
)


@given(st.one_of(st.text(), st.binary(), VALUES.map(json.dumps)))
def test_any_message_gets_a_valid_reply(data: str | bytes) -> None:
    """No message makes the protocol fail, and every reply is a frame of the wire."""
    for protocol in (senior(), Protocol(backend_client_frames, limits=Limits(frame_bytes=1000))):
        received = protocol.receive(data)
        if isinstance(received, OutgoingFrame):
            senior_server_frames.validate_json(received.data)


def test_a_question_is_shown_once() -> None:
    """Whichever way it comes, until it is settled."""
    protocol = senior()
    first = protocol.ask(QUESTION)

    assert first is not None
    assert first.question_key == "R-1"
    assert content(first).keys() == {"type", "key", "task_id", "attempt", "agent", "question", "asked_at"}
    assert protocol.ask(QUESTION) is None


def test_only_what_was_shown_is_withdrawn() -> None:
    """A question is withdrawn at most once, and only where it was shown."""
    protocol = senior()
    assert protocol.withdrawn("R-1", "answered") is None
    protocol.ask(QUESTION)

    assert content(protocol.withdrawn("R-1", "answered")) == {"type": "withdrawn", "key": "R-1", "reason": "answered"}
    assert protocol.withdrawn("R-1", "answered") is None


def test_an_own_answer_is_not_withdrawn() -> None:
    """Whether the feed's event comes before the engine's reply or after it."""
    protocol = senior()
    protocol.ask(QUESTION)
    protocol.answering("R-1")

    assert protocol.withdrawn("R-1", "answered") is None
    assert [content(reply)["type"] for reply in protocol.accepted("R-1")] == ["accepted"]
    assert protocol.withdrawn("R-1", "answered") is None


def test_a_lost_race_is_rejected_then_withdrawn() -> None:
    """The answer is rejected, and the question withdrawn because somebody else answered it."""
    protocol = senior()
    protocol.ask(QUESTION)
    protocol.answering("R-1")
    protocol.withdrawn("R-1", "answered")

    replies = [content(reply)["type"] for reply in protocol.rejected("R-1", "already-answered", "x")]

    assert replies == ["rejected", "withdrawn"]
    assert [content(reply)["type"] for reply in protocol.rejected("R-2", "answer-invalid", "x")] == ["rejected"]


def test_a_large_question_says_where_to_read_it() -> None:
    """The frame keeps within the limit."""
    shown = senior(500).ask({**QUESTION, "question": "x" * 1000, "choices": ["y" * 1000]})

    assert shown is not None
    assert len(shown.data) <= 500
    assert content(shown)["question"]["truncated"] is True


def outbox(frames: int = 2, size: int = 100, stall_s: float = 0.05) -> Outbox:
    """An outbox with a small limit."""
    return Outbox(frames=frames, size=size, stall_s=stall_s)


def test_a_live_frame_for_a_full_queue_disconnects_a_slow_reader() -> None:
    """The queue is limited by number and by bytes."""
    box = outbox()
    box.put_nowait(OutgoingFrame(b"1"))
    box.put_nowait(OutgoingFrame(b"2"))
    with pytest.raises(SlowReader):
        box.put_nowait(OutgoingFrame(b"3"))
    large = outbox()
    large.put_nowait(OutgoingFrame(b"x" * 100))
    with pytest.raises(SlowReader):
        large.put_nowait(OutgoingFrame(b"y"))


async def test_put_waits_for_room_in_the_queue() -> None:
    """A whole backlog passes through a queue of two frames, in order."""
    box, sent, delivered = outbox(stall_s=10), [], []

    async def send(text: str) -> None:
        await asyncio.sleep(0)
        sent.append(text)

    delivering = asyncio.create_task(box.deliver(send, delivered.append))
    for number in range(50):
        await box.put(OutgoingFrame(str(number).encode(), question_key=f"R-{number}"))
    await eventually(lambda: len(sent) == 50)
    delivering.cancel()

    assert sent == [str(number) for number in range(50)]
    assert delivered == [f"R-{number}" for number in range(50)]


async def test_a_reader_that_takes_nothing_is_slow() -> None:
    """For the backlog and for the sender alike."""
    box = outbox()

    async def stuck(text: str) -> None:
        await asyncio.get_running_loop().create_future()

    box.put_nowait(OutgoingFrame(b"1"))
    with pytest.raises(SlowReader):
        await box.put(OutgoingFrame(b"2"))
    with pytest.raises(SlowReader):
        await box.deliver(stuck, lambda key: None)


async def test_an_ack_ends_its_request() -> None:
    """A second acknowledgement of a hook is ignored."""
    pending = PendingRequests()
    waiting = pending.begin("r")
    pending.acknowledged(HookAck(req_id="r", ok=True))
    pending.acknowledged(HookAck(req_id="r", ok=False))

    ack = await pending.finish("r", waiting)

    assert isinstance(ack, HookAck)
    assert ack.ok


async def test_a_spawn_may_be_acknowledged_twice() -> None:
    """As started and as finished, however quickly one follows the other; what is finished stays so."""
    pending = PendingRequests()
    waiting = pending.begin("r")
    for ack in (SpawnAck(req_id="r"), SpawnAck(req_id="r", value=1), SpawnAck(req_id="r")):
        pending.acknowledged(ack)

    assert not (await pending.finish("r", waiting)).has("value")
    assert (await pending.finish("r", pending.begin("r"))).has("value")


async def test_an_early_ack_is_found() -> None:
    """It came with the connection, before the request was made again; the oldest are dropped."""
    pending = PendingRequests()
    pending.acknowledged(SpawnAck(req_id="r"))
    assert (await pending.finish("r", pending.begin("r"))).req_id == "r"
    for number in range(EARLY + 10):
        pending.acknowledged(SpawnAck(req_id=str(number)))

    assert not pending.begin("0").done()
    assert pending.begin(str(EARLY)).done()


async def test_a_lost_connection_ends_all_requests() -> None:
    """Pending, cancelled and later requests fail with BackendGone."""
    pending = PendingRequests()
    waiting = pending.begin("r")
    pending.begin("forgotten")
    finishing = asyncio.create_task(pending.finish("r", waiting))
    await asyncio.sleep(0)
    pending.drop()

    with pytest.raises(BackendGone):
        await finishing
    with pytest.raises(BackendGone):
        pending.begin("s")


def test_a_request_is_named_by_what_it_is_about() -> None:
    """A request has the same id on every connection."""
    assert req_id_of("spawn", "T-1", 2) == req_id_of("spawn", "T-1", 2) != req_id_of("before", "T-1", 2)
