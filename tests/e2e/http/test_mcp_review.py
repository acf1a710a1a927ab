"""A person answers through an MCP client: by a form or an address, never by the model, and never what they asked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import httpx2
import orjson
import pytest
from mcp import types
from mcp.server.request_state import AESGCMRequestStateCodec
from mcp.shared.exceptions import MCPError

from app.domain.access import Role
from app.http.settings import HttpSettings
from tests.support.mcp_clients import connected
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

MODES = ["auto", "legacy"]
OP, SENIOR = "/v1/operator", "/v1/senior"
BOTH = {"Accept": "application/json, text/event-stream"}
LEGACY = {**BOTH, "MCP-Protocol-Version": "2025-11-25"}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine with its MCP door."""
    async with served() as node:
        yield node


async def person(node: Node, name: str, *roles: Role) -> str:
    """The text of a new key of a person."""
    body = {"name": name, "roles": [role.value for role in roles or (Role.SENIOR,)], "person": True}
    return (await node.as_(ROOT_KEY).post("/v1/admin/keys", json=body)).json()["key"]


async def asked(node: Node, **question: Any) -> str:
    """The key of a new question of an agent."""
    operator = await node.operator(key=await node.key(f"agent-{len(node.clients)}", Role.OPERATOR))
    reply = await operator.post(f"{OP}/questions", json={"question": "Which?", **question})
    assert reply.status_code == 201, reply.text
    return reply.json()["key"]


async def row(node: Node, key: str) -> dict[str, Any]:
    """A question as it is."""
    return (await (await node.operator()).get(f"{OP}/questions/{key}", params={"hold": 0})).json()


class Person:
    """Somebody at a client, who says what they are told to and keeps what they were shown."""

    def __init__(self, *says: types.ElicitResult) -> None:
        self.says = list(says)
        self.shown: list[Any] = []

    async def __call__(self, context: Any, params: Any) -> types.ElicitResult:
        """What the SDK calls to ask."""
        del context
        self.shown.append(params)
        return self.says.pop(0)


def accept(**content: Any) -> types.ElicitResult:
    """What a filled form says."""
    return types.ElicitResult(action="accept", content=content or None)


def reviewed(result: types.CallToolResult) -> list[dict[str, Any]]:
    """The questions of a review."""
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content["questions"]


def problem(result: types.CallToolResult) -> dict[str, Any]:
    """The problem document of a failed call."""
    [text] = result.content
    assert isinstance(text, types.TextContent)
    assert result.is_error, text.text
    return orjson.loads(text.text)


@pytest.mark.parametrize("mode", MODES)
async def test_a_person_answers_by_a_form(node: Node, mode: str) -> None:
    """What they decline stays open; what they enter is the answer, with their key and this door beside it."""
    key = await asked(node, title="Region", choices=["north", "south"])
    schema = {"type": "object", "properties": {"go": {"type": "boolean"}, "n": {"type": "integer"}}, "required": ["go"]}
    other = await asked(node, answer_schema=schema)
    judge = Person(
        types.ElicitResult(action="decline"),
        types.ElicitResult(action="cancel"),
        accept(answer="east"),
        accept(answer="south"),
        accept(go=True, n=2),
    )
    async with connected(node.url, await person(node, "judge"), mode, elicitation_callback=judge) as client:
        assert "review" in {tool.name for tool in (await client.list_tools()).tools}
        for _ in range(2):
            assert reviewed(await client.call_tool("review", {})) == [{"key": key, "status": "open"}]
        assert problem(await client.call_tool("review", {"key": key}))["code"] == "answer-invalid"
        done = [{"key": key, "status": "answered", "answer": "south"}]
        assert reviewed(await client.call_tool("review", {"key": key})) == done
        assert reviewed(await client.call_tool("review", {"key": key})) == done
        [found] = reviewed(await client.call_tool("review", {}))
        assert found == {"key": other, "status": "answered", "answer": {"go": True, "n": 2}}
        assert reviewed(await client.call_tool("review", {})) == []
    form = {"answer": {"type": "string", "enum": ["north", "south"]}}
    assert [shown.requested_schema["properties"] for shown in judge.shown] == [form] * 4 + [schema["properties"]]
    assert "Region\n\nWhich?" in judge.shown[0].message
    through = (await row(node, key))["answered_through"]
    assert (through["door"], through["key_name"], through["role"]) == ("mcp", "judge", "senior")


