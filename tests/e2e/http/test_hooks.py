"""Hooks of coding agents over HTTP: they ask, defer, resume on a later day, and use each approval once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest

from app.domain.access import Role
from app.domain.clock import system_clock
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.http.door_settings import DoorSettings, HookDoorSettings
from app.http.settings import HttpSettings
from app.state.opening import open_store
from app.state.policies import RetentionPolicy
from app.state.retention import sweep
from tests.support.clocks import HandClock
from tests.support.mcp_clients import plain, value
from tests.support.serving import Node, served
from tests.support.waiting import eventually

CLAUDE, CODEX = "/v1/doors/claude-code/hook", "/v1/doors/codex/hook"
DAY = 86_400
APPROVE = {"decision": "approve"}
EVENT = {
    "hook_event_name": "PreToolUse",
    "session_id": "s-1",
    "tool_name": "Bash",
    "tool_input": {"command": "make release"},
    "cwd": "/src",
    "permission_mode": "default",
}


class Agent:
    """A hook's key, and a senior who answers."""

    def __init__(self, node: Node, key: str, senior: httpx.AsyncClient) -> None:
        self.node = node
        self.hook = node.as_(key)
        self.senior = senior

    async def fire(self, event: dict[str, Any], path: str = CLAUDE, **parameters: Any) -> dict[str, Any]:
        """What the hook says."""
        reply = await self.hook.post(path, json=event, params=parameters)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def open(self) -> list[dict[str, Any]]:
        """The open questions."""
        return (await self.senior.get("/v1/senior/questions", params={"status": "open"})).json()["items"]

    async def answer(self, key: str, value: Any) -> None:
        """Answer a question."""
        reply = await self.senior.post(f"/v1/senior/questions/{key}/answer", json={"value": value})
        assert reply.status_code == 200, reply.text

    async def asked(self, event: dict[str, Any], path: str = CLAUDE) -> str:
        """The key of the question that an event asks."""
        before = {one["key"] for one in await self.open()}
        await self.fire(event, path)
        (key,) = {one["key"] for one in await self.open()} - before
        return str(key)


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """An agent's key with the role operator alone, and the key of a senior."""
    async with served() as node:
        yield await agent_on(node)


async def agent_on(node: Node) -> Agent:
    """An agent and a senior on a node."""
    senior = await node.attach(Role.SENIOR, name="anna", key=await node.key("anna", Role.SENIOR))
    return Agent(node, await node.key("agent", Role.OPERATOR), node.as_(senior))


def use(name: str, **more: Any) -> dict[str, Any]:
    """A tool use of its own."""
    return {**EVENT, "tool_use_id": f"toolu_{name}", **more}


def decision_of(reply: dict[str, Any]) -> tuple[Any, ...]:
    """What the hook decided about a tool use, with the other input if there is one."""
    said = reply["hookSpecificOutput"]
    return (said["permissionDecision"], said.get("updatedInput"))


async def test_an_approval_lets_a_tool_be_used_once(agent: Agent) -> None:
    """It defers, a repeat asks nothing new, the approval allows it once, and a second use by it is denied."""
    event = use("once")
    key = await agent.asked(event)
    assert decision_of(await agent.fire(event)) == ("defer", None)
    (question,) = [one for one in await agent.open() if one["key"] == key]
    assert question["action"] == {"name": "Bash", "arguments": {"command": "make release"}}
    task = (await agent.senior.get(f"/v1/operator/tasks/{question['task_id']}")).json()
    assert task["labels"]["harness"] == "claude-code"
    await agent.answer(key, APPROVE)
    assert decision_of(await agent.fire(event)) == ("allow", None)
    again = await agent.fire(event)
    assert decision_of(again) == ("deny", None)
    assert "may have been carried out" in again["hookSpecificOutput"]["permissionDecisionReason"]


