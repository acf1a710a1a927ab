"""Traces of a real server, read by a receiver of OTLP over HTTP."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain import traces
from tests.e2e.cli.conftest import SWARMHOLD, Serve
from tests.support.mcp_clients import connected
from tests.support.otlp import Exported, OtlpReceiver, otlp_receiver
from tests.support.processes import ServerProcess, own_variables
from tests.support.swarm import OPERATOR, WORKER, Swarm
from tests.support.waiting import eventually, wait_until

CLIENT = traces.Parts("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "01", None)
PARENT = f"00-{CLIENT.trace_id}-{CLIENT.parent}-01"
ANSWERER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SERVER = 2
"""The kind of a server's span in OTLP."""
SECRETS = ("a-prompt-of-ours", "a-result-of-ours", "a-question-of-ours", "an-answer-of-ours")


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """A running receiver."""
    with otlp_receiver() as receiver:
        yield receiver


def settings(receiver: OtlpReceiver, **more: str) -> dict[str, str]:
    """What makes a server export there, at once."""
    return {"SWARMHOLD_OTEL__ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}


def one(receiver: OtlpReceiver, name: str) -> Exported:
    """The only span of this name, once it is there."""
    wait_until(lambda: receiver.named(name), within=120)
    (found,) = receiver.named(name)
    return found


def worked(node: ServerProcess, swarm: Swarm, receiver: OtlpReceiver) -> tuple[str, str, dict[str, Any]]:
    """A task that asks, is answered after a crash of the server, starts a child and is done; its child's trace."""
    spec = {"agent": "coder", "initial_directive": SECRETS[0]}
    task = swarm.call(swarm.operator, "POST", f"{OPERATOR}/tasks", spec, traceparent=PARENT)["id"]
    handle = swarm.dispatch(task)["worker_handle"]
    assert swarm.call(handle, "GET", f"{WORKER}/prompt")["trace"]["traceparent"].startswith(f"00-{CLIENT.trace_id}-")
    key = swarm.call(handle, "POST", f"{WORKER}/questions", {"question": SECRETS[2]})["key"]
    swarm.attach("senior", "mira")
    one(receiver, f"POST {OPERATOR}/tasks")  # a crash takes along what has not been exported yet
    node.restart()
    answer = f"/v1/senior/questions/{key}/answer"
    swarm.call(swarm.senior, "POST", answer, {"value": SECRETS[3]}, traceparent=ANSWERER)
    child = swarm.call(handle, "POST", f"{WORKER}/tasks", {"agent": "below", "initial_directive": "d"})["id"]
    below = swarm.call(handle, "POST", f"{WORKER}/tasks/{child}/dispatch", {"spawner": {"kind": "external"}})
    trace = swarm.call(below["worker_handle"], "GET", f"{WORKER}/prompt")["trace"]
    swarm.call(below["worker_handle"], "POST", f"{WORKER}/submit?failed=true", {})
    swarm.call(handle, "POST", f"{WORKER}/submit", SECRETS[1])
    return task, key, trace


def test_a_trace_goes_from_the_caller_through_question_and_crash_to_the_child(
    serve: Serve, receiver: OtlpReceiver
) -> None:
    """Requests, attempts and questions are one tree; what answered is a link; no prompt, result or answer is in it."""
    node = serve(settings(receiver, SWARMHOLD_OTEL__SERVICE_NAME="holder"))
    swarm = Swarm(node.url, node.root_key())
    task, key, trace = worked(node, swarm, receiver)
    attempt, question = one(receiver, "invoke_agent coder"), one(receiver, "swarmhold.question coder")
    below = one(receiver, "invoke_agent below")
    created = one(receiver, f"POST {OPERATOR}/tasks")
    answered = one(receiver, "POST /v1/senior/questions/{key}/answer")
    polled = swarm.task(task)
    swarm.close()
    node.stop()
    one(receiver, f"GET {OPERATOR}/tasks/{{task_id}}")  # what was left at the stop is exported too

    assert (created.trace_id, created.parent, created.kind) == (CLIENT.trace_id, CLIENT.parent, SERVER)
    assert created.attributes["http.route"] == f"{OPERATOR}/tasks"
    assert (created.attributes["http.response.status_code"], created.attributes["swarmhold.door"]) == (201, "rest")
    assert (attempt.trace_id, attempt.parent) == (CLIENT.trace_id, created.span_id)
    assert (question.trace_id, question.parent) == (CLIENT.trace_id, attempt.span_id)
    assert (below.trace_id, below.parent, below.failed) == (CLIENT.trace_id, attempt.span_id, True)
    assert trace == {"traceparent": f"00-{CLIENT.trace_id}-{below.span_id}-01"}
    assert (question.links, attempt.links) == ([answered.span_id], [question.span_id])
    assert (answered.trace_id, answered.attributes["swarmhold.question.key"]) == (ANSWERER.split("-")[1], key)
    assert attempt.start_ns <= question.start_ns <= question.end_ns <= attempt.end_ns
    assert attempt.start_ns >= created.start_ns - 1_000_000
    common = {"gen_ai.agent.name": "coder", "swarmhold.task.id": task, "swarmhold.attempt": 1}
    session = {"gen_ai.conversation.id": polled["session_id"]}
    assert attempt.attributes == common | session | {
        "gen_ai.operation.name": "invoke_agent",
        "swarmhold.outcome": "pass",
        "swarmhold.reason": "final",
    }
    assert question.attributes == common | session | {
        "swarmhold.question.key": key,
        "swarmhold.outcome": "answered",
        "swarmhold.door": "rest",
    }
    assert {span.resource["service.name"] for span in receiver.spans} == {"holder"}
    assert [word for word in SECRETS if word in repr(receiver.spans)] == []
    assert {path for path, _ in receiver.requests} == {"/v1/traces"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_of_the_mcp_door_is_named(serve: Serve, receiver: OtlpReceiver, mode: str) -> None:
    """By its method; the task that it starts belongs to the trace that its `_meta` names."""
    node = await asyncio.to_thread(serve, settings(receiver))
    meta: Any = {"traceparent": PARENT}
    async with connected(node.url, node.root_key(), mode, follows=False) as client:
        made = await client.call_tool("start_task", {"agent": "coder", "directive": "d", "hold": 0}, meta=meta)
        task: Any = made.structured_content
        await client.call_tool("get_task", {"task_id": task["task_id"]})
    swarm = Swarm(node.url, node.root_key())
    handle = swarm.dispatch(task["task_id"])["worker_handle"]
    trace = swarm.call(handle, "GET", f"{WORKER}/prompt")["trace"]["traceparent"]
    swarm.close()
    assert traces.parts(trace).trace_id == CLIENT.trace_id

    def calls() -> list[Exported]:
        return [span for span in receiver.spans if span.attributes.get("mcp.method.name") == "tools/call"]

    await eventually(lambda: len(calls()) == 2)
    assert {(span.name, span.attributes["swarmhold.door"], span.kind) for span in calls()} == {
        ("POST /mcp", "mcp", SERVER)
    }


def test_content_and_headers_go_only_where_the_settings_say(serve: Serve, receiver: OtlpReceiver) -> None:
    """Prompt, result, question and answer on their spans; a receiver that needs a key gets it."""
    more = {"SWARMHOLD_OTEL__CONTENT": "true", "SWARMHOLD_OTEL__HEADERS": "x-key=hidden-word, x-other=2"}
    node = serve(settings(receiver, **more))
    swarm = Swarm(node.url, node.root_key())
    worked(node, swarm, receiver)
    swarm.close()
    attempt, question = one(receiver, "invoke_agent coder"), one(receiver, "swarmhold.question coder")
    assert SECRETS[0] in attempt.attributes["gen_ai.input.messages"]
    assert SECRETS[1] in attempt.attributes["gen_ai.output.messages"]
    assert question.attributes["swarmhold.question"] == SECRETS[2]
    assert question.attributes["swarmhold.answer"] == SECRETS[3]
    assert {(headers["x-key"], headers["x-other"]) for _, headers in receiver.requests} == {("hidden-word", "2")}
    assert "hidden-word" not in node.logs()


def test_a_receiver_that_is_away_costs_nothing_but_its_spans(serve: Serve) -> None:
    """The server works, and stops in time."""
    node = serve({"SWARMHOLD_OTEL__ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "50"})
    swarm = Swarm(node.url, node.root_key())
    _, handle = swarm.worker()
    swarm.call(handle, "POST", f"{WORKER}/submit", "done")
    swarm.close()
    assert node.stop() == 0


def test_without_the_extra_the_start_says_what_to_install(tmp_path: Path) -> None:
    """Where traces are wanted and the SDK is missing, nothing starts."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk'] = None\n")
    own = own_variables()
    path = os.pathsep.join([str(tmp_path), own.get("PYTHONPATH", "")])
    environment = {**own, "PYTHONPATH": path, "SWARMHOLD_OTEL__ENDPOINT": "http://127.0.0.1:4318"}
    command = [SWARMHOLD, "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode != 0
    assert "otel.endpoint is set" in ended.stderr
    assert "swarmhold[otel]" in ended.stderr
    assert "Traceback" not in ended.stderr
