"""`swarmhold mcp`: the bridge with the official client over standard input and output; printed configurations."""

import asyncio
import json
import signal
import subprocess
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import ElicitResult, TextContent

from swarmhold import SwarmholdClient
from swarmhold.models.enums import Role
from swarmhold.models.spawners import ExternalSpawner
from swarmhold.senior import Senior
from tests.e2e.cli.conftest import SWARMHOLD, Run
from tests.support import forking
from tests.support.processes import ServerProcess, own_variables
from tests.support.waiting import eventually

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def own() -> dict[str, str]:
    """This process's environment without what names a server or a key."""
    return own_variables()


@asynccontextmanager
async def bridged(variables: Mapping[str, str], mode: Any = "auto", **more: Any) -> AsyncIterator[Client]:
    """A client of the SDK that started `swarmhold mcp`."""
    program = StdioServerParameters(command=SWARMHOLD, args=["mcp"], env={**own(), **variables})
    async with Client(stdio_client(program), mode=mode, **more) as client:
        yield client


async def key_of(node: ServerProcess, name: str, role: Role) -> str:
    """The text of a new API key."""
    async with SwarmholdClient(node.url) as server:
        return (await server.admin(node.root_key()).create_key(name, [role])).key


@asynccontextmanager
async def senior_of(node: ServerProcess, name: str) -> AsyncIterator[Senior]:
    """A senior's session."""
    async with SwarmholdClient(node.url) as server:
        yield await server.attach_senior(node.root_key(), name)


