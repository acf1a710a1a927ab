"""Spawners and layers under a real engine and store: each way to end, and what of it is alive afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.attempts import Attempt, DispatchOutcome, Outcome, Phase, Reason
from app.domain.json import Json
from app.domain.outputs import Final
from app.domain.tasks import Status, TaskSpec
from app.domain.tokens import CapToken, Handle
from app.engine.core import Registries
from app.engine.engine import Engine, default_parts
from app.engine.ops.rules import EngineCfg
from app.spawning.adapters.in_process import FunctionJob, FunctionRegistry
from app.spawning.ports import Exit
from app.spawning.programs import Program
from app.spawning.shipped import shipped_catalog
from tests.support.backends import Calls, ScriptedBackend, ScriptedHook
from tests.support.pids import alive
from tests.support.waiting import eventually

PROGRAMS = {
    "sh": Program(path="/bin/sh", args=("-c",), allow_args=True),
    "gone": Program(path="/nonexistent/program"),
}


class Swarm:
    """A started engine and an operator whose session names hook, backend and bridge `main`."""

    def __init__(self, engine: Engine, token: CapToken) -> None:
        self.engine = engine
        self.token = token

    async def begin(
        self, spec: dict[str, Any], *layers: str, prompt: str = "work", timeout_ms: int | None = None
    ) -> tuple[str, asyncio.Task[DispatchOutcome]]:
        """A task and the outcome of its dispatch, to come."""
        task = TaskSpec(agent="coder", initial_directive=prompt, attempt_timeout_ms=timeout_ms)
        task_id = await self.engine.start_task(self.token, task)
        linked = self.engine.build(spec, layers)
        return task_id, asyncio.create_task(self.engine.dispatch_attempt_with(self.token, task_id, linked))

    async def outcome(self, spec: dict[str, Any], *layers: str, **task: Any) -> DispatchOutcome:
        """How a dispatch came out."""
        _, dispatching = await self.begin(spec, *layers, **task)
        async with asyncio.timeout(20):
            return await dispatching

    async def attempt(self, task_id: str) -> Attempt:
        """The first attempt's row."""
        return await self.engine.read_attempt(self.token, task_id, 1)

    async def phase(self, task_id: str, phase: Phase) -> None:
        """Wait until the first attempt is there."""

        async def reached() -> bool:
            return (await self.engine.task_attempt(task_id)) == 1 and (await self.attempt(task_id)).phase is phase

        await eventually(reached, awaited=f"phase {phase}")


@asynccontextmanager
async def running(place: str = ":memory:", functions: FunctionRegistry | None = None) -> AsyncIterator[Swarm]:
    """A swarm over the store at `place`."""
    registries = Registries()
    catalog = shipped_catalog(operators=registries.operators, programs=PROGRAMS, functions=functions)
    cfg = EngineCfg(stop_grace_ms=300)
    async with Engine(default_parts(cfg, place=place, registries=registries, catalog=catalog)) as engine:
        token = await engine.attach_with_ids(
            "tester",
            Role.OPERATOR,
            timedelta(hours=1),
            None,
            None,
            "main",
            "main",
            {},
            {},
            None,
        )
        yield Swarm(engine, token)


@pytest.fixture
async def swarm() -> AsyncIterator[Swarm]:
    """One in memory."""
    async with running() as started:
        yield started


def shell(script: str) -> dict[str, Any]:
    """A process spawner that runs this script."""
    return {"kind": "process", "program": "sh", "args": [script]}


OPERATOR = {"kind": "operator", "backend_id": "main"}


# --- processes -------------------------------------------------------------------------------------------------------


async def test_a_child_passes_with_what_it_wrote(swarm: Swarm) -> None:
    """The prompt on its standard input, its standard output the value."""
    outcome = await swarm.outcome(shell("tr a-z A-Z"), prompt="hello")

    assert (outcome.outcome, outcome.value) == (Outcome.PASS, Json.of("HELLO"))


async def test_a_child_that_says_not_ok_or_fails_blocks(swarm: Swarm) -> None:
    """An explicit Final without ok, and an exit status."""
    final = '{"type":"final","content":{"kind":"inline","value":"no luck"},"ok":false}'
    said = await swarm.outcome(shell(f"echo '{final}'"))
    failed = await swarm.outcome(shell("exit 9"))

    assert (said.outcome, said.value, said.reason) == (Outcome.BLOCKED, Json.of("no luck"), Reason.FINAL)
    assert (failed.outcome, failed.reason) == (Outcome.BLOCKED, Reason.WORKER_FAILED)


