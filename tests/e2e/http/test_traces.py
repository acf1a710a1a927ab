"""Trace contexts over HTTP: taken from callers, kept with tasks, handed on to whatever works on them."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from app.domain.access import Role
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from swarmhold import Job, QueueSpawner, SwarmholdClient, traced
from tests.e2e.http.test_webhooks import hook
from tests.support.receiver import receiving
from tests.support.serving import Node, served
from tests.support.waiting import eventually

OPERATOR, WORKER = "/v1/operator", "/v1/worker"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
GIVEN = {"traceparent": PARENT, "tracestate": "rojo=1"}
TASK = {"agent": "a", "initial_directive": "d"}


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A served engine over each store."""
    async with served(store_url=store_url) as node:
        yield node


async def started(client: httpx.AsyncClient, role: str = OPERATOR, **headers: str) -> str:
    """The id of a new task."""
    reply = await client.post(f"{role}/tasks", json=TASK, headers=headers)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


async def handle(node: Node, client: httpx.AsyncClient, task_id: str, role: str = OPERATOR) -> httpx.AsyncClient:
    """The worker of a new attempt."""
    reply = await client.post(f"{role}/tasks/{task_id}/dispatch", json={"spawner": {"kind": "external"}})
    assert reply.status_code == 202, reply.text
    return node.as_(reply.json()["worker_handle"])


async def trace_of(worker: httpx.AsyncClient) -> Any:
    """What a worker's prompt says; None when it has no such field."""
    prompt = (await worker.get(f"{WORKER}/prompt")).json()
    assert prompt["task_id"]
    return prompt.get("trace")


async def traces_by_kind(node: Node, task_id: str) -> dict[str, Any]:
    """What each kind of event of a task says."""
    events, _ = await node.engine.feed.page_of(task_id, 0)
    return {event.kind: event.document(None).get("trace") for event in events}


async def test_a_task_keeps_the_context_of_the_call_that_made_it(node: Node) -> None:
    """For its worker and its events; one that is not valid is as none, and the next request begins without."""
    operator = await node.operator()
    task_id = await started(operator, **GIVEN)
    worker = await handle(node, operator, task_id)
    assert await trace_of(worker) == GIVEN
    assert (await worker.post(f"{WORKER}/submit", content="done")).status_code == 204
    for bad in ({}, {"traceparent": PARENT.upper()}, {"tracestate": "rojo=1"}):
        assert await trace_of(await handle(node, operator, await started(operator, **bad))) is None
    kinds = await traces_by_kind(node, task_id)
    assert {"task_created", "task_attempt_started", "task_attempt_completed", "task_pass"} <= set(kinds)
    assert all(trace == GIVEN for trace in kinds.values())


async def test_children_inherit_it_or_bring_their_own(node: Node) -> None:
    """What a worker starts belongs to its task's trace, unless the worker names another one."""
    operator = await node.operator()
    worker = await handle(node, operator, await started(operator, **GIVEN))
    children = [await started(worker, WORKER), await started(worker, WORKER, traceparent=OTHER)]
    found = [await trace_of(await handle(node, worker, child, WORKER)) for child in children]
    assert found == [GIVEN, {"traceparent": OTHER}]


async def test_a_question_without_a_task_has_it_too(node: Node) -> None:
    """Its events carry it until the answer."""
    operator = await node.operator()
    body = {"question": "May I?"}
    asked = (await operator.post(f"{OPERATOR}/questions", json=body, headers=GIVEN)).json()
    senior = await node.operator(Role.SENIOR, name="mira")
    reply = await senior.post(f"/v1/senior/questions/{asked['key']}/answer", json={"value": "yes"})
    assert reply.status_code == 200, reply.text
    events = await traces_by_kind(node, asked["task_id"])
    assert (events["senior_queried"], events["senior_answered"], events["task_pass"]) == (GIVEN, GIVEN, GIVEN)


async def test_the_client_forwards_a_context_and_gives_workers_theirs(node: Node) -> None:
    """Inside `traced` every call carries it; a queue worker's calls carry that of its job."""
    async with SwarmholdClient(node.url) as client:
        operator = await client.attach_operator(await node.key("op", Role.OPERATOR), "op")
        with traced(PARENT, "rojo=1"):
            task = await operator.start_task("a", "d")
        await operator.dispatch(task.id, QueueSpawner(queue="q"))
        seen: list[Any] = []

        async def work(job: Job) -> str:
            child = await job.worker.start_task("b", "below")
            seen.extend((job.claim.trace, child.id))
            return "done"

        worker = client.queue_worker(await node.key("worker", Role.WORKER), "q", work)
        running = asyncio.create_task(worker.run())
        await eventually(lambda: len(seen) == 2)
        worker.stop()
        await running
        trace, child_id = seen
        assert trace.model_dump(exclude_none=True) == GIVEN
        below = await handle(node, await node.operator(), child_id)
        assert await trace_of(below) == GIVEN
        untraced = await operator.start_task("a", "d")
        assert await trace_of(await handle(node, await node.operator(), untraced.id)) is None


async def test_mcp_takes_it_from_meta(node: Node) -> None:
    """Of each call its own; one that is not valid leaves the header's."""
    headers = {"Authorization": f"Bearer {await node.key('agent', Role.OPERATOR)}", "traceparent": OTHER}
    found: list[Any] = []
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{node.url}/mcp", http_client=http)) as client,
    ):
        metas: list[Any] = [GIVEN, {"traceparent": "no"}]
        for meta in metas:
            arguments = {"agent": "a", "directive": "d", "hold": 0}
            result = await client.call_tool("start_task", arguments, meta=meta)
            made: Any = result.structured_content
            found.append(await trace_of(await handle(node, await node.operator(), made["task_id"])))
    assert found == [GIVEN, {"traceparent": OTHER}]


async def test_a_cloud_event_has_it_as_its_extension() -> None:
    """As the extension for distributed tracing names it; the event in its data has it as everywhere."""
    async with receiving() as receiver:
        sender = WebhookSender(SenderSettings(allow=(receiver.url,)), source="https://swarm.example")
        engine = Engine(dataclasses.replace(default_parts(EngineCfg()), webhook_sender=sender))
        async with served(engine=engine) as node:
            await hook(node, receiver, events=["task_created"], format="cloudevents")
            operator = await node.operator()
            await started(operator, **GIVEN)
            await started(operator)
            await eventually(lambda: len(receiver.bodies) == 2)
    traced_event, other = (from_http_event(HTTPMessage(headers=head, body=body)) for head, body in receiver.sent)
    assert traced_event.get_extension("traceparent") == PARENT
    assert traced_event.get_extension("tracestate") == "rojo=1"
    data: Any = traced_event.get_data()
    assert data["trace"] == GIVEN
    assert "traceparent" not in other.get_attributes()
