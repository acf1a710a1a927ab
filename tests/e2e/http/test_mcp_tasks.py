"""The tasks extension of the MCP door with the official client: every row of its table, and what survives."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import jsonschema
import pytest
from mcp import types
from mcp.client import Client

from app.domain.access import Role
from app.state import audit_log
from tests.support.mcp_clients import about, connected, refused, started
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

OP, SENIOR = "/v1/operator", "/v1/senior"


async def declined(context: Any, params: Any) -> types.ElicitResult:
    """A person who is never there; a client with this callback declares elicitation."""
    del context, params
    return types.ElicitResult(action="decline")


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine with its MCP door."""
    async with served() as node:
        yield node


async def person(node: Node, name: str, *roles: Role) -> str:
    """The text of a new key of a person."""
    body = {"name": name, "roles": [role.value for role in roles], "person": True}
    return (await node.as_(ROOT_KEY).post("/v1/admin/keys", json=body)).json()["key"]


async def answer(node: Node, key: str, value: Any) -> None:
    """A senior of another key answers."""
    senior = await node.operator(Role.SENIOR)
    reply = await senior.post(f"{SENIOR}/questions/{key}/answer", json={"value": value})
    assert reply.status_code == 200, reply.text


async def row(node: Node, key: str) -> dict[str, Any]:
    """A question as it is."""
    return (await (await node.operator()).get(f"{OP}/questions/{key}", params={"hold": 0})).json()


async def fits(client: Client, tool: str, state: dict[str, Any]) -> dict[str, Any]:
    """What a task returned, which has the schema of the tool's own results and nothing beside it."""
    [schema] = [one.output_schema for one in (await client.list_tools()).tools if one.name == tool]
    assert schema is not None
    found = state["result"]["structuredContent"]
    jsonschema.validate(found, schema)
    assert found.keys() <= schema["properties"].keys()
    return found


async def until_done(client: Client, task_id: str) -> dict[str, Any]:
    """The task as soon as it works no more."""

    async def done() -> dict[str, Any] | None:
        found = await about(client, "tasks/get", task_id)
        return None if found["status"] == "working" else found

    found = await eventually(done, awaited="the end of the task")
    assert found is not None
    return found


def frame(state: dict[str, Any]) -> dict[str, Any]:
    """What a status says beside ids and instants."""
    return {name: state[name] for name in state.keys() - {"taskId", "createdAt", "lastUpdatedAt", "pollIntervalMs"}}


async def test_a_question_is_followed_through_each_of_its_states(node: Node) -> None:
    """Open, answered, answered by its deadline, expired and withdrawn, each by the question's own key."""
    key = await node.key("asker", Role.OPERATOR)
    operator = await node.operator(key=key)
    soon = {"deadline": "2020-01-01T00:00:00Z"}
    async with connected(node.url, key) as client:
        open_ = await started(client, "ask_human", question="Deploy?", once="d")
        again = await started(client, "ask_human", question="Deploy?", once="d")
        assert open_ == again
        assert open_["taskId"].startswith("R-")
        assert (open_["status"], open_["ttlMs"], open_["pollIntervalMs"]) == ("working", None, 2000)
        read = await about(client, "tasks/get", open_["taskId"])
        assert read == {name: value for name, value in open_.items() if name != "resultType"}
        assert read["statusMessage"] == "It waits for an answer from any senior."
        await answer(node, open_["taskId"], {"go": 1})
        done = await about(client, "tasks/get", open_["taskId"])
        result = done["result"]
        assert (done["status"], result["isError"]) == ("completed", False)
        assert result["structuredContent"] == {
            "open": False, "key": open_["taskId"], "status": "answered", "answer": {"go": 1}, "answered_by": "tester"
        }  # fmt: skip
        assert done["ttlMs"] >= 30 * 86_400_000
        complete = await client.call_tool("ask_human", {"question": "Deploy?", "once": "d"})
        assert complete.structured_content == result["structuredContent"]

        for policy, status, is_error in (("default", "answered", False), ("block", "expired", True)):
            given = {"default": "no"} if policy == "default" else {}
            asked = {"question": "?", "on_deadline": policy, **soon, **given}
            question = (await operator.post(f"{OP}/questions", json=asked)).json()

            done = await until_done(client, question["key"])
            assert (done["status"], done["result"]["isError"]) == ("completed", is_error)
            assert (await fits(client, "ask_human", done))["status"] == status
        gone = await started(client, "ask_human", question="?")
        for _ in range(2):
            assert await about(client, "tasks/cancel", gone["taskId"]) == {}
        assert frame(await about(client, "tasks/get", gone["taskId"]))["status"] == "cancelled"
        assert await about(client, "tasks/cancel", open_["taskId"]) == {}
        assert (await about(client, "tasks/get", open_["taskId"]))["status"] == "completed"


