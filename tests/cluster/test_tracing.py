"""Spans of a cluster: each attempt and question has one, from the node whose transaction ended it."""

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import OP, SENIOR, WORK, Cluster
from tests.conftest import StartServer
from tests.support.otlp import OtlpReceiver, otlp_receiver
from tests.support.waiting import eventually

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receivers() -> Iterator[list[OtlpReceiver]]:
    """A receiver for each of two nodes."""
    with otlp_receiver() as one, otlp_receiver() as two:
        yield [one, two]


async def test_the_node_that_ends_it_writes_its_span(
    cluster: Cluster, receivers: list[OtlpReceiver], start_server: StartServer
) -> None:
    """Also what began on another node, which has died; once, and in one trace."""
    for receiver in receivers:
        more = {"SWARMHOLD_OTEL__ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        cluster.nodes.append(start_server(settings=cluster.settings | more))
    first, second = cluster.nodes
    one = await cluster.operator(first)
    body = {"agent": "a", "initial_directive": "d"}
    task = (await one.post(f"{OP}/tasks", json=body, headers={"traceparent": PARENT})).json()["id"]
    spawner = {"spawner": {"kind": "external"}}
    handle = (await one.post(f"{OP}/tasks/{task}/dispatch", json=spawner)).json()["worker_handle"]
    key = (await cluster.as_(first, handle).post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
    senior = cluster.as_(second, await cluster.attach(second, "senior"))
    answered = await senior.post(f"{SENIOR}/questions/{key}/answer", json={"value": "yes"})
    assert answered.status_code == 200, answered.text
    first.kill()
    submitted = await cluster.as_(second, handle).post(f"{WORK}/submit", content="done")
    assert submitted.status_code == 204, submitted.text
    names = ("invoke_agent a", "swarmhold.question a")
    await eventually(lambda: all(receivers[1].named(name) for name in names))
    second.stop()
    found = [[len(receiver.named(name)) for name in names] for receiver in receivers]
    assert found == [[0, 0], [1, 1]]
    attempt, question = (receivers[1].named(name)[0] for name in names)
    assert {attempt.trace_id, question.trace_id} == {PARENT.split("-")[1]}
    assert question.parent == attempt.span_id
