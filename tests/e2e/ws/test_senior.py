"""Senior consoles over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import websockets

from app.domain.access import Role
from app.domain.limits import Limits
from app.http.settings import HttpSettings, WebSocketSettings
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.speaking import Speaker, speaking
from tests.support.waiting import eventually

OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"
DESK = f"{SENIOR}/bridges/desk/ws"


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A server that checks the credentials of its clients often."""
    sockets = WebSocketSettings(recheck=timedelta(milliseconds=100), allowed_origins=("https://good.example",))
    async with served(HttpSettings(websockets=sockets), store_url=store_url) as node:
        yield node


async def ask(node: Node, **body: Any) -> str:
    """A question of a fresh worker."""
    operator = await node.operator()
    _, worker = await node.worker(operator)
    reply = await worker.post(f"{WORK}/questions", json={"question": "go?", **body})
    assert reply.status_code == 201, reply.text
    return reply.json()["key"]


async def test_what_is_open_comes_first_and_then_what_is_asked(node: Node) -> None:
    """Welcome with the number, every open question once, then live ones; the shape is the wire's."""
    before = [await ask(node), await ask(node, bridge_id="desk")]
    elsewhere = await ask(node, bridge_id="other")
    async with speaking(node, DESK, await node.attach(Role.SENIOR)) as desk:
        welcome, *asked = await desk.receive_all(3)
        live = await ask(node, choices=["yes", "no"], deadline="2099-01-01T00:00:00Z")
        new = await desk.receive()

        assert welcome == {"type": "welcome", "bridge_id": "desk", "open": 2}
        assert [frame["key"] for frame in asked] == before
        assert new["type"] == "ask"
        assert (new["key"], new["question"], new["choices"], new["attempt"]) == (live, "go?", ["yes", "no"], 1)
        assert new["deadline"] == "2099-01-01T00:00:00.000Z"
        assert "answer_schema" not in new
        assert elsewhere not in {frame["key"] for frame in asked}
        assert await desk.silent()


async def question_of(node: Node, key: str) -> dict[str, Any]:
    """The question as an operator reads it."""
    return (await (await node.operator()).get(f"{OP}/questions/{key}?hold=0")).json()


async def test_an_answer_is_accepted_and_the_task_goes_on(node: Node) -> None:
    """Who answered is recorded; the same again is accepted, another is rejected."""
    key = await ask(node)
    async with speaking(node, DESK, await node.attach(Role.SENIOR, name="kim")) as desk:
        await desk.receive_all(2)

        assert await desk.ask_and_receive(type="answer", key=key, value={"go": True}) == {
            "type": "accepted",
            "key": key,
        }
        assert await desk.ask_and_receive(type="answer", key=key, value={"go": True}) == {
            "type": "accepted",
            "key": key,
        }
        rejected = await desk.ask_and_receive(type="answer", key=key, value=2)

        assert (rejected["type"], rejected["key"], rejected["code"]) == ("rejected", key, "already-answered")
        assert await desk.silent()

        async def is_delivered() -> bool:
            return (await question_of(node, key))["delivered_to"] == ["desk"]

        await eventually(is_delivered)
    question = await question_of(node, key)
    assert (question["answered_by"], question["answer"]) == ("kim", {"go": True})


async def test_numbers_of_frames_keep_their_digits(node: Node) -> None:
    """In what is asked and in the answer; the second of two choices beyond 2**53 is recorded as the second."""
    operator, digits = await node.operator(), "[20000000000000000001,0.1234567890123456789,1.10,1e5,-0]"
    _, worker = await node.worker(operator)
    body = f'{{"question":{digits},"choices":[9007199254740992,9007199254740993]}}'
    asked = await worker.post(f"{WORK}/questions", content=body, headers={"Content-Type": "application/json"})
    other = await ask(node)
    async with speaking(node, DESK, await node.attach(Role.SENIOR)) as desk, asyncio.timeout(60):
        await desk.receive()
        shown = await desk.socket.recv(decode=True)
        assert f'"question":{digits},"choices":[9007199254740992,9007199254740993]' in shown
        await desk.receive()
        for key, value in ((asked.json()["key"], "9007199254740993"), (other, digits)):
            await desk.socket.send(f'{{"type":"answer","key":"{key}","value":{value}}}')
            assert (await desk.receive())["type"] == "accepted"
            assert f'"answer":{value}' in (await operator.get(f"{OP}/questions/{key}?hold=0")).text


