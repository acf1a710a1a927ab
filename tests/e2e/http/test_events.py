"""The event feed over server-sent events."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from app.domain.access import Role
from app.domain.events import EventKind
from app.engine.feed import RING
from app.http.settings import HttpSettings
from app.state.state import State
from swarmhold.events import Message, SseParser
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

OP, WORK = "/v1/operator", "/v1/worker"


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A server that checks the credentials of its readers often."""
    brief = timedelta(milliseconds=50)
    async with served(HttpSettings(sse_comment_every=brief, sse_recheck=brief), store_url=store_url) as node:
        yield node


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, query: str = "", **headers: str
) -> AsyncIterator[AsyncIterator[Message]]:
    """The messages of a stream."""

    async def messages(reply: httpx.Response) -> AsyncIterator[Message]:
        parser = SseParser()
        async for chunk in reply.aiter_bytes():
            for message in parser.feed(chunk):
                yield message

    async with client.stream("GET", f"{OP}/events{query}", headers=headers, timeout=60) as reply:
        assert reply.status_code == 200
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        yield messages(reply)


async def take(stream: AsyncIterator[Message], count: int) -> list[Message]:
    """The next messages, under a deadline."""
    async with asyncio.timeout(60):
        return [await anext(stream) for _ in range(count)]


async def whole_life(operator: httpx.AsyncClient, node: Node) -> str:
    """A task from its start to its end."""
    task, worker = await node.worker(operator)
    assert (await worker.post(f"{WORK}/submit", content="done")).status_code == 204
    return task


def data_of(message: Message) -> dict[str, Any]:
    """What a message says."""
    return orjson.loads(message.data)


async def test_a_live_reader_sees_what_happens_from_now_on(node: Node) -> None:
    """In order, each under its kind and cursor."""
    operator = await node.operator()
    await whole_life(operator, node)
    async with following(operator) as stream:
        task = await whole_life(operator, node)
        messages = await take(stream, 3)

    assert [message.event for message in messages][:2] == ["task_created", "task_attempt_started"]
    assert {data_of(message)["task_id"] for message in messages} == {task}
    assert [int(message.id or 0) for message in messages] == sorted(data_of(message)["cursor"] for message in messages)
    assert all(data_of(message)["kind"] == message.event for message in messages)


async def test_a_reader_resumes_where_it_was(node: Node) -> None:
    """From the beginning by after=0, from behind any event by Last-Event-ID, missing nothing and doubling nothing."""
    operator = await node.operator()
    await whole_life(operator, node)
    async with following(operator, "?after=0") as stream:
        everything = await take(stream, 6)
    middle = everything[2]

    async with following(operator, "?after=0", **{"Last-Event-ID": middle.id or ""}) as stream:
        rest = await take(stream, 3)
    async with following(operator, f"?after={middle.id}") as stream:
        same = await take(stream, 3)

    assert rest == same == everything[3:]


async def test_kinds_and_tasks_are_filtered(node: Node) -> None:
    """`types` names kinds, `task` one task."""
    operator = await node.operator()
    first, second = await whole_life(operator, node), await whole_life(operator, node)

    async with following(operator, "?after=0&types=task_pass,task_created") as stream:
        kinds = [message.event for message in await take(stream, 4)]
    async with following(operator, f"?after=0&task={second}&types=task_pass") as stream:
        only = await take(stream, 1)

    assert kinds == ["task_created", "task_pass"] * 2
    assert data_of(only[0])["task_id"] == second != first


async def test_a_quiet_stream_has_comments(node: Node) -> None:
    """So that dead connections are noticed."""
    operator = await node.operator()
    async with operator.stream("GET", f"{OP}/events") as reply, asyncio.timeout(60):
        seen = b""
        async for chunk in reply.aiter_bytes():
            seen += chunk
            if b"still here" in seen:
                return


@pytest.mark.parametrize("end", ["revoked", "expired", "key revoked"])
async def test_a_stream_ends_with_its_credential(node: Node, end: str) -> None:
    """Revoked, expired, or attached by a key that was revoked: nothing more is sent."""
    operator = await node.operator()
    if end == "expired":
        token = (await node.engine.attach("brief", Role.OBSERVER, timedelta(seconds=3))).text
        revoke = None
    elif end == "revoked":
        body = {"agent_id": "o", "role": "observer", "ttl": 3600}
        minted = (await operator.post(f"{OP}/tokens", json=body)).json()
        token, revoke = minted["token"], operator.delete(f"{OP}/tokens/{minted['jti']}")
    else:
        root = node.as_(ROOT_KEY)
        key = (await root.post("/v1/admin/keys", json={"name": "k", "roles": ["observer"]})).json()
        body = {"operator_id": "o", "role": "observer", "ttl": 3600}
        token = (await node.as_(key["key"]).post(f"{OP}/sessions", json=body)).json()["token"]
        revoke = root.delete(f"/v1/admin/keys/{key['id']}")

    async with following(node.as_(token), "?types=task_cancelled") as stream:
        if revoke is not None:
            assert (await revoke).status_code == 204
        async with asyncio.timeout(60):
            assert [message async for message in stream] == []

    assert (await node.as_(token).get(f"{OP}/events")).status_code == 401


