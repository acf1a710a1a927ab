"""Streams of changes of the MCP door: tasks and resources of the caller's, until it may no longer read them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from mcp import types
from mcp.shared.subscriptions import ResourceUpdated, ServerEvent

from app.domain.access import Role
from tests.support.mcp_clients import TASKS, about, connected, started
from tests.support.serving import ROOT_KEY, Node, served

VERSION = "2026-07-28"
OP, SENIOR = "/v1/operator", "/v1/senior"


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine with its MCP door."""
    async with served() as node:
        yield node


def request(notifications: dict[str, Any], *, declares: bool = True) -> tuple[dict[str, Any], dict[str, str]]:
    """The body and the headers of a request to listen."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}} if declares else {},
    }
    params = {"notifications": notifications, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen", "params": params}
    accepted = "application/json, text/event-stream"
    return body, {"Accept": accepted, "MCP-Protocol-Version": VERSION, "Mcp-Method": "subscriptions/listen"}


@asynccontextmanager
async def listening(
    node: Node, credential: str, notifications: dict[str, Any]
) -> AsyncIterator[tuple[dict[str, Any], AsyncIterator[dict[str, Any]]]]:
    """What a stream follows of what is asked for, and its frames."""
    body, headers = request(notifications)
    async with node.as_(credential).stream("POST", "/mcp", json=body, headers=headers) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-accel-buffering"] == "no"
        frames = _frames(reply)
        first = await anext(frames)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "s"
        yield first["params"]["notifications"], frames


async def _frames(reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in reply.aiter_lines():
        if line.startswith("data: "):
            yield orjson.loads(line[6:])


async def test_tasks_are_said_as_they_change(node: Node) -> None:
    """Each change as `tasks/get` says it; what is not the caller's is not followed, nor said."""
    key = await node.key("asker", Role.OPERATOR)
    foreign = await node.as_(ROOT_KEY).post(
        "/v1/admin/keys", json={"name": "f", "roles": ["operator"], "namespace": "there"}
    )
    async with connected(node.url, key) as client, connected(node.url, foreign.json()["key"]) as other:
        question = (await started(client, "ask_human", question="?"))["taskId"]
        task = (await started(client, "start_task", agent="a", directive="x"))["taskId"]
        hidden = (await started(other, "ask_human", question="?"))["taskId"]
        ids = [question, hidden, task, "R-" + "0" * 26, "nonsense"]
        async with listening(node, key, {"taskIds": ids, "toolsListChanged": True}) as (honored, frames):
            assert honored == {"taskIds": [question, task]}
            senior = await node.operator(Role.SENIOR)
            await senior.post(f"{SENIOR}/questions/{question}/answer", json={"value": 1})
            for name, status in ((question, "completed"), (task, "cancelled")):
                if name == task:
                    await about(other, "tasks/cancel", hidden)
                    await about(client, "tasks/cancel", task)
                said = await anext(frames)
                assert said["method"] == "notifications/tasks"
                assert said["params"].pop("_meta") == {"io.modelcontextprotocol/subscriptionId": "s"}
                assert said["params"]["status"] == status
                assert said["params"] == await about(client, "tasks/get", name)


async def test_a_stream_ends_with_its_credential_and_the_server(node: Node) -> None:
    """It says that it ended, so that a client which loses it otherwise knows to listen again."""
    for ends in ("key", "server"):
        key = await node.key(f"k-{ends}", Role.OPERATOR)
        async with connected(node.url, key) as client:
            task = (await started(client, "start_task", agent="a", directive="x"))["taskId"]
        async with listening(node, key, {"taskIds": [task]}) as (_, frames):
            if ends == "key":
                root = node.as_(ROOT_KEY)
                [mine] = [one for one in (await root.get("/v1/admin/keys")).json()["items"] if one["name"] == "k-key"]
                await root.delete(f"/v1/admin/keys/{mine['id']}")
            else:
                node.application.drain()
            last = await anext(frames)
            assert (last["id"], last["result"]["resultType"]) == ("s", "complete")
            assert [frame async for frame in frames] == []


def uri_of(event: ServerEvent) -> str:
    """The address of what changed."""
    assert isinstance(event, ResourceUpdated)
    return event.uri


async def test_resources_are_said_to_change(node: Node) -> None:
    """By the official client: a task, a question and the open questions, each when something of it happened."""
    both = await node.key("both", Role.OPERATOR, Role.SENIOR)
    operator = await node.operator(key=both)
    task_id, worker = await node.worker(operator)
    uris = [f"swarmhold://tasks/{task_id}", f"swarmhold://tasks/{task_id}/output", "swarmhold://questions/open"]
    unknown = ["swarmhold://tasks/T-" + "0" * 26, "swarmhold://other", "skill://none"]
    async with connected(node.url, both) as client, client.listen(resource_subscriptions=[*uris, *unknown]) as stream:
        assert stream.honored.resource_subscriptions == uris

        async def changed(*expected: str) -> None:
            assert {uri_of(await anext(stream)) for _ in expected} == set(expected)

        await worker.post("/v1/worker/output", json={"type": "progress", "stage": "half"})
        await changed(*uris[:2])
        asked = (await operator.post(f"{OP}/questions", json={"question": "?"})).json()["key"]
        await changed(uris[2])
        async with client.listen(resource_subscriptions=[f"swarmhold://questions/{asked}"]) as one:
            await operator.post(f"{OP}/questions/{asked}/withdraw", json={})
            assert uri_of(await anext(one)) == f"swarmhold://questions/{asked}"
        await changed(uris[2])


async def test_what_cannot_be_listened_to_is_refused(node: Node) -> None:
    """Tasks without the extension, too many things, and things that are no texts."""
    client = node.as_(await node.key("k", Role.OPERATOR))
    for notifications, declares, code in (
        ({"taskIds": ["R-1"]}, False, types.MISSING_REQUIRED_CLIENT_CAPABILITY),
        ({"taskIds": [1]}, True, types.INVALID_PARAMS),
        ({"taskIds": "R-1"}, True, types.INVALID_PARAMS),
        ({"taskIds": [f"R-{n}" for n in range(60)], "resourceSubscriptions": ["x"] * 41}, True, types.INVALID_PARAMS),
    ):
        body, headers = request(notifications, declares=declares)
        reply = await client.post("/mcp", json=body, headers=headers)
        assert reply.json()["error"]["code"] == code, reply.text