async def claimed(node: Node, queue: str) -> httpx.AsyncClient:
    """A worker that has claimed from a queue."""
    key = await node.key(f"worker-{queue}", Role.WORKER)
    job = (await node.as_(key).post("/v1/worker/claim", json={"queue": queue, "hold": 5})).json()
    return node.as_(job["worker_handle"])


async def test_a_started_task_is_followed_through_each_of_its_states(node: Node) -> None:
    """Pending, running, suspended, passed, blocked in each way, and cancelled, each by the task's own id."""
    key = await node.key("starter", Role.OPERATOR)
    operator = await node.operator(key=key)
    async with connected(node.url, key) as client:
        idle = await started(client, "start_task", agent="a", directive="x")
        assert (idle["taskId"][:2], idle["status"], idle["ttlMs"]) == ("T-", "working", None)
        assert await about(client, "tasks/cancel", idle["taskId"]) == {}
        assert (await about(client, "tasks/get", idle["taskId"]))["status"] == "cancelled"
        assert await about(client, "tasks/cancel", idle["taskId"]) == {}

        async def working(queue: str, **more: Any) -> tuple[str, httpx.AsyncClient]:
            task = await started(client, "start_task", agent="a", directive="x", queue=queue, **more)
            assert (task["status"], bool(task["statusMessage"])) == ("working", True)
            return task["taskId"], await claimed(node, queue)

        passed, worker = await working("passes")
        asked = (await worker.post("/v1/worker/questions", json={"question": "How?"})).json()
        waiting = await about(client, "tasks/get", passed)
        assert (waiting["status"], waiting["statusMessage"]) == ("working", "waits for an answer from any senior")
        await answer(node, asked["key"], "so")
        await worker.post("/v1/worker/submit", json={"n": 1})
        done = await about(client, "tasks/get", passed)
        assert (done["status"], done["result"]["isError"]) == ("completed", False)
        assert done["result"]["structuredContent"] == {
            "open": False, "task_id": passed, "status": "pass", "attempt": 1, "result": {"n": 1}
        }  # fmt: skip

        blocked, worker = await working("blocks")
        await worker.post("/v1/worker/submit", params={"ok": "false"}, json="no way")
        done = await about(client, "tasks/get", blocked)
        assert (done["status"], done["result"]["isError"]) == ("completed", True)
        assert (await fits(client, "start_task", done))["result"] == "no way"
        assert done["ttlMs"] >= 90 * 86_400_000

        retry = {"max_attempts": 2, "backoff": 600, "on": ["blocked"]}
        retried, worker = await working("retries", retry=retry)
        await worker.post("/v1/worker/submit", params={"ok": "false"}, json="not yet")
        again = await about(client, "tasks/get", retried)
        assert (again["status"], again["ttlMs"], bool(again["statusMessage"])) == ("working", None, True)

        body = {"agent": "a", "initial_directive": "x", "attempt_timeout": 0.1}
        late = (await operator.post(f"{OP}/tasks", json=body)).json()["id"]
        await operator.post(f"{OP}/tasks/{late}/dispatch", json={"spawner": {"kind": "external"}})
        lost = await until_done(client, late)
        assert (lost["status"], lost["error"]["code"], lost["error"]["data"]) == ("failed", -32603, {"code": "timeout"})


