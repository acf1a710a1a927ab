"""The MCP door with the official client, by discovery and by handshake, over a real socket."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, TextContent

from app.domain.access import Role
from app.http.door_settings import DoorSettings
from app.http.settings import HttpSettings
from tests.support.mcp_clients import plain, problem, value
from tests.support.serving import Node, served
from tests.support.waiting import eventually

MODES = ["auto", "legacy"]
OPERATOR_TOOLS = [
    "ask_human",
    "get_answer",
    "withdraw_question",
    "approve",
    "start_task",
    "get_task",
    "why",
    "list_tasks",
    "cancel_task",
]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine with its MCP door."""
    async with served() as node:
        yield node


async def named(node: Node, name: str, namespace: str, *roles: Role, person: bool = False) -> str:
    """The text of a new API key in a namespace."""
    body = {"name": name, "roles": [str(role) for role in roles], "namespace": namespace, "person": person}
    reply = await node.as_("shk_" + "root0" * 8).post("/v1/admin/keys", json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()["key"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_question_outlives_its_connection_and_is_asked_once(node: Node, mode: str) -> None:
    """A later client with the same `once` finds the question, and then its answer with the door that gave it."""
    key = await node.key("asker", Role.OPERATOR)
    async with plain(node, key, mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == OPERATOR_TOOLS
        asked = value(await client.call_tool("ask_human", {"question": "Deploy?", "once": "d1", "hold": 0}))
        assert asked["open"] is True
        assert (asked["status"], "answer" in asked) == ("open", False)
    senior = await node.key("senior", Role.SENIOR)
    async with plain(node, senior, mode) as client:
        listed = value(await client.call_tool("list_questions", {"status": "open"}))
        assert [item["key"] for item in listed["items"]] == [asked["key"]]
        await client.call_tool("answer_question", {"key": asked["key"], "value": "yes"})
    async with plain(node, key, mode) as client:
        again = value(await client.call_tool("ask_human", {"question": "Deploy?", "once": "d1", "hold": 30}))
        assert again == {
            "open": False, "key": asked["key"], "status": "answered", "answer": "yes", "answered_by": "mcp:senior"
        }  # fmt: skip
        assert value(await client.call_tool("get_answer", {"key": asked["key"]})) == again
        other = await client.call_tool("ask_human", {"question": "Delete?", "once": "d1", "hold": 0})
        assert problem(other) == "idempotency-mismatch"
        withdrawn = await client.call_tool("withdraw_question", {"key": asked["key"]})
        assert problem(withdrawn) == "already-answered"
    reader = await node.operator()
    row = (await reader.get(f"/v1/operator/questions/{asked['key']}", params={"hold": 0})).json()
    assert row["answered_through"]["door"] == "mcp"


async def test_an_action_is_decided_on(node: Node) -> None:
    """The senior sees the action and decides as the asker allows, and in no other way."""
    action = {"name": "deploy", "arguments": {"to": "production"}}
    asked = {"question": "Deploy?", "action": action, "allowed": ["approve", "edit"], "hold": 0}
    edited = {"decision": "edit", "edited_action": {"name": "deploy", "arguments": {"to": "staging"}}}
    async with (
        plain(node, await node.key("asker", Role.OPERATOR)) as client,
        plain(node, await node.key("senior", Role.SENIOR)) as senior,
    ):
        key = value(await client.call_tool("ask_human", asked))["key"]
        [shown] = value(await senior.call_tool("list_questions", {"status": "open"}))["items"]
        assert (shown["action"], shown["allowed"]) == (action, ["approve", "edit"])
        rejected = await senior.call_tool("answer_question", {"key": key, "value": {"decision": "reject"}})
        assert problem(rejected) == "answer-invalid"
        value(await senior.call_tool("answer_question", {"key": key, "value": edited}))
        assert value(await client.call_tool("get_answer", {"key": key}))["answer"] == edited


USE = {"tool_name": "Bash", "input": {"command": "make release"}}


def said(result: CallToolResult) -> tuple[str, Any]:
    """What the permission prompt was told: its text alone, with the input to run or the reason."""
    [text] = result.content
    assert isinstance(text, TextContent)
    assert (result.is_error, result.structured_content) == (False, None), text.text
    reply = orjson.loads(text.text)
    assert reply.keys() == {"behavior", "updatedInput" if reply["behavior"] == "allow" else "message"}
    return reply["behavior"], reply.get("updatedInput", reply.get("message"))


async def test_an_approval_of_the_permission_prompt_lets_a_tool_run_once() -> None:
    """It denies while nobody has decided; asked again with the same id, one of many calls may run the tool."""
    async with served(HttpSettings(doors=DoorSettings(hold=timedelta(0)))) as node:
        senior = await node.operator(Role.SENIOR)
        _, worker = await node.worker(await node.operator())
        handle = worker.headers["Authorization"].removeprefix("Bearer ")
        for credential in (await node.key("agent", Role.OPERATOR), handle):
            use = {**USE, "tool_use_id": "toolu_1"}
            async with plain(node, credential) as client:
                behavior, message = said(await client.call_tool("approve", use))
                [question] = (await senior.get("/v1/senior/questions", params={"status": "open"})).json()["items"]
                assert question["action"] == {"name": "Bash", "arguments": USE["input"]}
                assert behavior == "deny"
                assert question["key"] in message
                assert "tool_use_id" in message
                other = said(await client.call_tool("approve", {**use, "input": {"command": "rm"}}))
                assert other[0] == "deny"
                path = f"/v1/senior/questions/{question['key']}/answer"
                assert (await senior.post(path, json={"value": {"decision": "approve"}})).status_code == 200
                calls = [client.call_tool("approve", use) for _ in range(4)]
                replies = [said(reply) for reply in await asyncio.gather(*calls)]
                assert replies.count(("allow", USE["input"])) == 1
                denied = [message for behavior, message in replies if behavior == "deny"]
                assert len(denied) == 3
                assert all("may have been carried out" in message for message in denied)


async def test_what_a_senior_decides_is_what_the_permission_prompt_is_told(node: Node) -> None:
    """A held call ends with the decision: another input, never another tool, or the senior's words."""
    senior = await node.operator(Role.SENIOR)
    inbox = "/v1/senior/questions"
    edit = {"command": "make check", "timeout": 2**53}
    async with plain(node, await node.key("agent", Role.OPERATOR)) as client:
        for answer, expected in (
            ({"decision": "approve"}, ("allow", USE["input"])),
            ({"decision": "edit", "edited_action": {"name": "Bash", "arguments": edit}}, ("allow", edit)),
            ({"decision": "reject", "message": "not on Fridays"}, ("deny", "not on Fridays")),
            ({"decision": "edit", "edited_action": {"name": "Write", "arguments": {}}}, ("deny", "another tool")),
            (None, ("deny", "withdrawn: enough")),
        ):
            held = asyncio.create_task(client.call_tool("approve", USE))

            async def opened() -> list[Any]:
                return (await senior.get(inbox, params={"status": "open"})).json()["items"]

            [question] = await eventually(opened, awaited="the question")
            if answer is None:
                value(await client.call_tool("withdraw_question", {"key": question["key"], "reason": "enough"}))
            else:
                await senior.post(f"{inbox}/{question['key']}/answer", json={"value": answer})
            behavior, reply = said(await held)
            assert behavior == expected[0], reply
            assert reply == expected[1] if behavior == "allow" else str(expected[1]) in reply
        unfit = said(await client.call_tool("approve", {**USE, "input": {"n": 2**53 + 1}}))
        assert unfit[0] == "deny"


async def test_a_permission_prompt_waits_until_its_client_gives_up() -> None:
    """The address says when; without it the call waits as others do, here not at all."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "approve", "arguments": USE}}
    async with served(HttpSettings(doors=DoorSettings(hold=timedelta(0)))) as node:
        client = node.as_(await node.key("agent", Role.OPERATOR))
        client.headers.update({"Accept": "application/json"})
        senior = await node.operator(Role.SENIOR)

        async def approved(query: str) -> CallToolResult:
            reply = await client.post(f"/mcp{query}", json=call)
            return CallToolResult.model_validate(reply.json()["result"])

        for query in ("", "?timeout=5"):
            assert said(await approved(query))[0] == "deny"
        for query in ("?timeout=soon", "?timeout=-1", "?timeout=1e9"):
            assert problem(await approved(query)) == "invalid-body"
        waiting = asyncio.create_task(approved("?timeout=600"))
        await eventually(lambda: node.parked, awaited="the call to wait")
        [*_, question] = (await senior.get("/v1/senior/questions", params={"status": "open"})).json()["items"]
        await senior.post(f"/v1/senior/questions/{question['key']}/answer", json={"value": {"decision": "approve"}})
        assert said(await waiting) == ("allow", USE["input"])


@pytest.mark.parametrize("mode", MODES)
async def test_a_task_is_worked_on_from_start_to_result(node: Node, mode: str) -> None:
    """Started once, done by a worker's tools, read by the one who started it; others are cancelled."""
    key = await node.key("starter", Role.OPERATOR)
    asked = {"agent": "a", "directive": "work", "queue": "q", "once": "t", "hold": 0}
    async with plain(node, key, mode) as client:
        run = value(await client.call_tool("start_task", asked))
        assert (run["open"], run["status"]) == (True, "running")
        assert value(await client.call_tool("start_task", asked))["task_id"] == run["task_id"]
        worker_key = await node.key("worker", Role.WORKER)
        job = (await node.as_(worker_key).post("/v1/worker/claim", json={"queue": "q", "hold": 5})).json()
        async with plain(node, job["worker_handle"], mode) as worker:
            assignment = value(await worker.call_tool("get_assignment"))
            assert (assignment["assignment"], assignment["prompt"]) == (f"{run['task_id']}.1", "work")
            progress = value(await worker.call_tool("report_progress", {"stage": "half"}))
            assert progress == {"accepted": True, "cancelled": False}
            await worker.call_tool("submit_result", {"value": {"n": 1}, "ok": True})
        done = value(await client.call_tool("get_task", {"task_id": run["task_id"]}))
        assert (done["open"], done["status"], done["result"]) == (False, "pass", {"n": 1})
        assert value(await client.call_tool("list_tasks", {"status": "pass"}))["items"][0]["id"] == run["task_id"]
        idle = value(await client.call_tool("start_task", {"agent": "a", "directive": "wait"}))
        assert idle["status"] == "pending"
        assert value(await client.call_tool("why", {"task_id": idle["task_id"]}))["task_id"] == idle["task_id"]
        stopped = value(await client.call_tool("cancel_task", {"task_id": idle["task_id"], "reason": "enough"}))
        assert stopped["status"] == "cancelled"


async def test_a_senior_directs_a_task_and_dispatching(node: Node) -> None:
    """The tools of seniors do what the routes do."""
    task_id, _ = await node.worker(await node.operator())
    async with plain(node, await node.key("senior", Role.SENIOR)) as client:
        value(await client.call_tool("inject_directive", {"task_id": task_id, "prompt": "do it well"}))
        assert value(await client.call_tool("pause_loop"))["paused"] is True
        assert value(await client.call_tool("resume_loop"))["paused"] is False
        verdict = value(await client.call_tool("override_verdict", {"task_id": task_id, "ok": True, "value": 3}))
        assert (verdict["status"], verdict["result"]) == ("pass", 3)


async def test_a_credential_decides_which_tools_there_are(node: Node) -> None:
    """No model answers with a person's key, the root key or a session of theirs, and no asker answers itself."""
    both = await named(node, "both", "default", Role.OPERATOR, Role.SENIOR)
    person = await named(node, "person", "default", Role.OPERATOR, Role.SENIOR, person=True)
    async with plain(node, both) as client:
        asked = value(await client.call_tool("ask_human", {"question": "?", "hold": 0}))
        answered = await client.call_tool("answer_question", {"key": asked["key"], "value": "yes"})
        assert problem(answered) == "asker-cannot-answer"
    async with plain(node, await node.attach(Role.SENIOR, key=both)) as client:
        answered = await client.call_tool("answer_question", {"key": asked["key"], "value": "yes"})
        assert problem(answered) == "asker-cannot-answer"
    for credential in (
        person,
        await node.attach(Role.SENIOR, key=person),
        await node.attach(Role.SENIOR),
        "shk_" + "root0" * 8,
    ):
        async with plain(node, credential) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert "list_questions" in names
            assert not names & {"answer_question", "override_verdict"}
            with pytest.raises(MCPError):
                await client.call_tool("answer_question", {"key": asked["key"], "value": "yes"})


async def test_what_lies_in_another_namespace_never_was(node: Node) -> None:
    """Every tool that names something answers for a foreign id as for one that there never was."""
    here = await named(node, "k", "here", Role.OPERATOR, Role.SENIOR)
    there = await named(node, "k", "there", Role.OPERATOR, Role.SENIOR)
    async with plain(node, here) as mine, plain(node, there) as other:
        asked = value(await mine.call_tool("ask_human", {"question": "?", "hold": 0}))
        task_id = value(await mine.call_tool("start_task", {"agent": "a", "directive": "x"}))["task_id"]
        never = {"key": "R-" + "0" * 26, "task_id": "T-" + "0" * 26}
        more = {
            "answer_question": {"value": 1},
            "override_verdict": {"ok": True, "value": 1},
            "inject_directive": {"prompt": "x"},
        }
        for tool in (await other.list_tools()).tools:
            for name, own in (("key", asked["key"]), ("task_id", task_id)):
                if name in tool.input_schema["required"]:
                    given = more.get(tool.name, {})
                    foreign = await other.call_tool(tool.name, {name: own, **given})
                    unknown = await other.call_tool(tool.name, {name: never[name], **given})
                    assert problem(foreign) == problem(unknown), tool.name
        assert value(await other.call_tool("list_tasks"))["items"] == []
        assert value(await other.call_tool("list_questions"))["items"] == []
        assert value(await mine.call_tool("get_answer", {"key": asked["key"], "hold": 0}))["open"] is True


async def test_arguments_that_break_the_schema_change_nothing(node: Node) -> None:
    """They are errors of the tool that say what is wrong, so that a model can correct them."""
    async with plain(node, await node.key("k", Role.OPERATOR)) as client:
        for tool, given in (
            ("ask_human", {}),
            ("ask_human", {"question": "?", "hold": 51}),
            ("ask_human", {"question": "?", "answer": "yes"}),
            ("ask_human", {"question": "?", "choices": []}),
            ("ask_human", {"question": "?", "allowed": ["approve"]}),
            ("ask_human", {"question": "?", "action": {"name": "rm", "arguments": {}}, "allowed": ["maybe"]}),
            ("ask_human", {"question": "?", "action": {"name": "rm"}}),
            ("approve", {"tool_name": "Bash", "input": "make"}),
            ("approve", {"tool_name": 1, "input": {}}),
            ("approve", {"tool_name": "Bash", "input": {}, "tool_use_id": ""}),
            ("start_task", {"agent": "a", "directive": "x", "queue": "q", "spawner": {"kind": "external"}}),
            ("get_task", {"task_id": "../questions"}),
        ):
            assert problem(await client.call_tool(tool, given)) in ("invalid-body", "invalid-request"), (tool, given)
        assert value(await client.call_tool("list_tasks"))["items"] == []


async def test_the_edge_refuses_what_is_not_for_it(node: Node) -> None:
    """Other methods, pages of other sites, missing and revoked credentials, and large bodies."""
    text = await node.key("k", Role.OPERATOR)
    client = node.as_(text)
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"Accept": "application/json, text/event-stream"}
    for method in ("GET", "DELETE"):
        assert (await client.request(method, "/mcp", headers=accept)).status_code == 405
    foreign = await client.post("/mcp", json=ping, headers={**accept, "Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "origin-not-allowed")
    own = await client.post("/mcp", json=ping, headers={**accept, "Origin": node.url})
    assert own.status_code == 200, own.text
    for credential in (None, "shk_" + "x" * 40, "nonsense"):
        refused = await node.as_(credential).post("/mcp", json=ping, headers=accept)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    large = await client.post(
        "/mcp", content=b" " * (1024 * 1024 + 1), headers={**accept, "Content-Type": "application/json"}
    )
    assert large.status_code == 413
    root = node.as_("shk_" + "root0" * 8)
    [mine] = [key for key in (await root.get("/v1/admin/keys")).json()["items"] if key["name"] == "k"]
    await root.delete(f"/v1/admin/keys/{mine['id']}")
    assert (await client.post("/mcp", json=ping, headers=accept)).status_code == 401
    assert "swarmhold_door_requests_total" in (await root.get("/metrics")).text


def test_the_sdks_are_not_imported_until_they_are_used() -> None:
    """A server that no MCP client calls, and that exports no traces, pays for neither."""
    dear = "{'mcp', 'opentelemetry.sdk', 'app.telemetry.tracing'} & sys.modules.keys()"
    code = f"import sys, app.bootstrap.server; sys.exit(bool({dear}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
