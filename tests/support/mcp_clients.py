"""Clients of the MCP door by the official SDK, which follow what they asked or started as tasks."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import httpx2
import orjson
from mcp import types
from mcp.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import ConfigDict

from tests.support.serving import Node

TASKS = "io.modelcontextprotocol/tasks"


class TaskHandle(types.Result):
    """The result of a call that goes on as a task."""

    model_config = ConfigDict(extra="allow")
    result_type: Literal["task"] = "task"
    task_id: str
    status: str


class AnyResult(types.Result):
    """A result as it came."""

    model_config = ConfigDict(extra="allow")


class _TaskParams(types.RequestParams):
    model_config = ConfigDict(extra="allow")
    task_id: str


class _TaskRequest(types.Request[_TaskParams, str]):
    """A request about a task, whose id is repeated in the header."""

    name_param = "taskId"


class Following(ClientExtension):
    """Says that the client knows tasks. A test follows them by itself."""

    identifier = TASKS

    def claims(self) -> Sequence[ResultClaim[Any]]:
        """The result that names a task."""

        async def resolve(handle: TaskHandle, context: ClaimContext) -> types.CallToolResult:
            raise AssertionError((handle, context))

        return [ResultClaim(result_type="task", model=TaskHandle, resolve=resolve)]


@asynccontextmanager
async def connected(
    url: str, credential: str, mode: Any = "auto", *, follows: bool = True, **more: Any
) -> AsyncIterator[Client]:
    """A client of the SDK that sends the credential; it knows tasks if it `follows`."""
    headers = {"Authorization": f"Bearer {credential}"}
    extensions = [Following()] if follows else []
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(
            streamable_http_client(f"{url}/mcp", http_client=http), mode=mode, extensions=extensions, **more
        ) as client,
    ):
        yield client


def plain(node: Node, credential: str, mode: Any = "auto") -> AbstractAsyncContextManager[Client]:
    """A client that knows no tasks: its calls wait, and then say what is open."""
    return connected(node.url, credential, mode, follows=False)


def value(result: types.CallToolResult) -> Any:
    """The value of a successful call; its text is the same, and beside it there are links alone."""
    text, *others = result.content
    assert isinstance(text, types.TextContent)
    assert not result.is_error, text.text
    assert all(isinstance(block, types.ResourceLink) for block in others)
    assert orjson.loads(text.text) == result.structured_content
    return result.structured_content


def links(result: types.CallToolResult) -> list[str]:
    """The addresses that a call's result links to."""
    return [block.uri for block in result.content if isinstance(block, types.ResourceLink)]


def problem(result: types.CallToolResult) -> str:
    """The code of a failed call."""
    [text] = result.content
    assert isinstance(text, types.TextContent)
    assert result.is_error, text.text
    return orjson.loads(text.text)["code"]


async def read(client: Client, uri: str) -> Any:
    """The value of a resource of JSON."""
    [contents] = (await client.read_resource(uri)).contents
    assert isinstance(contents, types.TextResourceContents)
    assert (contents.uri, contents.mime_type) == (uri, "application/json")
    return orjson.loads(contents.text)


async def started(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The task that a call became."""
    result = await client.session.call_tool(tool, arguments, allow_claimed=True)
    assert isinstance(result, TaskHandle), result
    return result.model_dump(by_alias=True, exclude={"meta"})


async def about(client: Client, method: str, task_id: str, **params: Any) -> dict[str, Any]:
    """The reply to a request about a task."""
    request = _TaskRequest(method=method, params=_TaskParams(task_id=task_id, **params))
    result = await client.session.send_request(request, AnyResult)
    reply = result.model_dump(by_alias=True, exclude={"meta"})
    assert reply.pop("resultType") == "complete"
    return reply


async def refused(client: Client, method: str, task_id: str, **params: Any) -> int:
    """The code of the error about a task."""
    try:
        reply = await about(client, method, task_id, **params)
    except MCPError as error:
        return error.code
    raise AssertionError(reply)