async def test_a_person_is_asked_and_nobody_else(node: Node) -> None:
    """Input is required of a person's key that did not ask. What comes for another question changes nothing."""
    asker = await person(node, "asker", Role.OPERATOR, Role.SENIOR)
    judge = await person(node, "judge", Role.SENIOR)
    agent = await node.key("agent", Role.SENIOR)
    can: dict[str, Any] = {"elicitation_callback": declined}
    async with (
        connected(node.url, asker, **can) as mine,
        connected(node.url, judge, **can) as client,
        connected(node.url, agent, **can) as other,
        connected(node.url, judge) as mute,
    ):
        task = await started(mine, "ask_human", question="Which?", choices=["a", "b"])
        key = task["taskId"]
        for of, status in ((agent, "working"), (asker, "working"), (judge, "input_required")):
            async with connected(node.url, await node.attach(Role.SENIOR, key=of), **can) as one:
                assert (await about(one, "tasks/get", key))["status"] == status
        for one in (mine, other, mute):
            assert (await about(one, "tasks/get", key))["status"] == "working"
        shown = await about(client, "tasks/get", key)
        assert shown["status"] == "input_required"
        request = shown["inputRequests"][key]
        assert request["method"] == "elicitation/create"
        field = {"type": "string", "enum": ["a", "b"]}
        form = {"type": "object", "properties": {"answer": field}, "required": ["answer"]}
        assert (request["params"]["mode"], request["params"]["requestedSchema"]) == ("form", form)
        assert "Which?" in request["params"]["message"]

        yes = {"action": "accept", "content": {"answer": "a"}}
        unfit = {"action": "accept", "content": {"answer": "c"}}
        for one, said in (
            (client, {key: {"action": "decline"}}),
            (client, {key: {"action": "cancel"}}),
            (client, {key: unfit, "R-" + "0" * 26: yes}),
            (client, {key: "nonsense"}),
            (mine, {key: yes}),
            (other, {key: yes}),
        ):
            assert await about(one, "tasks/update", key, inputResponses=said) == {}
            assert (await about(mine, "tasks/get", key))["status"] == "working"
        for _ in range(2):
            assert await about(client, "tasks/update", key, inputResponses={key: yes}) == {}
        done = (await about(mine, "tasks/get", key))["result"]["structuredContent"]
        assert (done["answer"], done["answered_by"]) == ("a", "mcp:judge")
        log = await node.engine.store.read(lambda state: audit_log.page(state.db, 0, 1000))
        ignored = [row for row in log if row.action == "answers_ignored"]
        assert {(row.target, row.door) for row in ignored} == {(key, "mcp")}
        assert [row.detail.value["count"] for row in ignored if row.detail] == [2, 1, 1, 1, 1]


async def test_a_person_is_asked_for_a_task_that_others_wait_for(node: Node) -> None:
    """By the task's id: each open question is one request, the task goes on after the last of them. So is root."""
    starter = await node.key("starter", Role.OPERATOR)
    task_id, worker = await node.worker(await node.operator(key=starter))
    keys = [(await worker.post("/v1/worker/questions", json={"question": "?"})).json()["key"] for _ in range(2)]
    judge = await person(node, "judge", Role.SENIOR)
    can: dict[str, Any] = {"elicitation_callback": declined}
    async with (
        connected(node.url, starter, **can) as mine,
        connected(node.url, judge, **can) as client,
        connected(node.url, ROOT_KEY, **can) as root,
    ):
        assert (await about(mine, "tasks/get", task_id))["status"] == "working"
        for one, left in ((client, keys), (root, keys[1:])):
            shown = await about(one, "tasks/get", task_id)
            assert (shown["status"], list(shown["inputRequests"])) == ("input_required", left)
            said = {left[0]: {"action": "accept", "content": {"answer": "go"}}}
            assert await about(one, "tasks/update", task_id, inputResponses=said) == {}
        assert (await about(client, "tasks/get", task_id))["status"] == "working"
        assert [(await row(node, key))["answered_by"] for key in keys] == ["mcp:judge", "mcp:root"]


