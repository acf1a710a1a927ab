"""The interrupts of LangGraph, in every shape that people's tools know: what is asked, and what resumes the graph."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from langchain.agents.middleware.human_in_the_loop import ApproveDecision, RejectDecision
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from pydantic import Discriminator

from swarmhold import Hold, SwarmholdClient, Unanswered
from swarmhold.adapters import langgraph
from tests.e2e.adapters.conftest import Asking
from tests.support.waiting import wait_until

BASH = {"command": "make ship"}
EDITED = {"decision": "edit", "edited_action": {"name": "bash", "arguments": {"command": "make plan"}}}
ALL = {"allow_accept": True, "allow_edit": True, "allow_respond": True, "allow_ignore": True}
INBOX = {"action_request": {"action": "bash", "args": BASH}, "config": ALL, "description": "Ship it?"}
EITHER = Annotated[ApproveDecision | RejectDecision, Discriminator("type")]
REQUEST = {"name": "bash", "args": BASH, "description": "Ship it?"}


def reviewed(*allowed: str) -> dict[str, Any]:
    """A `HITLRequest` with one action."""
    return {
        "action_requests": [REQUEST],
        "review_configs": [{"action_name": "bash", "allowed_decisions": list(allowed)}],
    }


class Values(TypedDict):
    """The state of the graphs."""

    resumed: Any


def graph_of(value: Any, schema: Any = None) -> Any:
    """A graph whose only node interrupts with a value, and keeps what resumes it."""

    def node(state: Values) -> Values:
        return {"resumed": interrupt(value, response_schema=schema)}

    graph = StateGraph(Values)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile(checkpointer=InMemorySaver())


@pytest.fixture
async def hold(asking: Asking) -> AsyncIterator[Hold]:
    """Asks with the key of the test."""
    async with SwarmholdClient(asking.node.url) as server:
        yield server.asking(asking.key)


async def asked_and_resumed(graph: Any, hold: Hold, asking: Asking, answer: Any) -> tuple[dict[str, Any], Any]:
    """The question of a graph's only interrupt, and what resumed the graph after this answer."""
    thread = {"configurable": {"thread_id": uuid4().hex}}
    running = asyncio.create_task(langgraph.run(graph, {"resumed": None}, thread, hold))
    [question] = await asyncio.to_thread(wait_until, asking.open)
    asking.swarm.answer(question["key"], answer)
    values = await running
    return asking.swarm.question(question["key"]), values["resumed"]


@pytest.mark.parametrize(
    ("value", "answer", "resumed"),
    [
        (INBOX, {"decision": "approve"}, {"type": "accept", "args": None}),
        ([INBOX], EDITED, [{"type": "edit", "args": {"action": "bash", "args": {"command": "make plan"}}}]),
        ([INBOX], {"decision": "respond", "message": "later"}, [{"type": "response", "args": "later"}]),
        (INBOX, {"decision": "reject"}, {"type": "ignore", "args": None}),
        (
            reviewed("approve", "edit"),
            EDITED,
            {"decisions": [{"type": "edit", "edited_action": {"name": "bash", "args": {"command": "make plan"}}}]},
        ),
        (
            reviewed("reject", "respond"),
            {"decision": "respond", "message": "it is shipped"},
            {"decisions": [{"type": "respond", "message": "it is shipped"}]},
        ),
        (
            reviewed("approve", "reject"),
            {"decision": "reject", "message": "not today"},
            {"decisions": [{"type": "reject", "message": "not today"}]},
        ),
    ],
)
async def test_a_review_is_a_decision_both_ways(
    value: Any, answer: Any, resumed: Any, asking: Asking, hold: Hold
) -> None:
    """The action and what is allowed come from the interrupt; the answer has the form that its author reads."""
    question, found = await asked_and_resumed(graph_of(value), hold, asking, answer)
    assert question["action"] == {"name": "bash", "arguments": BASH}
    assert question["question"] == "Ship it?"
    flags = ["approve", "edit", "reject", "respond"]
    allowed = value["review_configs"][0]["allowed_decisions"] if "review_configs" in value else flags
    assert sorted(question["allowed"]) == sorted(allowed)
    assert found == resumed
    assert ("consumed_at" in question) == (answer["decision"] in ("approve", "edit"))


@pytest.mark.parametrize(("schema", "allowed"), [(ApproveDecision, ["approve"]), (EITHER, ["approve", "reject"])])
async def test_a_call_allows_what_its_schema_takes(schema: Any, allowed: list[str], asking: Asking, hold: Hold) -> None:
    """The decisions about a `ToolApprovalRequest` are those of its answer's schema."""
    value = {"type": "tool_approval", "tool_call_id": "call-1", **REQUEST}
    question, found = await asked_and_resumed(graph_of(value, schema), hold, asking, {"decision": "approve"})
    assert question["allowed"] == allowed
    assert found == {"type": "approve"}


async def test_any_other_value_is_asked_as_it_is(asking: Asking, hold: Hold) -> None:
    """Its answer is what the graph's author declared; closed without one, the graph waits and the program learns it."""
    graph = graph_of({"text": "How many?"}, {"type": "integer"})
    question, found = await asked_and_resumed(graph, hold, asking, 3)
    assert (question["question"], question["answer_schema"], found) == ({"text": "How many?"}, {"type": "integer"}, 3)
    thread = {"configurable": {"thread_id": "withdrawn"}}
    running = asyncio.create_task(langgraph.run(graph, {"resumed": None}, thread, hold))
    [question] = await asyncio.to_thread(wait_until, asking.open)
    asking.swarm.call(asking.swarm.operator, "POST", f"/v1/operator/questions/{question['key']}/withdraw", {})
    with pytest.raises(Unanswered):
        await running
    assert (await graph.aget_state(thread)).next == ("node",)


async def test_what_nobody_allowed_is_rejected(asking: Asking, hold: Hold) -> None:
    """An approval that is withdrawn lets the graph go on without the action."""
    thread = {"configurable": {"thread_id": "withdrawn"}}
    running = asyncio.create_task(langgraph.run(graph_of(reviewed("approve")), {"resumed": None}, thread, hold))
    [question] = await asyncio.to_thread(wait_until, asking.open)
    asking.swarm.call(asking.swarm.operator, "POST", f"/v1/operator/questions/{question['key']}/withdraw", {})
    [decision] = (await running)["resumed"]["decisions"]
    assert decision["type"] == "reject"
    assert "nobody allowed it" in decision["message"]
