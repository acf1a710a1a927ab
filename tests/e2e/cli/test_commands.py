"""What an operator, a senior and a caretaker do from a shell, one command each."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from swarmhold import ExternalSpawner, InvalidArgument, JobFailed, QueueSpawner, Retry, SwarmholdClient
from swarmhold.jobs import Job
from tests.e2e.cli.conftest import SWARMHOLD, Command, surroundings
from tests.support import forking
from tests.support.processes import ServerProcess

MISUSED = 2


@pytest.fixture
def parsed(swarmhold: Command) -> Callable[..., Any]:
    """What a command prints with --json."""
    return lambda *arguments: json.loads(swarmhold(*arguments, "--json").stdout)


def test_a_task_is_dispatched_judged_and_tried_again(swarmhold: Command, parsed: Callable[..., Any]) -> None:
    """`retry` takes spawner and layers of the last attempt; `mark` keeps the result unless it names another."""
    task = parsed("run", "a", "do it", "--no-wait", "--queue", "of-retry", "--layer", "long_hold")["task_id"]
    assert parsed("tasks", "mark", task, "blocked", "--value", '{"no": 1}')["last_result"] == {"no": 1}
    assert parsed("tasks", "retry", task)["attempt"] == 2
    assert parsed("tasks", "mark", task, "blocked")["last_result"] == {"no": 1}
    assert parsed("tasks", "dispatch", task, "--external")["worker_handle"].startswith("wh-")
    attempts = parsed("tasks", "show", task)["attempts"]
    assert [(one["spawner"]["kind"], one["layers"]) for one in attempts] == [
        ("queue", ["long_hold"]),
        ("queue", ["long_hold"]),
        ("external", []),
    ]
    assert swarmhold("tasks", "cancel", task).stdout == f"{task} is cancelled.\n"


def test_tasks_are_cancelled_and_tried_again_by_label(swarmhold: Command, parsed: Callable[..., Any]) -> None:
    """Labels are written name=value, and all that are named must fit; neither none nor both of task and label."""
    for team in ("red", "red", "blue"):
        parsed("run", "a", "x", "--no-wait", "--queue", "of-labels", "--label", f"team={team}", "--label", "of=labels")
    red = parsed("tasks", "ls", "--label", "team=red", "--label", "of=labels", "--since", "1h ago")
    assert len(red) == 2
    assert parsed("tasks", "ls", "--label", "of=labels", "--until", "1h ago") == []
    swarmhold("tasks", "mark", red[0]["id"], "blocked")
    assert parsed("tasks", "retry", "--label", "team=red", "--label", "of=labels")["count"] == 1
    assert swarmhold("tasks", "cancel", "--label", "team=red").stdout.startswith("2 cancelled, ")
    assert [one["labels"]["team"] for one in parsed("tasks", "ls", "--label", "of=labels", "--status", "running")] == [
        "blue"
    ]
    for arguments in (("cancel",), ("retry", red[0]["id"], "--label", "team=red"), ("ls", "--label", "team:red")):
        swarmhold("tasks", *arguments, status=MISUSED)


async def test_what_models_used_is_shown(node: ServerProcess, swarmhold: Command, parsed: Callable[..., Any]) -> None:
    """In the list and of the task with those below it; the client refuses a report of nothing before it is sent."""
    task = parsed("run", "spender", "x", "--no-wait", "--external")
    async with SwarmholdClient(node.url) as server:
        worker = server.worker(task["worker_handle"])
        await worker.usage(input_tokens=12_340, cost=0.041, model="large")
        child = await worker.start_task("spender", "y")
        below = server.worker((await worker.dispatch(child.id, ExternalSpawner())).worker_handle or "")
        await below.usage(output_tokens=999)
        with pytest.raises(InvalidArgument):
            await worker.usage(model="large")
    shown = await asyncio.to_thread(swarmhold, "tasks", "show", task["task_id"])
    assert "12.3k in, cost 0.041 (large)" in shown.stdout
    assert "12.3k in, 999 out, cost 0.041, with 1 task below it" in shown.stdout
    listed = await asyncio.to_thread(parsed, "tasks", "ls", "--agent", "spender")
    assert [one["usage"] for one in listed] == [{"output_tokens": 999}, {"input_tokens": 12_340, "cost": 0.041}]
    longest = await asyncio.to_thread(parsed, "tasks", "ls", "--agent", "spender", "--sort", "longest")
    assert [one["id"] for one in longest] == [task["task_id"], child.id]
    assert "999 out" in (await asyncio.to_thread(swarmhold, "tasks", "ls", "--agent", "spender")).stdout


async def test_a_question_is_listed_shown_and_answered(
    node: ServerProcess, swarmhold: Command, parsed: Callable[..., Any]
) -> None:
    """By the number of a choice, by text, by JSON; what breaks the schema is refused and leaves it open."""
    async with SwarmholdClient(node.url) as server:
        operator = await server.attach_operator(node.root_key(), "asker")
        task = await operator.start_task("asker", "Ask.")
        plain = await operator.ask(task.id, "Which?", choices=["ship", "wait"], comment=True)
        form = await operator.ask(task.id, "How many?", answer_schema={"type": "integer", "minimum": 2})

        def commands() -> None:
            keys = [one["key"] for one in parsed("questions", "ls")]
            assert {plain.key, form.key} <= set(keys)
            assert "1  ship" in swarmhold("questions", "show", plain.key).stdout
            answered = parsed("questions", "answer", plain.key, "2", "--comment", "not before Monday")
            assert (answered["answer"], answered["answer_comment"]) == ("wait", "not before Monday")
            assert "a whole number" in swarmhold("questions", "answer", form.key, "x", status=MISUSED).stderr
            assert "still open" in swarmhold("questions", "answer", form.key, "1", status=1).stderr
            assert parsed("questions", "answer", form.key, ":= 5")["answer"] == 5
            shown = parsed("tasks", "show", task.id)["questions"]
            assert [one["answer"] for one in shown] == ["wait", 5]
            assert "is answered" in swarmhold("tasks", "show", task.id).stdout

        await asyncio.to_thread(commands)


def test_a_question_is_asked_once_and_withdrawn(swarmhold: Command, parsed: Callable[..., Any]) -> None:
    """Without a task; the same `--once` finds it again, and who waits reads the answer."""
    ask = ("questions", "ask", "Deploy?", "--choice", "yes", "--choice", "no", "--label", "team=blue", "--once", "d-1")
    asked = parsed(*ask)
    assert (parsed(*ask)["key"], asked["agent"]) == (asked["key"], "ask")
    assert parsed("tasks", "show", asked["task_id"])["task"]["labels"] == {"team": "blue", "kind": "ask"}
    parsed("questions", "answer", asked["key"], "yes")
    assert parsed(*ask, "--wait") == "yes"
    other = parsed("questions", "ask", "Now?")["key"]
    assert "is withdrawn" in swarmhold("questions", "withdraw", other, "--reason", "too late").stdout
    assert parsed("questions", "show", other)["reason"] == "too late"


def test_leave_for_an_action_is_asked_consumed_once_and_reported(
    swarmhold: Command, parsed: Callable[..., Any]
) -> None:
    """From a script: what was approved is printed, another action and a second consumer are refused."""
    action = json.dumps({"name": "deploy", "arguments": {"to": "prod", "share": 1.10}})
    asked = parsed("questions", "ask", "Deploy?", "--action", action, "--allowed", "approve", "--allowed", "reject")
    assert (asked["action"]["name"], asked["allowed"]) == ("deploy", ["approve", "reject"])
    consume = ("questions", "consume", asked["key"], "--action", action, "--once", "build-7")
    assert "not-approved" in swarmhold(*consume, status=1).stderr
    assert "approve or reject" in swarmhold("questions", "answer", asked["key"], "ship it", status=MISUSED).stderr
    assert parsed("questions", "answer", asked["key"], "approve")["answer"] == {"decision": "approve"}
    other = json.dumps({"name": "deploy", "arguments": {"to": "all"}})
    assert "action-mismatch" in swarmhold(*consume[:4], other, "--once", "build-7", status=1).stderr
    assert parsed(*consume)["action"] == json.loads(action)
    assert '"to": "prod"' in swarmhold(*consume[:3], "--digest", asked["action_digest"], "--once", "build-7").stdout
    assert "already-consumed" in swarmhold(*consume[:-1], "build-8", status=1).stderr
    assert parsed("questions", "outcome", asked["key"], "failed", "--note", "no room")["outcome"]["note"] == "no room"
    for wrong in (("--action", "{"), ("--action", "[]"), ("--action", '{"name": 1}')):
        swarmhold("questions", "ask", "x", *wrong, status=MISUSED)
    swarmhold(*consume[:3], "--once", "x", status=MISUSED)


def test_a_link_to_a_question_is_made_and_revoked(
    node: ServerProcess, swarmhold: Command, parsed: Callable[..., Any]
) -> None:
    """Its URL is printed once and answers as the person; a revoked one does not."""
    parsed("keys", "create", "pat", "--role", "senior", "--person")
    asked = parsed("questions", "ask", "Deploy?", "--choice", "yes", "--choice", "no")
    made = parsed("questions", "link", asked["key"], "--person", "pat", "--ttl", "2h", "--allow", "2")
    printed = swarmhold("questions", "link", asked["key"], "--person", "pat").stdout.splitlines()
    assert printed[1].startswith(f"{node.url}/a#al_")
    assert "is revoked" in swarmhold("questions", "unlink", asked["key"], printed[0].split()[0]).stdout

    def answer(url: str, value: str) -> int:
        body = {"link": url.partition("#")[2], "value": value}
        return httpx.post(f"{node.url}/v1/links/answer", json=body, trust_env=False).status_code

    assert [answer(printed[1], "no"), answer(made["url"], "yes"), answer(made["url"], "no")] == [404, 422, 200]
    assert parsed("questions", "show", asked["key"])["answered_by"] == "pat"
    swarmhold("questions", "link", asked["key"], "--person", "pat", "--ttl", "8d", status=MISUSED)


def test_dispatching_is_paused_and_resumed(swarmhold: Command, parsed: Callable[..., Any]) -> None:
    """In the namespace, and in all; what waits in a task that cannot start is cancelled, not forgotten."""
    assert parsed("loop", "pause")["paused"]
    swarmhold("run", "echo", "x", "--function", "identity", "--label", "of=pause", status=1)
    assert [one["status"] for one in parsed("tasks", "ls", "--label", "of=pause")] == ["cancelled"]
    assert not parsed("loop", "resume")["paused"]
    assert parsed("loop", "pause", "--all")["paused"]
    assert "in all namespaces is paused" in swarmhold("loop", "show").stdout
    assert not parsed("loop", "resume", "--all")["paused"]


def test_commands_that_only_look_leave_no_events(swarmhold: Command, parsed: Callable[..., Any]) -> None:
    """Nor do they stay among the sessions."""
    before = swarmhold("events", "--json", "-n", "1").stdout
    assert parsed("sessions")
    assert [one for one in parsed("sessions", "--ended") if one["attached"]] != []
    swarmhold("tasks", "ls")
    swarmhold("questions", "ls")
    assert swarmhold("events", "--json", "-n", "1").stdout == before


async def test_workers_outputs_are_shown_as_they_come(node: ServerProcess) -> None:
    """`run` prints them while the attempt works, `workers` who works; exceptions are retried, verdicts are not."""
    reached, go = asyncio.Event(), asyncio.Event()

    async def work(job: Job) -> str:
        if job.prompt == "verdict":
            raise JobFailed("no")
        if job.attempt == 1:
            raise RuntimeError("a bug")
        await job.worker.progress("half-way", "still here")
        await job.worker.partial("a piece")
        reached.set()
        await go.wait()
        return "done"

    async with SwarmholdClient(node.url) as server:
        worker = server.queue_worker(node.root_key(), "of-outputs", work, name="porter")
        running = asyncio.create_task(worker.run())
        command = [SWARMHOLD, "run", "a", "x", "--queue", "of-outputs", "--attempts", "3"]
        process = await asyncio.create_subprocess_exec(*command, env=surroundings(node), stdout=subprocess.PIPE)
        await reached.wait()
        assert process.stdout is not None
        async with asyncio.timeout(100):
            async for line in process.stdout:
                if b"a piece" in line:
                    break
        listed = await asyncio.to_thread(_workers, node)
        assert [(one["worker"], one["held"]) for one in listed["items"] if one["worker"] == "porter"] == [("porter", 1)]
        go.set()
        rest = await process.stdout.read()
        assert (await process.wait(), b"done" in rest) == (0, True)

        operator = await server.attach_operator(node.root_key(), "judge")
        task = await operator.start_task("a", "verdict", retry=Retry(max_attempts=3))
        await operator.dispatch(task.id, QueueSpawner(queue="of-outputs"))
        settled = await operator.wait_for(task.id)
        assert (settled.status, settled.attempt, settled.last_result) == ("blocked", 1, "no")
        worker.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _workers(node: ServerProcess) -> Any:
    return json.loads(forking.run("workers", "--json", env=surroundings(node)).stdout)


def test_settings_are_checked_and_shown(swarmhold: Command, parsed: Callable[..., Any], tmp_path: Any) -> None:
    """With where each comes from and no secret; one that cannot be used is a line of its own."""
    file = tmp_path / "settings.toml"
    file.write_text('root_key = "shk_0123456789abcdefghijklmnopqrstuv"\n[engine]\nlease = 30\n')
    shown = {row["setting"]: row for row in parsed("config", "show", "--config", str(file))}
    assert shown["engine.lease"]["value"] == "30"
    assert str(file) in shown["engine.lease"]["from"]
    assert "shk_0123" not in str(shown)
    assert parsed("config", "check", "--config", str(file))["ok"]
    file.write_text("[engine]\nlease = 'long'\nleash = 1\n")
    wrong = swarmhold("config", "check", "--config", str(file), status=MISUSED).stderr
    assert ("lease" in wrong, "leash" in wrong) == (True, True)