@pytest.mark.parametrize("mode", MODES)
async def test_what_no_form_shows_is_answered_at_an_address(node: Node, mode: str) -> None:
    """The client opens an answer link of the person; the review waits for what is entered there."""
    action = {"name": "deploy", "arguments": {"to": "all"}}
    key = await asked(node, action=action, allowed=["approve", "edit"])
    opened, presses_made = asyncio.Event(), list[asyncio.Task[None]]()

    async def visits(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        del context
        assert isinstance(params, types.ElicitRequestURLParams)
        assert '"to": "all"' in params.message
        address, _, secret = params.url.partition("#")
        assert address == "http://127.0.0.1:7777/a"
        presses_made.append(asyncio.create_task(presses({"link": secret, "value": {"decision": "approve"}})))
        opened.set()
        return types.ElicitResult(action="accept")

    async def presses(body: dict[str, Any]) -> None:
        await opened.wait()
        await eventually(lambda: node.parked, awaited="the review to wait")
        assert (await node.as_(None).post("/v1/links/answer", json=body)).status_code == 200

    async with connected(node.url, await person(node, "judge"), mode, elicitation_callback=visits) as client:
        [found] = reviewed(await client.call_tool("review", {"key": key}))
    assert found == {"key": key, "status": "answered", "answer": {"decision": "approve"}}
    await asyncio.gather(*presses_made)
    assert (await row(node, key))["answered_through"]["door"] == "link"


@pytest.mark.parametrize("mode", MODES)
async def test_whoever_cannot_be_asked_is_sent_to_the_console(node: Node, mode: str) -> None:
    """So is one at a client without elicitation. Whoever asked is not asked, and no agent has the tool."""
    both = await person(node, "both", Role.OPERATOR, Role.SENIOR)
    operator = await node.operator(key=both)
    own = (await operator.post(f"{OP}/questions", json={"question": "Mine?"})).json()["key"]
    closed = await asked(node, doors=["console"])
    key = await asked(node)
    async with connected(node.url, both, mode) as mute:
        found = problem(await mute.call_tool("review", {}))
        assert found["code"] == "elicitation-not-supported"
        assert f"http://127.0.0.1:7777/console#/inbox/{key}" in found["detail"]
    judge = Person()
    async with connected(node.url, both, mode, elicitation_callback=judge) as client:
        for not_asked in (own, closed):
            assert problem(await client.call_tool("review", {"key": not_asked}))["code"] == "asker-cannot-answer"
        assert problem(await client.call_tool("review", {"key": "R-" + "0" * 26}))["code"] == "resume-key-not-found"
    assert judge.shown == []
    assert {(await row(node, one))["status"] for one in (own, closed, key)} == {"open"}
    agent = await node.key("agent", Role.SENIOR)
    for credential in (agent, await node.attach(Role.SENIOR, key=agent)):
        async with connected(node.url, credential, mode, elicitation_callback=judge) as client:
            assert "review" not in {tool.name for tool in (await client.list_tools()).tools}
            with pytest.raises(MCPError):
                await client.call_tool("review", {"key": key})


@pytest.mark.parametrize("mode", MODES)
async def test_a_session_of_a_person_reviews_as_their_key_does(node: Node, mode: str) -> None:
    """Not what they asked in another one, and no longer than the key lives."""
    both = await person(node, "both", Role.OPERATOR, Role.SENIOR)
    token, operator = await node.attach(Role.SENIOR, name="desk", key=both), await node.operator(key=both)
    own = (await operator.post(f"{OP}/questions", json={"question": "Mine?"})).json()["key"]
    key = await asked(node, choices=["north", "south"])
    judge = Person(accept(answer="south"))
    async with connected(node.url, token, mode, elicitation_callback=judge) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert "review" in names
        assert "answer_question" not in names
        assert problem(await client.call_tool("review", {"key": own}))["code"] == "asker-cannot-answer"
        assert reviewed(await client.call_tool("review", {})) == [{"key": key, "status": "answered", "answer": "south"}]
        through = (await row(node, key))["answered_through"]
        assert (through["door"], through["key_name"], through["role"]) == ("mcp", "both", "senior")
        keys = (await node.as_(ROOT_KEY).get("/v1/admin/keys")).json()["items"]
        (key_id,) = [one["id"] for one in keys if one["name"] == "both"]
        assert (await node.as_(ROOT_KEY).delete(f"/v1/admin/keys/{key_id}")).status_code == 204
        with pytest.raises((MCPError, httpx2.HTTPStatusError)):
            await client.call_tool("review", {})
    assert len(judge.shown) == 1


async def test_the_state_of_a_call_is_sealed_for_its_principal_and_arguments(node: Node) -> None:
    """Ten minutes, one person, one call; whatever else comes with it changes nothing."""
    key, other = await asked(node), await asked(node)
    yes = {key: accept(answer="yes")}
    can: dict[str, Any] = {"elicitation_callback": Person()}
    async with (
        connected(node.url, await person(node, "judge"), **can) as client,
        connected(node.url, await person(node, "else"), **can) as stranger,
    ):

        async def again(one: Any, named: str, state: str | None) -> Any:
            return await one.session.call_tool(
                "review", {"key": named}, input_responses=yes, request_state=state, allow_input_required=True
            )

        first = await client.session.call_tool("review", {"key": key}, allow_input_required=True)
        assert isinstance(first, types.InputRequiredResult)
        state = first.request_state
        assert state is not None
        assert key not in state
        codec = AESGCMRequestStateCodec([node.engine.parts.mint.keyed_digest("mcp: what clients keep")])
        claims = orjson.loads(codec.unseal(state))
        assert round(claims["exp"] - claims["iat"]) == 600
        for one, named, sent in ((stranger, key, state), (client, other, state), (client, key, state[:-2] + "xx")):
            with pytest.raises(MCPError) as refused:
                await again(one, named, sent)
            assert refused.value.code == types.INVALID_PARAMS
        assert isinstance(await again(client, key, None), types.InputRequiredResult)
        assert (await row(node, key))["status"] == "open"
        [found] = reviewed(await again(client, key, state))
        assert (found["status"], found["answer"]) == ("answered", "yes")


async def _handshaken(node: Node, credential: str, capabilities: dict[str, Any]) -> httpx.AsyncClient:
    """A client that has shaken hands and sends along what it was given."""
    client = node.as_(credential)
    params = {
        "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "c", "version": "1"}
    }  # fmt: skip
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    reply = await client.post("/mcp", json=body, headers=BOTH)
    assert reply.status_code == 200, reply.text
    client.headers.update(LEGACY)
    if session := reply.headers.get("mcp-session-id"):
        client.headers["mcp-session-id"] = session
    return client


def _call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


async def _events(reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in reply.aiter_lines():
        if line.startswith("data: "):
            yield orjson.loads(line[6:])


async def test_a_reply_counts_after_its_call_is_gone(node: Node) -> None:
    """The client breaks off while its person still looks at the form: the answer is taken all the same, from them."""
    key = await asked(node, choices=["yes", "no"])
    client = await _handshaken(node, await person(node, "judge"), {"elicitation": {}})
    stranger = await _handshaken(node, await person(node, "else"), {"elicitation": {}})
    async with client.stream("POST", "/mcp", json=_call("review", key=key)) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-accel-buffering"] == "no"
        request = await anext(_events(reply))
    assert (request["method"], request["params"]["mode"]) == ("elicitation/create", "form")

    def said(answer: Any, name: Any = request["id"]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": name, "result": {"action": "accept", "content": {"answer": answer}}}

    for one, body in (
        (stranger, said("yes")),
        (client, said("yes", "v1.nothing")),
        (client, said("yes", 7)),
        (client, said("perhaps")),
        (client, {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -1, "message": "no"}}),
        (client, {"jsonrpc": "2.0", "id": request["id"], "result": {"action": "decline"}}),
    ):
        assert (await one.post("/mcp", json=body)).status_code == 202
        assert (await row(node, key))["status"] == "open"
    assert (await client.post("/mcp", json=said("yes"))).status_code == 202
    found = await row(node, key)
    assert (found["answer"], found["answered_by"]) == ("yes", "mcp:judge")


async def test_a_review_ends_when_somebody_else_was_first(node: Node) -> None:
    """The call that waits for its person returns the other one's answer."""
    key = await asked(node)
    client = await _handshaken(node, await person(node, "judge"), {"elicitation": {}})
    async with client.stream("POST", "/mcp", json=_call("review", key=key)) as reply:
        events = _events(reply)
        assert (await anext(events))["method"] == "elicitation/create"
        senior = await node.operator(Role.SENIOR)
        await senior.post(f"{SENIOR}/questions/{key}/answer", json={"value": "first"})
        result = (await anext(events))["result"]
    assert result["structuredContent"]["questions"] == [{"key": key, "status": "answered", "answer": "first"}]


async def test_sessions_are_for_people_who_can_be_asked(node: Node) -> None:
    """No other client is given anything to send along, and what was given to another is worth nothing."""
    one, other = await person(node, "one"), await person(node, "other")
    given = await _handshaken(node, one, {"elicitation": {}})
    for credential, can in ((one, {}), (await node.key("agent", Role.SENIOR), {"elicitation": {}})):
        assert "mcp-session-id" not in (await _handshaken(node, credential, can)).headers
    key = await asked(node)
    client = node.as_(other)
    client.headers.update({**LEGACY, "mcp-session-id": given.headers["mcp-session-id"]})
    reply = await client.post("/mcp", json=_call("review", key=key))
    assert orjson.loads(reply.json()["result"]["content"][0]["text"])["code"] == "elicitation-not-supported"


async def answer_all(senior: httpx.AsyncClient) -> bool:
    """Answer what is open; return whether anything was."""
    found = (await senior.get(f"{SENIOR}/questions", params={"status": "open"})).json()["items"]
    for question in found:
        await senior.post(f"{SENIOR}/questions/{question['key']}/answer", json={"value": "yes"})
    return bool(found)


async def asker(node: Node, version: str) -> httpx.AsyncClient:
    """A client of this revision that calls ask_human."""
    client = node.as_(await node.key("asker", Role.OPERATOR))
    client.headers.update({"MCP-Protocol-Version": version, "Mcp-Method": "tools/call", "Mcp-Name": "ask_human"})
    return client


def asking(version: str, once: str, hold: float) -> dict[str, Any]:
    """The body of a call of ask_human."""
    meta = {"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}}
    call = _call("ask_human", question="?", once=once, hold=hold)
    call["params"]["_meta"] = meta if version == "2026-07-28" else {}
    return call


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
async def test_a_held_call_streams_comments_until_its_reply(version: str) -> None:
    """For a client that takes a stream; another gets JSON in the end."""
    async with served(HttpSettings(sse_comment_every=timedelta(milliseconds=300))) as node:
        client, senior = await asker(node, version), await node.operator(Role.SENIOR)
        plain = {"Accept": "application/json"}
        waiting = asyncio.create_task(client.post("/mcp", json=asking(version, "json", 50), headers=plain))
        async with client.stream("POST", "/mcp", json=asking(version, "sse", 50), headers=BOTH) as reply:
            assert (reply.headers["content-type"], reply.headers["x-accel-buffering"]) == (
                "text/event-stream; charset=utf-8", "no"
            )  # fmt: skip
            lines = reply.aiter_lines()
            assert (await anext(lines)).startswith(":")
            await eventually(partial(answer_all, senior), awaited="the questions")
            streamed = [orjson.loads(line[6:]) async for line in lines if line.startswith("data: ")]
        await eventually(lambda: waiting.done() or answer_all(senior), awaited="the other question")
        whole = await waiting
        assert whole.headers["content-type"] == "application/json"
        for [answered] in (streamed, [whole.json()]):
            assert answered["result"]["structuredContent"]["answer"] == "yes"


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
async def test_a_quick_call_is_json_for_every_client(node: Node, version: str) -> None:
    """A client that would take a stream gets none before the first comment is due."""
    client = await asker(node, version)
    quick = await client.post("/mcp", json=asking(version, "quick", 0), headers=BOTH)
    assert quick.headers["content-type"] == "application/json"
    assert quick.json()["result"]["structuredContent"]["open"] is True