async def test_a_stream_ends_when_the_server_stops(node: Node) -> None:
    """In good order, so that the reader comes back with its cursor."""
    operator = await node.operator()
    async with following(operator) as stream:
        node.drain()
        async with asyncio.timeout(60):
            assert [message async for message in stream] == []


async def test_a_reader_that_leaves_is_let_go(node: Node) -> None:
    """Its stream is removed from the feed."""
    operator = await node.operator()
    async with following(operator):
        assert node.parked == 1
    await eventually(lambda: node.parked == 0, awaited="no reader")


async def test_kinds_may_be_given_again_and_again(node: Node) -> None:
    """`types` with commas and `types` twice ask for the same."""
    operator = await node.operator()
    await whole_life(operator, node)

    async with following(operator, "?after=0&types=task_created&types=task_pass,task_blocked") as stream:
        assert [message.event for message in await take(stream, 2)] == ["task_created", "task_pass"]


@pytest.mark.one_node("it outruns the memory of the node that it writes through")
async def test_a_reader_that_fell_behind_is_told_from_where_and_misses_nothing() -> None:
    """It reads nothing while more happens than the server keeps at hand; then it reads everything, and of the gap."""
    narrow = httpx.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)])
    async with served() as node, httpx.AsyncClient(transport=narrow, base_url=node.url) as client:
        client.headers["Authorization"] = f"Bearer {await node.attach(Role.OBSERVER)}"
        async with following(client, "?types=worker_output") as stream:
            await happen(node, 1)
            seen = await take(stream, 1)
            for _ in range(RING // 200):
                await happen(node, 300)
            head = await node.engine.event_tx.head()
            async with asyncio.timeout(60):
                while seen[-1].event == "lagged" or data_of(seen[-1])["cursor"] < head:
                    seen.append(await anext(stream))

    told = [index for index, message in enumerate(seen) if message.event == "lagged"]
    assert told
    for index in told:
        assert seen[index].id == seen[index - 1].id
        assert data_of(seen[index]) == {"cursor": data_of(seen[index - 1])["cursor"]}
    cursors = [data_of(message)["cursor"] for message in seen if message.event == "worker_output"]
    assert cursors == list(range(cursors[0], head + 1))


@pytest.mark.parametrize("door", ["after", "last-event-id"])
async def test_a_reader_that_is_ahead_of_the_feed_is_notified(node: Node, door: str) -> None:
    """As after an older copy was put back: it gets `lagged` with the cursor at which it goes on, then new events."""
    ahead = "9007199254740991"
    operator = await node.operator()
    query, headers = (f"?after={ahead}", {}) if door == "after" else ("", {"Last-Event-ID": ahead})
    async with following(operator, query, **headers) as stream:
        (first,) = await take(stream, 1)
        task, _ = await node.worker(operator)
        (created,) = await take(stream, 1)

    assert (first.event, first.id) == ("lagged", str(data_of(first)["cursor"]))
    assert data_of(first)["cursor"] < int(ahead)
    assert (created.event, data_of(created)["task_id"]) == ("task_created", task)


async def happen(node: Node, count: int) -> None:
    """That many large events, in one transaction."""

    def emit(state: State) -> None:
        for _ in range(count):
            state.emit(EventKind.WORKER_OUTPUT, namespace=1, pad="x" * 2000)

    await node.engine.with_state("happen", emit)


async def test_a_stream_ends_at_once_when_its_credential_is_revoked() -> None:
    """Not only when the server looks at it again."""
    async with served(HttpSettings(sse_recheck=timedelta(hours=1))) as node:
        operator = await node.operator()
        minted = (await operator.post(f"{OP}/tokens", json={"agent_id": "o", "role": "observer", "ttl": 3600})).json()
        async with following(node.as_(minted["token"]), "?types=task_cancelled") as stream:
            await operator.delete(f"{OP}/tokens/{minted['jti']}")
            async with asyncio.timeout(60):
                assert [message async for message in stream] == []