@pytest.mark.parametrize(
    ("answer", "decided"),
    [
        (
            {"decision": "edit", "edited_action": {"name": "Bash", "arguments": {"command": "make check"}}},
            ("allow", {"command": "make check"}),
        ),
        ({"decision": "edit", "edited_action": {"name": "Write", "arguments": {}}}, ("deny", None)),
        ({"decision": "reject", "message": "not on Fridays"}, ("deny", None)),
    ],
)
async def test_what_a_senior_decides_is_what_happens(
    agent: Agent, answer: dict[str, Any], decided: tuple[Any, ...], request: pytest.FixtureRequest
) -> None:
    """An edit changes the input, but never the tool; a rejection denies in the senior's words."""
    event = use(request.node.name)
    await agent.answer(await agent.asked(event), answer)
    said = await agent.fire(event)
    assert decision_of(said) == decided
    if "message" in answer:
        assert said["hookSpecificOutput"]["permissionDecisionReason"] == answer["message"]


async def test_a_question_that_is_withdrawn_denies(agent: Agent) -> None:
    """Nobody allowed it."""
    event = use("withdrawn")
    key = await agent.asked(event)
    operator = await agent.node.operator(name="cleaner")
    assert (await operator.post(f"/v1/operator/questions/{key}/withdraw", json={})).status_code == 200
    assert decision_of(await agent.fire(event)) == ("deny", None)