async def test_a_child_that_cannot_be_started_blocks(swarm: Swarm) -> None:
    """The detail says why."""
    task_id, dispatching = await swarm.begin({"kind": "process", "program": "gone"})
    outcome = await dispatching

    assert (outcome.outcome, outcome.reason) == (Outcome.BLOCKED, Reason.SPAWN_FAILED)
    assert "No such file" in str((await swarm.attempt(task_id)).detail)


async def test_a_child_that_takes_too_long_is_ended(swarm: Swarm, tmp_path: Path) -> None:
    """The attempt's own timeout reaches the process."""
    pid = tmp_path / "pid"
    outcome = await swarm.outcome(shell(f"echo $$ > {pid}; sleep 1000"), timeout_ms=300)

    assert outcome.outcome is Outcome.TIMEOUT
    await eventually(lambda: not alive(int(pid.read_text())))


async def test_cancelling_leaves_nothing_of_a_child_alive(swarm: Swarm, tmp_path: Path) -> None:
    """Neither it, nor what ignores SIGTERM, nor what left its group."""
    files = [tmp_path / name for name in ("leader", "deaf", "stray")]
    script = (
        f"(trap '' TERM; while :; do sleep 1; done) & echo $! > {files[1]}; "
        f"setsid sh -c 'echo $$ > {files[2]}; exec sleep 1000' & echo $$ > {files[0]}; wait"
    )
    task_id, dispatching = await swarm.begin(shell(script))
    pids = [int(await eventually(lambda file=file: file.exists() and file.read_text())) for file in files]
    await swarm.engine.cancel_task(swarm.token, task_id)

    assert (await dispatching).outcome is Outcome.CANCELLED
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_stopping_the_server_ends_its_children_and_the_next_one_settles_them(tmp_path: Path) -> None:
    """Nothing is left running, and no task runs for ever."""
    place, pid = str(tmp_path / "swarm.db"), tmp_path / "pid"
    async with running(place) as first:
        task_id, dispatching = await first.begin(shell(f"echo $$ > {pid}; sleep 1000"))
        await first.phase(task_id, Phase.RUNNING)
        await eventually(lambda: pid.exists() and pid.read_text())
    dispatching.cancel()
    assert not alive(int(pid.read_text()))
    async with running(place) as second:
        assert (await second.attempt(task_id)).reason is Reason.LOST


# --- backends --------------------------------------------------------------------------------------------------------


async def submit(swarm: Swarm, calls: Calls, value: Any) -> None:
    """What the worker behind a backend does with the handle that the backend was given last."""
    handle = next(call[2] for call in reversed(calls.made) if call[0] == "execute")
    await swarm.engine.submit_final(Handle(handle), Json.of(value), ok=True)


async def test_a_worker_behind_a_backend_submits_and_nobody_is_told_to_stop(swarm: Swarm) -> None:
    """The backend said started; the Final ends it."""
    calls = Calls()
    await swarm.engine.register_operator("main", ScriptedBackend(calls, lambda: None))
    task_id, dispatching = await swarm.begin(OPERATOR)
    await calls.seen("execute")
    await submit(swarm, calls, "done")
    outcome = await dispatching
    await swarm.phase(task_id, Phase.ENDED)
    await swarm.engine.stop()

    assert (outcome.outcome, outcome.value) == (Outcome.PASS, Json.of("done"))
    assert [call[0] for call in calls.made] == ["execute"]


async def test_cancelling_tells_the_backend(swarm: Swarm) -> None:
    """Once it was given the attempt."""
    calls = Calls()
    await swarm.engine.register_operator("main", ScriptedBackend(calls, lambda: None))
    task_id, dispatching = await swarm.begin(OPERATOR)
    await calls.seen("execute")
    await swarm.engine.cancel_task(swarm.token, task_id)
    await calls.seen("cancel")

    assert (await dispatching).outcome is Outcome.CANCELLED


