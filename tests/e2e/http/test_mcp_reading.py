"""Resources and prompts of the MCP door: each credential reads what it may, and nothing else exists."""

from collections.abc import AsyncIterator

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, TextContent, TextResourceContents

from app.domain.access import Role
from tests.support.mcp_clients import links, plain, read, value
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.sources import ROOT

SKILL_URI = "skill://swarmhold-worker/SKILL.md"
SKILL = ROOT / "clients" / "python" / "swarmhold" / "skills" / "swarmhold-worker" / "SKILL.md"
TEXT = SKILL.read_text()
OPEN = "swarmhold://questions/open"


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine with its MCP door."""
    async with served() as node:
        yield node


async def unknown(client: Client, uri: str) -> bool:
    """Whether an address is unknown to a client."""
    try:
        await client.read_resource(uri)
    except MCPError as error:
        return error.code == INVALID_PARAMS
    return False


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_results_link_to_what_can_be_read_again(node: Node, mode: str) -> None:
    """A question and a task are linked beside the text, and read as the API shows them."""
    asker = await node.key(f"asker-{mode}", Role.OPERATOR)
    async with plain(node, asker, mode) as client:
        asked = await client.call_tool("ask_human", {"question": "Deploy?", "hold": 0})
        key = value(asked)["key"]
        assert links(asked) == [f"swarmhold://questions/{key}"]
        shown = await read(client, f"swarmhold://questions/{key}")
        assert (shown["key"], shown["status"], shown["question"]) == (key, "open", "Deploy?")
        assert key in [item["key"] for item in (await read(client, OPEN))["items"]]
        started = await client.call_tool("start_task", {"agent": "a", "directive": "x"})
        uri = links(started)[0]
        assert uri == f"swarmhold://tasks/{value(started)['task_id']}"
        assert (await read(client, uri))["status"] == "pending"
        assert (await read(client, f"{uri}/why"))["task_id"] == value(started)["task_id"]
        assert (await read(client, f"{uri}/output"))["items"] == []
        assert links(await client.call_tool("list_tasks")) == []


async def test_output_is_that_of_the_latest_attempt(node: Node) -> None:
    """Progress and the result come in order."""
    task_id, worker = await node.worker(await node.operator())
    await worker.post("/v1/worker/output", json={"type": "progress", "stage": "half"})
    await worker.post("/v1/worker/submit", json={"n": 1})
    async with plain(node, await node.key("reader", Role.OBSERVER)) as client:
        output = await read(client, f"swarmhold://tasks/{task_id}/output")
    assert (output["task_id"], output["attempt"]) == (task_id, 1)
    assert [item["type"] for item in output["items"]] == ["progress", "final"]


async def test_a_credential_reads_what_its_role_may(node: Node) -> None:
    """Lists have a fixed order and say how long they hold; whatever may not be read answers like an unknown address."""
    task_id, worker = await node.worker(await node.operator())
    key = (await worker.post("/v1/worker/questions", json={"question": "?"})).json()["key"]
    handle = worker.headers["Authorization"].removeprefix("Bearer ")
    task, question = f"swarmhold://tasks/{task_id}", f"swarmhold://questions/{key}"
    reading = {task, f"{task}/why", f"{task}/output", question, OPEN}
    tasks = {"task", "task-why", "task-output"}
    for credential, may, kinds in (
        (await node.key("operator", Role.OPERATOR), reading, {*tasks, "question"}),
        (await node.key("senior", Role.SENIOR), reading, {*tasks, "question"}),
        (await node.key("observer", Role.OBSERVER), reading - {question, OPEN}, tasks),
        (await node.attach(Role.OBSERVER), reading - {question, OPEN}, tasks),
        (handle, {task, question}, {"task", "question"}),
    ):
        async with plain(node, credential) as client:
            assert {uri for uri in reading if not await unknown(client, uri)} == may
            listed = await client.list_resources()
            assert [one.uri for one in listed.resources] == ([OPEN] if OPEN in may else []) + [SKILL_URI]
            templates = await client.list_resource_templates()
            assert {one.name for one in templates.resource_templates} == kinds
            for one in (listed, templates):
                assert (one.ttl_ms, one.cache_scope) == (300_000, "private")
            assert await unknown(client, "swarmhold://tasks/T-" + "0" * 26)
            for uri in (f"{task}/secret", "swarmhold://tasks/", "swarmhold://tasks/..", "file:///etc/passwd", "x"):
                assert await unknown(client, uri), uri


async def test_another_namespace_reads_nothing(node: Node) -> None:
    """A task and a question of one namespace are unknown in another, and not in its list."""
    body = {"name": "elsewhere", "roles": ["operator", "senior"], "namespace": "elsewhere"}
    other = (await node.as_(ROOT_KEY).post("/v1/admin/keys", json=body)).json()["key"]
    async with plain(node, await node.key("here", Role.OPERATOR)) as mine, plain(node, other) as client:
        [question] = links(await mine.call_tool("ask_human", {"question": "?", "hold": 0}))
        [task] = links(await mine.call_tool("start_task", {"agent": "a", "directive": "x"}))
        for uri in (question, task, f"{task}/why", f"{task}/output"):
            assert await unknown(client, uri), uri
            assert not await unknown(mine, uri), uri
        assert (await read(client, OPEN))["items"] == []


async def test_the_skill_is_the_one_that_is_installed(node: Node) -> None:
    """Every credential reads it."""
    async with plain(node, await node.key("any", Role.OBSERVER)) as client:
        [contents] = (await client.read_resource(SKILL_URI)).contents
        assert isinstance(contents, TextResourceContents)
        assert (contents.text, contents.mime_type) == (TEXT, "text/markdown")


async def test_each_role_has_its_prompt(node: Node) -> None:
    """No other can be got, and a prompt says what its reader may do."""
    _, worker = await node.worker(await node.operator())
    handle = worker.headers["Authorization"].removeprefix("Bearer ")
    for credential, name, words in (
        (handle, "work", "get_assignment"),
        (await node.key("claimer", Role.WORKER), "work", "claim_assignment"),
        (await node.key("delegator", Role.OPERATOR), "delegate", "start_task"),
        (await node.key("sorter", Role.SENIOR), "triage", "answer_question"),
        (await node.attach(Role.SENIOR), "triage", "Do not answer for the person"),
        (await node.key("onlooker", Role.OBSERVER), None, ""),
    ):
        async with plain(node, credential) as client:
            assert [one.name for one in (await client.list_prompts()).prompts] == ([name] if name else [])
            for asked in ("work", "delegate", "triage", "other"):
                if asked != name:
                    with pytest.raises(MCPError) as refused:
                        await client.get_prompt(asked)
                    assert refused.value.code == INVALID_PARAMS
            if name:
                [message] = (await client.get_prompt(name)).messages
                assert isinstance(message.content, TextContent)
                assert words in message.content.text
                with pytest.raises(MCPError):
                    await client.get_prompt(name, {"nonsense": "x"})
    async with plain(node, await node.key("planner", Role.OPERATOR)) as client:
        [message] = (await client.get_prompt("delegate", {"goal": "ship 1.2"})).messages
        assert isinstance(message.content, TextContent)
        assert "ship 1.2" in message.content.text