@pytest.mark.parametrize(
    ("questions", "answer", "handed"),
    [
        ([("Which?", ["a", "b"], False)], "b", {"Which?": "b"}),
        ([("Which?", ["a", "b"], True)], ["a", "b"], {"Which?": ["a", "b"]}),
        (
            [("One?", ["a"], False), ("Two?", ["x", "y"], True)],
            {"One?": "a", "Two?": ["y"]},
            {"One?": "a", "Two?": ["y"]},
        ),
    ],
)
async def test_a_question_of_the_model_gets_its_answer(
    agent: Agent, questions: list[Any], answer: Any, handed: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """AskUserQuestion is a plain question, whose answer goes back by the text of each, as often as it is asked."""
    listed = [
        {
            "question": text,
            "header": "h",
            "multiSelect": many,
            "options": [{"label": one, "description": ""} for one in labels],
        }
        for text, labels, many in questions
    ]
    event = use(request.node.name, tool_name="AskUserQuestion", tool_input={"questions": listed})
    await agent.answer(await agent.asked(event), answer)
    for _ in range(2):
        assert decision_of(await agent.fire(event)) == ("allow", {"questions": listed, "answers": handed})


async def test_a_permission_request_waits_and_says_nothing_when_nobody_answers(agent: Agent) -> None:
    """It cannot defer: the terminal asks. An answer that came lets it go on; Codex asks in this way alone."""
    for path, more in ((CLAUDE, {}), (CODEX, {"turn_id": "t-1"})):
        event = {**EVENT, "hook_event_name": "PermissionRequest", "session_id": "s-2", **more}
        assert await agent.fire(event, path, hold=0) == {}
        (question,) = await agent.open()
        await agent.answer(question["key"], APPROVE)
        said = await agent.fire(event, path)
        assert said["hookSpecificOutput"] == {"hookEventName": "PermissionRequest", "decision": {"behavior": "allow"}}
        assert (await agent.fire(event, path))["hookSpecificOutput"]["decision"]["behavior"] == "deny"


async def test_a_held_hook_returns_with_the_answer(agent: Agent) -> None:
    """With `hold` the hook waits for the answer first."""
    event = use("held")
    key = await agent.asked(event)
    held = asyncio.create_task(agent.fire(event, hold=60))
    await eventually(lambda: agent.node.parked, awaited="the hook to wait")
    await agent.answer(key, APPROVE)
    assert decision_of(await held) == ("allow", None)


async def test_refusals_of_a_well_formed_event_deny(agent: Agent) -> None:
    """Another content of a known use, what is too large to show, and keys that are none: 200, deny and the reason."""
    await agent.asked(use("other"))
    other = await agent.fire(use("other", tool_input={"command": "rm"}))
    large = await agent.fire(use("large", tool_input={"content": "x" * 70_000}))
    unknown = (await agent.node.as_("shk_" + "z" * 40).post(CLAUDE, json=use("unknown"))).json()
    nobody = (await agent.node.as_(None).post(CLAUDE, json=use("nobody"))).json()
    senior = (await agent.node.as_(await agent.node.key("s", Role.SENIOR)).post(CLAUDE, json=use("role"))).json()
    assert {decision_of(said) for said in (other, large, unknown, nobody, senior)} == {("deny", None)}
    assert "idempotency" in other["hookSpecificOutput"]["permissionDecisionReason"].lower()


async def test_malformed_events_are_errors(agent: Agent) -> None:
    """What is no event of a hook, or asks nothing, is refused as any body is, and changes nothing."""
    before = await agent.open()
    for body in (
        {},
        [],
        {**EVENT, "tool_input": "x"},
        {**EVENT, "hook_event_name": "Stop"},
        {**EVENT, "session_id": ""},
    ):
        assert (await agent.hook.post(CLAUDE, json=body)).status_code == 422
    assert (await agent.hook.post(CODEX, json=use("codex"))).status_code == 422
    empty = use("empty", tool_name="AskUserQuestion", tool_input={"questions": []})
    assert (await agent.hook.post(CLAUDE, json=empty)).status_code == 422
    assert (await agent.hook.post(CLAUDE, content=b"{")).status_code == 400
    assert (await agent.hook.post(CLAUDE, json=EVENT, params={"hold": "x"})).status_code == 400
    assert await agent.open() == before


async def test_the_asker_answers_through_no_door(agent: Agent) -> None:
    """A key that has every role asks, and its own senior's session is refused the answer."""
    key = await agent.node.key("both")
    await agent.node.as_(key).post(CLAUDE, json=use("own"))
    own = agent.node.as_(await agent.node.attach(Role.SENIOR, name="own", key=key))
    question = (await agent.open())[-1]["key"]
    reply = await own.post(f"/v1/senior/questions/{question}/answer", json={"value": APPROVE})
    assert (reply.status_code, reply.json()["code"]) == (403, "asker-cannot-answer")


@pytest.mark.one_node("it moves the clock of the only node")
async def test_what_comes_again_on_the_third_day_finds_its_question(tmp_path: Any) -> None:
    """After restarts and sweeps no door asks again, and the answer of the second day lets the hook's tool run once."""
    clock, url = HandClock(system_clock()), f"{tmp_path}/node.db"
    event = use("days")

    cfg = EngineCfg()
    parts = default_parts(cfg)
    store = partial(open_store, url, policy=cfg.hold, seal=parts.seal, clock=clock)

    def engine() -> Engine:
        return Engine(replace(parts, open_store=store))

    async def asked_by_mcp(node: Node, credential: str) -> str:
        async with plain(node, credential) as client:
            return value(await client.call_tool("ask_human", {"question": "?", "once": "days", "hold": 0}))["key"]

    async with served(engine=engine()) as node:
        agent = await agent_on(node)
        key, hook = await agent.asked(event), agent.hook.headers["Authorization"].removeprefix("Bearer ")
        other = await asked_by_mcp(node, hook)
    clock.advance(2 * DAY)
    kept = store()
    await kept.open()
    while await kept.transact("sweep", lambda state: sweep(state, RetentionPolicy(), limit=100), bulk=True):
        pass
    await kept.close()
    async with served(engine=engine()) as node:
        hooks, senior = node.as_(hook), await node.operator(Role.SENIOR)
        assert decision_of((await hooks.post(CLAUDE, json=event)).json()) == ("defer", None)
        assert await asked_by_mcp(node, hook) == other
        found = (await senior.get("/v1/senior/questions", params={"status": "open"})).json()["items"]
        assert [one["key"] for one in found] == [key, other]
        await senior.post(f"/v1/senior/questions/{key}/answer", json={"value": APPROVE})
        clock.advance(DAY / 2)
        decided = [decision_of((await hooks.post(CLAUDE, json=event)).json())[0] for _ in range(2)]
    assert decided == ["allow", "deny"]


async def test_the_door_can_be_closed() -> None:
    """Then there is nothing at its path."""
    closed = HttpSettings(doors=DoorSettings(hooks=HookDoorSettings(enabled=False)))
    async with served(closed) as node:
        agent = await agent_on(node)
        for path in (CLAUDE, CODEX):
            assert (await agent.hook.post(path, json=EVENT)).status_code == 404