async def test_a_restart_neither_stops_nor_repeats_what_a_backend_started(tmp_path: Path) -> None:
    """The worker goes on behind the backend and submits to the next server."""
    place, calls = str(tmp_path / "swarm.db"), Calls()
    async with running(place) as first:
        await first.engine.register_operator("main", ScriptedBackend(calls, lambda: None))
        task_id, dispatching = await first.begin(OPERATOR)

        async def recorded() -> bool:
            return (await first.engine.task_attempt(task_id)) == 1 and (
                await first.attempt(task_id)
            ).process is not None

        await eventually(recorded)
    dispatching.cancel()
    async with running(place) as second:
        await second.engine.register_operator("main", ScriptedBackend(calls, lambda: None))
        assert (await second.attempt(task_id)).phase is Phase.RUNNING
        final = Final(value=Json.of("after all"), ok=True)
        await second.engine.submit_worker_result_trusted(task_id, 1, final.value.value, final.ok)
        await second.phase(task_id, Phase.ENDED)

    assert [call[0] for call in calls.made] == ["execute"]


async def test_a_restart_asks_a_backend_again_that_had_not_replied(tmp_path: Path) -> None:
    """At least once, whatever happened to the first request."""
    place, calls = str(tmp_path / "swarm.db"), Calls()
    async with running(place) as first:
        await first.engine.register_operator("main", ScriptedBackend(calls))
        task_id, dispatching = await first.begin(OPERATOR)
        await calls.seen("execute")
    dispatching.cancel()
    async with running(place) as second:
        done = Exit(final=Final(value=Json.of("by the second"), ok=True))
        await second.engine.register_operator("main", ScriptedBackend(calls, lambda: done))
        await second.phase(task_id, Phase.ENDED)
        assert (await second.attempt(task_id)).final == Json.of("by the second")

    assert [call[0] for call in calls.made] == ["execute", "execute"]


# --- layers ----------------------------------------------------------------------------------------------------------


async def test_a_hook_that_refuses_blocks_the_attempt_with_its_reason(swarm: Swarm) -> None:
    """Nothing was started, and the hook hears the end."""
    calls = Calls()
    await swarm.engine.register_spawn_hook("main", ScriptedHook(calls, reason="not today"))
    task_id, dispatching = await swarm.begin(shell("echo never"), "main_ai")
    outcome = await dispatching

    assert (outcome.outcome, outcome.reason) == (Outcome.BLOCKED, Reason.REFUSED)
    assert (await swarm.attempt(task_id)).detail == "not today"


async def test_a_hook_is_asked_before_and_told_after(swarm: Swarm) -> None:
    """Around a child that passes."""
    calls = Calls()
    await swarm.engine.register_spawn_hook("main", ScriptedHook(calls))
    outcome = await swarm.outcome(shell("echo done"), "main_ai")
    await calls.seen("after")

    assert outcome.outcome is Outcome.PASS
    assert [call[0] for call in calls.made] == ["before", "after"]


async def test_the_backend_takes_over_what_was_meant_for_a_queue(swarm: Swarm) -> None:
    """With the session's backend, no worker of the queue is waited for."""
    done = Exit(final=Final(value=Json.of("mine"), ok=True))
    await swarm.engine.register_operator("main", ScriptedBackend(Calls(), lambda: done))
    outcome = await swarm.outcome({"kind": "queue", "queue": "q"}, "operator_delegate")

    assert (outcome.outcome, outcome.value) == (Outcome.PASS, Json.of("mine"))


async def test_a_failure_is_held_back_until_the_senior_answers(tmp_path: Path) -> None:
    """Also when the server is restarted in between; the answer makes it good."""
    functions = FunctionRegistry()

    async def give_up(job: FunctionJob) -> Final:
        return Final(value=Json.of("stuck"), ok=False)

    functions.register("give_up", give_up)
    place = str(tmp_path / "swarm.db")
    async with running(place, functions) as first:
        task_id, dispatching = await first.begin({"kind": "in_process", "function": "give_up"}, "senior_escalation")
        outcome = await dispatching
    assert outcome.outcome is Outcome.SUSPENDED
    assert outcome.key is not None

    async with running(place) as second:
        await second.engine.resume(outcome.key, "take the other road")
        state = await second.engine.poll_task(second.token, task_id, timedelta(seconds=10))
    assert state.task.status is Status.PASS
    assert state.task.last_result == Json.of({"original": "stuck", "senior_answer": "take the other road"})


async def test_resources_come_into_the_prompt(swarm: Swarm) -> None:
    """The worker gets the filled prompt."""
    await swarm.engine.set_resource("who", "world")
    outcome = await swarm.outcome(shell("cat"), "input_inject", prompt="hello {{resource:who}}{{resource:none}}")

    assert outcome.value == Json.of("hello world{{resource:none}}")