async def test_ids_and_headers_are_checked(node: Node) -> None:
    """An id that is not the caller's is as one that never was; so is a request without the extension, or its header."""
    mine, there = (
        await node.key("here", Role.OPERATOR),
        await node.as_(ROOT_KEY).post(
            "/v1/admin/keys", json={"name": "there", "roles": ["operator"], "namespace": "there"}
        ),
    )
    async with connected(node.url, mine) as client, connected(node.url, there.json()["key"]) as other:
        question = (await started(client, "ask_human", question="?"))["taskId"]
        task = (await started(client, "start_task", agent="a", directive="x"))["taskId"]
        for method, more in (("tasks/get", {}), ("tasks/update", {"inputResponses": {}}), ("tasks/cancel", {})):
            for one, name in (
                *((other, own) for own in (question, task)),
                *((client, never) for never in ("R-" + "0" * 26, "T-" + "0" * 26, "nonsense", "R-", "T-../x")),
            ):
                assert await refused(one, method, name, **more) == types.INVALID_PARAMS, (method, name)
        async with connected(node.url, mine, follows=False) as plain:
            assert await refused(plain, "tasks/get", question) == types.MISSING_REQUIRED_CLIENT_CAPABILITY
            asked = await plain.call_tool("ask_human", {"question": "?", "hold": 0})
            assert asked.structured_content is not None
            assert asked.structured_content["open"] is True
        assert (await about(client, "tasks/get", question))["status"] == "working"
    version, capabilities = "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"
    meta = {version: "2026-07-28", capabilities: {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": question, "_meta": meta}}
    headers = {
        "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tasks/get"
    }  # fmt: skip
    for name, status in ((None, 400), (task, 400), (question, 200)):
        named = {} if name is None else {"Mcp-Name": name}
        reply = await node.as_(mine).post("/mcp", json=body, headers={**headers, **named})
        assert reply.status_code == status, reply.text
        assert reply.json().get("error", {}).get("code") == (None if status == 200 else types.HEADER_MISMATCH)


@pytest.mark.parametrize("role", [Role.WORKER, Role.OBSERVER])
async def test_other_roles_read_what_is_theirs(node: Node, role: Role) -> None:
    """A worker follows its own question and child; an observer reads tasks."""
    operator = await node.operator()
    task_id, worker = await node.worker(operator)
    handle = worker.headers["Authorization"].removeprefix("Bearer ")
    credential = handle if role is Role.WORKER else await node.attach(Role.OBSERVER)
    async with connected(node.url, credential) as client:
        assert (await about(client, "tasks/get", task_id))["status"] == "working"
        if role is Role.WORKER:
            child = await started(client, "start_task", agent="b", directive="y")
            assert (await about(client, "tasks/get", child["taskId"]))["status"] == "working"
            asked = await started(client, "ask_human", question="?")
            assert (await about(client, "tasks/get", task_id))["status"] == "working"
            assert await about(client, "tasks/cancel", asked["taskId"]) == {}
            assert (await about(client, "tasks/get", asked["taskId"]))["status"] == "cancelled"
        else:
            assert await refused(client, "tasks/cancel", task_id) == types.INVALID_PARAMS


async def test_legacy_clients_hold_instead(node: Node) -> None:
    """The extension is of the revision that has no handshake: by handshake the call says open."""
    async with connected(node.url, await node.key("k", Role.OPERATOR), "legacy") as client:
        asked = await client.call_tool("ask_human", {"question": "?", "hold": 0})
        assert asked.structured_content is not None
        assert asked.structured_content["open"] is True