def started(lines: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """`swarmhold mcp` with these lines on standard input, to its end."""
    return forking.run("mcp", input="\n".join(lines) + "\n", env={**own(), **variables})


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool returned."""
    result = await client.call_tool(tool, arguments)
    text = result.content[0]
    assert isinstance(text, TextContent)
    assert not result.is_error, text.text
    return json.loads(text.text)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_question_through_the_bridge_outlives_the_server(node: ServerProcess, mode: str) -> None:
    """The call waits while the server is killed and started again; one question was asked, and its answer arrives."""
    key = await key_of(node, f"asker-{mode}", Role.OPERATOR)
    async with bridged({"SWARMHOLD_URL": node.url, "SWARMHOLD_KEY": key}, mode) as client:
        assert "ask_human" in {tool.name for tool in (await client.list_tools()).tools}
        asking = asyncio.create_task(called(client, "ask_human", question=f"Deploy {mode}?", hold=50))
        async with senior_of(node, f"anna-{mode}") as senior:
            [question] = await eventually(senior.open_questions, awaited="the question")
        await asyncio.to_thread(node.kill)
        listing = asyncio.create_task(called(client, "list_tasks", status="suspended"))
        await asyncio.to_thread(node.start)
        assert len((await listing)["items"]) == 1
        async with senior_of(node, f"ben-{mode}") as senior:
            await senior.answer(question.key, "yes")
        answered = await asking
        assert (answered["key"], answered["answer"]) == (question.key, "yes")


async def test_a_worker_works_through_the_bridge_with_its_handle(node: ServerProcess) -> None:
    """SWARMHOLD_HANDLE serves as well as a key."""
    async with SwarmholdClient(node.url) as server:
        operator = await server.attach_operator(node.root_key(), "starter")
        task = await operator.start_task("a", "work")
        attempt = await operator.dispatch(task.id, ExternalSpawner())
        variables = {"SWARMHOLD_URL": node.url, "SWARMHOLD_HANDLE": attempt.worker_handle or ""}
        async with bridged(variables) as client:
            assert (await called(client, "get_assignment"))["prompt"] == "work"


def test_only_frames_are_written_whatever_comes_in(node: ServerProcess) -> None:
    """Each bad message is answered by one error that says what is wrong, and the messages after it are served."""
    variables = {"SWARMHOLD_URL": node.url, "SWARMHOLD_KEY": node.root_key()}
    bad = ["{", "[]", '"x"', '{"jsonrpc": "2.0", "id": null, "method": "ping"}', '"' + "x" * 1_100_000 + '"']
    quiet = [
        "",
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        '{"jsonrpc": "2.0", "id": 7, "result": {}}',
    ]
    done = started([*bad, *quiet, json.dumps(LIST), json.dumps({**LIST, "id": "é\U0001f41d"})], **variables)
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert [frame["error"]["code"] for frame in frames[: len(bad)]] == [-32700, -32600, -32600, -32600, -32700]
    assert {frame["id"]: "result" in frame for frame in frames[len(bad) :]} == {1: True, "é\U0001f41d": True}
    assert (done.returncode, done.stderr) == (0, "")
    unknown = started([json.dumps(LIST)], SWARMHOLD_URL=node.url, SWARMHOLD_KEY="shk_" + "z" * 40)
    error = json.loads(unknown.stdout)["error"]
    assert error["data"] == {"code": "unauthenticated"}
    assert "SWARMHOLD_KEY" in error["message"]
    assert "zzzz" not in unknown.stdout + unknown.stderr


def test_it_ends_with_its_client(node: ServerProcess) -> None:
    """When nobody reads its output any more, and at Ctrl-C, though standard input stays open."""
    variables = {"SWARMHOLD_URL": node.url, "SWARMHOLD_KEY": node.root_key()}
    frame = json.dumps(LIST).encode() + b"\n"
    for how, status in (("unread", 0), ("interrupted", 130)):
        with subprocess.Popen(
            [SWARMHOLD, "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**own(), **variables}
        ) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            try:
                program.stdin.write(frame)
                program.stdin.flush()
                assert json.loads(program.stdout.readline())["id"] == LIST["id"]
                if how == "unread":
                    program.stdout.close()
                    program.stdin.write(frame)
                    program.stdin.flush()
                else:
                    program.send_signal(signal.SIGINT)
                assert program.wait(timeout=60) == status, how
            finally:
                program.kill()


def test_the_root_key_of_a_directory_is_never_taken(node: ServerProcess) -> None:
    """Without a credential of its own the bridge ends before it reads, and says what to set."""
    done = started([json.dumps(LIST)], SWARMHOLD_URL=node.url, SWARMHOLD_DATA_DIR=str(node.data_dir))
    assert (done.returncode, done.stdout) == (2, "")
    assert "SWARMHOLD_KEY" in done.stderr


def test_the_printed_configuration_holds_no_key(run: Run) -> None:
    """Each is what its client reads; it names the server and where the key comes from, never the key."""
    url = {"SWARMHOLD_URL": "https://hold.example/", "SWARMHOLD_KEY": "shk_" + "k" * 40}
    claude, cursor, desktop = (
        json.loads(run("mcp", "config", client, **url).stdout)["mcpServers"]["swarmhold"]
        for client in ("claude", "cursor", "desktop")
    )
    at = "https://hold.example/mcp"
    assert claude == {"type": "http", "url": at, "headers": {"Authorization": "Bearer ${SWARMHOLD_KEY}"}}
    assert cursor == desktop
    assert (cursor["command"], cursor["args"]) == ("swarmhold", ["mcp", "--url", "https://hold.example"])
    assert cursor["env"] == {"SWARMHOLD_KEY": "…"}
    codex = tomllib.loads(run("mcp", "config", "codex", **url).stdout)["mcp_servers"]["swarmhold"]
    assert codex == {"url": at, "bearer_token_env_var": "SWARMHOLD_KEY", "tool_timeout_sec": 60}
    scripted = json.loads(run("mcp", "config", "codex", "--json").stdout)
    assert scripted["file"] == "~/.codex/config.toml"
    assert "http://127.0.0.1:7777/mcp" in scripted["text"]
    run("mcp", "config", "other", status=2)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_person_is_asked_through_the_bridge(node: ServerProcess, mode: str) -> None:
    """The form comes out, the answer goes in, by the call that is made again or by a request to the client."""
    async with SwarmholdClient(node.url) as server:
        admin = server.admin(node.root_key())
        key = (await admin.create_key(f"person-{mode}", [Role.SENIOR], person=True)).key
        asker = await server.attach_operator((await admin.create_key(f"agent-{mode}", [Role.OPERATOR])).key, "agent")
        asked = await asker.ask_alone(f"Deploy {mode}?", choices=["yes", "no"])

    async def yes(context: Any, params: Any) -> ElicitResult:
        del context
        assert f"Deploy {mode}?" in params.message
        return ElicitResult(action="accept", content={"answer": "yes"})

    variables = {"SWARMHOLD_URL": node.url, "SWARMHOLD_KEY": key}
    async with bridged(variables, mode, elicitation_callback=yes) as client:
        [found] = (await called(client, "review", key=asked.key))["questions"]
    assert found == {"key": asked.key, "status": "answered", "answer": "yes"}
