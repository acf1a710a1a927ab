"""A client that closes its connection while its request waits, by every door: what it held is free soon."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest

from app.domain.access import Role
from app.http.door_settings import DoorSettings
from app.http.settings import HttpSettings
from tests.support.ports import LOOPBACK
from tests.support.serving import Node, served
from tests.support.waiting import eventually

OP = "/v1/operator"
SOON_S = 40.0
MODERN, LEGACY = "2026-07-28", "2025-11-25"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
LISTEN, OPEN_QUESTIONS = "subscriptions/listen", {"resourceSubscriptions": ["swarmhold://questions/open"]}
STREAM, JSON = "application/json, text/event-stream", "application/json"
EVENT = {
    "hook_event_name": "PreToolUse", "session_id": "s", "tool_use_id": "t", "tool_name": "Bash", "tool_input": {}
}  # fmt: skip


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node whose doors hold for as long as they may."""
    doors = DoorSettings(hold=timedelta(seconds=50))
    async with served(HttpSettings(doors=doors)) as node:
        yield node


def tool(version: str, accept: str, name: str, **arguments: Any) -> tuple[str, dict[str, str], Any]:
    """A call of a tool: its path, headers and body."""
    params = {"name": name, "arguments": arguments, **({"_meta": META} if version == MODERN else {})}
    headers = {"Accept": accept, "MCP-Protocol-Version": version, "Mcp-Method": "tools/call", "Mcp-Name": name}
    return "/mcp", headers, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


HELD = {
    "poll": (f"{OP}/questions/{{question}}?hold=600", {}, None),
    "claim": ("/v1/worker/claim", {}, {"queue": "empty", "hold": 600}),
    "hook": ("/v1/doors/claude-code/hook?hold=600", {}, EVENT),
    "mcp as JSON": tool(MODERN, JSON, "ask_human", question="?", hold=50),
    "mcp as a stream": tool(MODERN, STREAM, "ask_human", question="?", hold=50),
    "mcp's approval": tool(MODERN, STREAM, "approve", tool_name="Bash", input={}),
    "mcp's claim": tool(MODERN, JSON, "claim_assignment", queue="empty", hold=50),
    "listening by mcp": (
        "/mcp",
        {"Accept": STREAM, "MCP-Protocol-Version": MODERN, "Mcp-Method": LISTEN},
        {"jsonrpc": "2.0", "id": 1, "method": LISTEN, "params": {"_meta": META, "notifications": OPEN_QUESTIONS}},
    ),
    "mcp of old, as JSON": tool(LEGACY, JSON, "ask_human", question="?", hold=50),
    "mcp of old, as a stream": tool(LEGACY, STREAM, "ask_human", question="?", hold=50),
}
"""Requests that wait, by their door: path, headers and body."""


def written(credential: str, path: str, headers: dict[str, str], body: Any) -> bytes:
    """A request as it is sent."""
    content = b"" if body is None else orjson.dumps(body)
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Bearer {credential}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


def held(node: Node) -> int:
    """What all requests hold: places where they wait, and shares of their credentials."""
    holds = [one.application.context.holds for one in (node, *node.others)]
    return sum(each.parked + each.polls.taken + each.claims.taken + each.streams.taken for each in holds)


def connections(node: Node) -> int:
    """How many connections are open."""
    return sum(len(one.server.server_state.connections) for one in (node, *node.others))


def left(node: Node) -> float:
    """How many requests of doors were counted as left."""
    texts = [one.application.context.metrics.text().decode() for one in (node, *node.others)]
    lines = [line for text in texts for line in text.splitlines()]
    counted = [line for line in lines if line.startswith("swarmhold_door_requests_total{") and 'code="left"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in counted)


async def soon(probe: Callable[[], object], awaited: str) -> None:
    """Wait for less time than any of these requests is held."""
    await eventually(probe, within=SOON_S, awaited=awaited)


async def test_what_a_client_that_left_held_is_free_soon(node: Node) -> None:
    """Long before its hold ends: the request, its share of the quota and the connection."""
    operator = await node.operator()
    question = (await operator.post(f"{OP}/questions", json={"question": "?"})).json()["key"]
    asker, worker = await node.key("asker", Role.OPERATOR), await node.key("worker", Role.WORKER)
    token, open_before = await node.attach(), connections(node)
    for door, (path, headers, body) in HELD.items():
        before = left(node)
        credential = worker if "claim" in door else token if door == "poll" else asker
        _, writer = await asyncio.open_connection(LOOPBACK, node.port)
        writer.write(written(credential, path.format(question=question), headers, body))
        await soon(lambda: held(node) >= 1, f"{door}: the request waits")
        writer.transport.abort()

        await soon(lambda: held(node) == 0, f"{door}: nothing is held")
        await soon(lambda: connections(node) <= open_before, f"{door}: its connection is closed")
        if door.startswith(("mcp", "hook")):
            await soon(lambda before=before: left(node) == before + 1, f"{door}: it is counted as left")