async def test_a_large_inbox_comes_in_frames_of_their_own(node: Node) -> None:
    """Hundreds of open questions, each in one frame within the limit, oldest first."""
    operator = await node.operator()
    keys: list[str] = []
    for _ in range(13):
        _, worker = await node.worker(operator)
        for _ in range(32):
            reply = await worker.post(f"{WORK}/questions", json={"question": "x" * 10_000})
            keys.append(reply.json()["key"])
    async with speaking(node, DESK, await node.attach(Role.SENIOR)) as desk, asyncio.timeout(60):
        assert (await desk.receive())["open"] == len(keys)
        texts = [str(await desk.socket.recv()) for _ in keys]

        assert max(map(len, texts)) <= Limits().frame_bytes
        assert [json.loads(text)["key"] for text in texts] == keys
        assert await desk.silent()


async def test_an_answer_that_breaks_the_schema_leaves_the_question_open(node: Node) -> None:
    """It is rejected, and a better one is accepted."""
    key = await ask(node, answer_schema={"type": "integer"})
    async with speaking(node, DESK, await node.attach(Role.SENIOR)) as desk:
        assert (await desk.receive_all(2))[1]["answer_schema"] == {"type": "integer"}

        assert (await desk.ask_and_receive(type="answer", key=key, value="x"))["code"] == "answer-invalid"
        assert (await desk.ask_and_receive(type="answer", key=key, value=1))["type"] == "accepted"
        assert (await desk.ask_and_receive(type="answer", key="R-none", value=1))["code"] == "resume-key-not-found"


