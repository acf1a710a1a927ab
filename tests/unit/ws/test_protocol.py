"""The sockets' protocol without sockets."""

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
from app.ws.protocol import Acknowledged, Answered, Protocol, Say
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


def said(heard: object) -> dict[str, Any]:
    """The frame that is to be sent."""
    assert isinstance(heard, Say)
    return orjson.loads(heard.frame)


def test_an_answer_is_passed_on() -> None:
    """Null is an answer."""
    heard = senior().hear('{"type":"answer","key":"R-1","value":null,"more":1}')

    assert isinstance(heard, Answered)
    assert (heard.key, heard.value.text) == ("R-1", "null")


def test_acks_are_for_backends() -> None:
    """A console's is no frame of its socket."""
    frame = '{"type":"spawn_ack","req_id":"r","value":1}'
    heard = Protocol(backend_client_frames, limits=Limits(frame_bytes=1000)).hear(frame)

    assert isinstance(heard, Acknowledged)
    assert isinstance(heard.ack, SpawnAck)
    assert heard.ack.finished
    assert said(senior().hear(frame))["code"] == "unknown-type"
    assert said(senior().hear(frame))["req_id"] == "r"


FIELDS = st.sampled_from(["type", "key", "value", "req_id", "ok"])
TYPES = st.sampled_from(["answer", "ping", "spawn_ack", "hook_ack", "dance"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | TYPES,
    lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
)


@given(st.one_of(st.text(), st.binary(), VALUES.map(json.dumps)))
def test_whatever_is_sent_gets_an_answer(data: str | bytes) -> None:
    """No message makes the protocol fail, and every reply is a frame of the wire."""
    for protocol in (senior(), Protocol(backend_client_frames, limits=Limits(frame_bytes=1000))):
        heard = protocol.hear(data)
        if isinstance(heard, Say):
            senior_server_frames.validate_json(heard.frame)


def test_a_question_is_shown_once() -> None:
    """Whichever way it comes, until it is settled."""
    protocol = senior()
    first = protocol.ask(QUESTION)

    assert first is not None
    assert first.delivers == "R-1"
    assert said(first).keys() == {"type", "key", "task_id", "attempt", "agent", "question", "asked_at"}
    assert protocol.ask(QUESTION) is None


def test_only_what_was_shown_is_withdrawn() -> None:
    """And once."""
    protocol = senior()
    assert protocol.withdrawn("R-1", "answered") is None
    protocol.ask(QUESTION)

    assert said(protocol.withdrawn("R-1", "answered")) == {"type": "withdrawn", "key": "R-1", "reason": "answered"}
    assert protocol.withdrawn("R-1", "answered") is None


def test_an_own_answer_is_not_withdrawn() -> None:
    """Whether the feed's event comes before the engine's reply or after it."""
    protocol = senior()
    protocol.ask(QUESTION)
    protocol.answering("R-1")

    assert protocol.withdrawn("R-1", "answered") is None
    assert [said(reply)["type"] for reply in protocol.accepted("R-1")] == ["accepted"]
    assert protocol.withdrawn("R-1", "answered") is None


def test_a_lost_race_is_told_in_full() -> None:
    """Rejected, and then withdrawn since somebody else settled it."""
    protocol = senior()
    protocol.ask(QUESTION)
    protocol.answering("R-1")
    protocol.withdrawn("R-1", "answered")

    replies = [said(reply)["type"] for reply in protocol.rejected("R-1", "already-answered", "x")]

    assert replies == ["rejected", "withdrawn"]
    assert [said(reply)["type"] for reply in protocol.rejected("R-2", "answer-invalid", "x")] == ["rejected"]


def test_a_large_question_says_where_to_read_it() -> None:
    """The frame keeps within the limit."""
    shown = senior(500).ask({**QUESTION, "question": "x" * 1000, "choices": ["y" * 1000]})

    assert shown is not None
    assert len(shown.frame) <= 500
    assert said(shown)["question"]["truncated"] is True


def outbox(frames: int = 2, size: int = 100, stall_s: float = 0.05) -> Outbox:
    """A small one."""
    return Outbox(frames=frames, size=size, stall_s=stall_s)


def test_news_for_a_full_queue_is_too_much() -> None:
    """By number or by bytes."""
    box = outbox()
    box.put(Say(b"1"))
    box.put(Say(b"2"))
    with pytest.raises(SlowReader):
        box.put(Say(b"3"))
    large = outbox()
    large.put(Say(b"x" * 100))
    with pytest.raises(SlowReader):
        large.put(Say(b"y"))


async def test_a_backlog_goes_at_the_readers_pace() -> None:
    """All of it, in order, through a queue of two."""
    box, sent, told = outbox(stall_s=10), [], []

    async def send(text: str) -> None:
        await asyncio.sleep(0)
        sent.append(text)

    delivering = asyncio.create_task(box.deliver(send, told.append))
    for number in range(50):
        await box.put_patiently(Say(str(number).encode(), delivers=f"R-{number}"))
    await eventually(lambda: len(sent) == 50)
    delivering.cancel()

    assert sent == [str(number) for number in range(50)]
    assert told == [f"R-{number}" for number in range(50)]


async def test_a_reader_that_takes_nothing_is_slow() -> None:
    """For the backlog and for the sender alike."""
    box = outbox()

    async def stuck(text: str) -> None:
        await asyncio.get_running_loop().create_future()

    box.put(Say(b"1"))
    with pytest.raises(SlowReader):
        await box.put_patiently(Say(b"2"))
    with pytest.raises(SlowReader):
        await box.deliver(stuck, lambda key: None)


async def test_an_ack_ends_its_request() -> None:
    """And a second one is dropped."""
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
    """It came with the connection, before the request was made again; old ones are forgotten."""
    pending = PendingRequests()
    pending.acknowledged(SpawnAck(req_id="r"))
    assert (await pending.finish("r", pending.begin("r"))).req_id == "r"
    for number in range(EARLY + 10):
        pending.acknowledged(SpawnAck(req_id=str(number)))

    assert not pending.begin("0").done()
    assert pending.begin(str(EARLY)).done()


async def test_a_lost_connection_ends_all_requests() -> None:
    """Those that wait, those that gave up, and those to come."""
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
    """So that it is the same on every connection."""
    assert req_id_of("spawn", "T-1", 2) == req_id_of("spawn", "T-1", 2) != req_id_of("before", "T-1", 2)