async def test_what_others_settle_is_withdrawn(node: Node) -> None:
    """Answered elsewhere, withdrawn by its task's end, expired."""
    operator, senior = await node.operator(), await node.operator(Role.SENIOR)
    async with speaking(node, DESK, await node.attach(Role.SENIOR)) as desk:
        await desk.receive()
        first = await ask(node)
        assert (await desk.receive())["key"] == first
        await senior.post(f"{SENIOR}/questions/{first}/answer", json={"value": 1})
        assert await desk.receive() == {"type": "withdrawn", "key": first, "reason": "answered"}

        task, worker = await node.worker(operator)
        second = (await worker.post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
        assert (await desk.receive())["key"] == second
        await operator.post(f"{OP}/tasks/{task}/cancel")
        assert await desk.receive() == {"type": "withdrawn", "key": second, "reason": "withdrawn"}

        soon = datetime.now(UTC) + timedelta(seconds=1)
        third = await ask(node, deadline=soon.isoformat(), on_deadline="block")
        frames = await desk.receive_all(2)
        assert [(frame["type"], frame["key"]) for frame in frames] == [("ask", third), ("withdrawn", third)]
        assert frames[1]["reason"] == "expired"


async def test_an_escalated_question_comes_to_its_next_bridge(node: Node) -> None:
    """A question that one bridge does not answer in time is shown to the next."""
    async with speaking(node, DESK, await node.attach(Role.SENIOR)) as desk:
        await desk.receive()
        key = await ask(
            node,
            bridge_id="nobody",
            deadline="2020-01-01T00:00:00Z",
            on_deadline="escalate",
            escalate_to="desk",
        )

        assert (await desk.receive())["key"] == key


async def test_an_open_question_comes_again_on_every_connect(node: Node) -> None:
    """A question belongs to the id, not to the socket."""
    key = await ask(node)
    token = await node.attach(Role.SENIOR)
    for _ in range(3):
        async with speaking(node, DESK, token) as desk:
            assert [frame.get("key") for frame in await desk.receive_all(2)] == [None, key]


async def test_nothing_is_missed_between_the_list_and_the_feed(node: Node) -> None:
    """Questions that are asked while a console connects arrive, each once, whichever way they come."""
    token = await node.attach(Role.SENIOR)
    for _ in range(10):
        asking = [asyncio.create_task(ask(node, bridge_id="desk")) for _ in range(8)]
        async with speaking(node, DESK, token) as desk:
            keys = set(await asyncio.gather(*asking))
            assert (await desk.receive())["type"] == "welcome"
            heard = [frame["key"] for frame in await desk.receive_all(len(keys))]
            assert set(heard) == keys
            for key in keys:
                assert (await desk.ask_and_receive(type="answer", key=key, value=1))["type"] == "accepted"
            assert await desk.silent()


async def test_frames_that_cannot_be_used_are_answered(node: Node) -> None:
    """With an error that says what is wrong; the connection lives on."""
    async with speaking(node, DESK, await node.attach(Role.SENIOR)) as desk:
        await desk.receive()
        for raw, code in (
            ("nonsense", "malformed-frame"),
            ("[]", "malformed-frame"),
            ('{"a": 1}', "unknown-type"),
            ('{"type": "dance"}', "unknown-type"),
            ('{"type": "answer"}', "invalid-frame"),
            ('{"type": "answer", "key": 1, "value": 1}', "invalid-frame"),
            ('{"type": "hook_ack", "req_id": "x", "ok": true}', "unknown-type"),
            (b"\xff", "malformed-frame"),
            (json.dumps({"type": "answer", "key": "k", "value": "x" * 1024 * 1024}), "payload-too-large"),
        ):
            await desk.socket.send(raw)
            reply = await desk.receive()
            assert (reply["type"], reply["code"]) == ("error", code), raw[:50]
            assert reply["detail"]
        assert await desk.silent()


async def test_a_browser_offers_its_credential_as_a_subprotocol(node: Node) -> None:
    """The server accepts with the plain one, never with the one that holds the credential."""
    token = await node.attach(Role.SENIOR)
    offered = [websockets.Subprotocol(name) for name in ("swarmhold.v1", f"swarmhold.bearer.{token}")]
    async with speaking(node, DESK, None, subprotocols=offered) as desk:
        assert desk.socket.subprotocol == "swarmhold.v1"
        assert (await desk.receive())["type"] == "welcome"


@pytest.mark.parametrize("credential", [None, "nonsense", ROOT_KEY, "expired", "revoked", "handle"])
async def test_a_dead_credential_closes_with_4401(node: Node, credential: str | None) -> None:
    """One code for all that are no good; a handle's role may not, which is 4403."""
    code = 4401
    match credential:
        case "expired":
            credential = (await node.engine.attach("x", Role.SENIOR, timedelta(milliseconds=1))).text
        case "revoked":
            root = node.as_(ROOT_KEY)
            key = (await root.post("/v1/admin/keys", json={"name": "k", "roles": ["senior"]})).json()
            body = {"operator_id": "s", "role": "senior", "ttl": 60}
            credential = (await node.as_(key["key"]).post(f"{OP}/sessions", json=body)).json()["token"]
            await root.delete(f"/v1/admin/keys/{key['id']}")
        case "handle":
            _, worker = await node.worker(await node.operator())
            credential, code = worker.headers["Authorization"].removeprefix("Bearer "), 4403
    async with speaking(node, DESK, credential) as desk:
        assert await desk.close_code() == code


async def test_a_role_that_may_not_closes_with_4403(node: Node) -> None:
    """Observers never; operators under ids that their session holds, and no other."""
    async with speaking(node, DESK, await node.attach(Role.OBSERVER)) as desk:
        assert await desk.close_code() == 4403
    async with speaking(node, DESK, await node.attach(Role.OPERATOR, bridge_id="other")) as desk:
        assert await desk.close_code() == 4403
    async with speaking(node, DESK, await node.attach(Role.OPERATOR, bridge_id="desk")) as desk:
        assert (await desk.receive())["type"] == "welcome"


async def test_an_operator_is_shown_what_it_may_answer(node: Node) -> None:
    """Questions addressed to its own bridge, not those for any senior."""
    await ask(node)
    mine = await ask(node, bridge_id="desk")
    async with speaking(node, DESK, await node.attach(Role.OPERATOR, bridge_id="desk")) as desk:
        welcome, asked = await desk.receive_all(2)
        assert (welcome["open"], asked["key"]) == (1, mine)
        assert (await desk.ask_and_receive(type="answer", key=mine, value=1))["type"] == "accepted"


async def test_a_newer_connection_closes_the_older_with_4409(node: Node) -> None:
    """And is the one that is registered, also after the older has closed."""
    token = await node.attach(Role.SENIOR)
    operator = await node.operator()
    async with speaking(node, DESK, token) as older:
        await older.receive()
        async with speaking(node, DESK, token) as newer:
            assert await older.close_code() == 4409
            assert (await newer.receive())["type"] == "welcome"
            key = await ask(node)
            assert (await newer.receive())["key"] == key
            assert (await operator.get(f"{OP}/registry")).json()["senior_bridges"] == ["desk"]

    async def gone() -> bool:
        return (await operator.get(f"{OP}/registry")).json()["senior_bridges"] == []

    await eventually(gone)


@pytest.mark.parametrize("how", ["expires", "revoked"])
async def test_a_credential_that_dies_closes_with_4401(node: Node, how: str) -> None:
    """At its expiry, and soon after it is revoked."""
    if how == "expires":
        token = (await node.engine.attach("x", Role.SENIOR, timedelta(seconds=1))).text
        async with speaking(node, DESK, token) as desk:
            assert await desk.close_code() == 4401
        return
    root = node.as_(ROOT_KEY)
    key = (await root.post("/v1/admin/keys", json={"name": "k", "roles": ["senior"]})).json()
    body = {"operator_id": "s", "role": "senior", "ttl": 60}
    token = (await node.as_(key["key"]).post(f"{OP}/sessions", json=body)).json()["token"]
    async with speaking(node, DESK, token) as desk:
        assert (await desk.receive())["type"] == "welcome"
        await root.delete(f"/v1/admin/keys/{key['id']}")
        assert await desk.close_code() == 4401


@pytest.mark.parametrize(
    ("origin", "served_to"),
    [
        ("https://evil.example", False),
        ("null", False),
        ("http://[", False),
        ("https://good.example", True),
        ("own", True),
        (None, True),
    ],
)
async def test_pages_of_other_origins_are_turned_away(node: Node, origin: str | None, served_to: bool) -> None:
    """The server's own pages and listed ones may open a socket; programs send no origin."""
    token = await node.attach(Role.SENIOR)
    sent = node.url if origin == "own" else origin
    opening = speaking(node, DESK, token, origin=websockets.Origin(sent) if sent else None)
    if served_to:
        async with opening as desk:
            assert (await desk.receive())["type"] == "welcome"
    else:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with opening:
                pass
        assert refused.value.response.status_code == 403


async def test_a_session_stays_attached_while_its_console_is_open(node: Node) -> None:
    """Being connected is a sign of life."""
    token = await node.attach(Role.SENIOR)
    senior, operator = node.as_(token), await node.operator()
    session = (await senior.get(f"{OP}/session")).json()["id"]
    await senior.delete(f"{OP}/session")
    async with speaking(node, DESK, token):

        async def attached() -> bool:
            return (await operator.get(f"{OP}/sessions/{session}")).json()["attached"]

        await eventually(attached)


async def test_a_stopping_server_closes_sockets_as_going_away(node: Node) -> None:
    """With the code that means: come back."""
    async with speaking(node, DESK, await node.attach(Role.SENIOR)) as desk:
        await desk.receive()
        node.drain()
        assert await desk.close_code() == 1012


@pytest.mark.one_node("what is before the nodes reads on for who does not")
async def test_a_reader_that_does_not_keep_up_is_closed_with_4408_and_finds_everything_later() -> None:
    """Its frames cost no more than the queue; on reconnect every open question is there."""
    sockets, limits = WebSocketSettings(queue_frames=8, queue_bytes=200_000), Limits(question_bytes=1_000_000)
    async with served(HttpSettings(websockets=sockets, limits=limits)) as node:
        token = await node.attach(Role.SENIOR)
        async with speaking(node, DESK, token, max_queue=1, compression=None) as desk:
            await desk.receive()
            keys = {await ask(node, question="x" * 500_000) for _ in range(40)}
            assert await desk.close_code() == 4408
        async with speaking(node, DESK, token) as desk:
            assert (await desk.receive())["open"] == len(keys)
            assert await _keys(desk, len(keys)) == keys


async def _keys(desk: Speaker, count: int) -> set[str]:
    return {(await desk.receive())["key"] for _ in range(count)}


async def test_a_question_too_large_for_a_frame_is_shown_by_where_to_read_it() -> None:
    """The frame stays within the limit, and nothing of the question is lost."""
    settings = HttpSettings(limits=Limits(frame_bytes=10_000))
    async with served(settings) as node:
        key = await ask(node, question="x" * 50_000)
        token = await node.attach(Role.SENIOR)
        await _truncated(node, key, token)


async def _truncated(node: Node, key: str, token: str) -> None:
    async with speaking(node, DESK, token) as desk:
        frame = (await desk.receive_all(2))[1]

        assert frame["key"] == key
        assert frame["question"]["truncated"] is True
        whole = await node.as_(token).get(f"{SENIOR}/questions/{key}")
        assert len(whole.json()["question"]) == 50_000
        assert (await desk.ask_and_receive(type="answer", key=key, value=1))["type"] == "accepted"


@pytest.mark.one_node("each node counts its own")
async def test_one_token_has_so_many_sockets() -> None:
    """One more is closed with 4429, under whatever id; one that closes makes room."""
    async with served(HttpSettings(limits=Limits(streams=1))) as node:
        token = await node.attach(Role.SENIOR)
        async with speaking(node, DESK, token) as desk:
            await desk.receive()
            async with speaking(node, DESK.replace("desk", "other"), token) as other:
                assert await other.close_code() == 4429
        await eventually(lambda: not node.application.context.holds.streams.taken)
        async with speaking(node, DESK, token) as desk:
            assert (await desk.receive())["type"] == "welcome"


@pytest.mark.one_node("who looks at a question is known to one node alone")
async def test_those_who_look_at_a_question_see_each_other(node: Node) -> None:
    """By their labels, while they look; the same person twice is one, and another namespace is nobody."""
    key, other = await ask(node), await ask(node)
    root = node.as_(ROOT_KEY)
    made = await root.post("/v1/admin/keys", json={"name": "k", "roles": ["senior"], "namespace": "elsewhere"})
    body = {"operator_id": "eve", "role": "senior", "ttl": 600}
    foreign = (await node.as_(made.json()["key"]).post(f"{OP}/sessions", json=body)).json()["token"]
    ann, bob = await node.attach(Role.SENIOR, name="ann"), await node.attach(Role.SENIOR, name="bob")
    async with speaking(node, DESK, ann) as first, speaking(node, f"{SENIOR}/bridges/eve/ws", foreign) as eve:
        await first.receive_all(3)
        await eve.receive()
        assert await eve.ask_and_receive(type="viewing", key=key) == {"type": "viewers", "key": key, "viewers": []}
        assert (await first.ask_and_receive(type="viewing", key=key))["viewers"] == []
        async with speaking(node, f"{SENIOR}/bridges/two/ws", bob) as second:
            await second.receive_all(3)
            assert (await second.ask_and_receive(type="viewing", key=key))["viewers"] == ["ann"]
            assert await first.receive() == {"type": "viewers", "key": key, "viewers": ["bob"]}
            await second.say(type="viewing", key=other)
            assert (await first.receive())["viewers"] == []
            await second.say(type="viewing", key=key)
            assert (await first.receive())["viewers"] == ["bob"]
        assert (await first.receive())["viewers"] == []
        await first.say(type="viewing", key=None)
        assert await first.silent()
        assert await eve.silent()
