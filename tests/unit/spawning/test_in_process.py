"""Python functions as workers."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from app.domain.errors import DispatchFailed
from app.domain.json import Json
from app.domain.outputs import Final, OutputEvent
from app.spawning.adapters.in_process import FunctionJob, FunctionRegistry
from app.spawning.ports import Exit, SpawnerAdapter, SpawnFailed
from tests.support.control import RecordedControl, job


@pytest.fixture
async def functions() -> AsyncIterator[FunctionRegistry]:
    """An open registry."""
    registry = FunctionRegistry(threads=2)
    yield registry
    await registry.aclose()


async def run(functions: FunctionRegistry, name: str, prompt: str = "Do it.") -> Exit:
    """Spawn and join one call."""
    spawner = functions.build({"kind": "in_process", "function": name})
    worker = await spawner.spawn(job(prompt), RecordedControl())
    return await worker.join()


async def test_identity_returns_the_prompt(functions: FunctionRegistry) -> None:
    """The function that ships gives the prompt back."""
    assert (await run(functions, "identity", "héllo")).final == Final(value=Json.of("héllo"), ok=True)


async def test_a_function_sees_its_attempt_and_sends_outputs(functions: FunctionRegistry) -> None:
    """Ids, agent and prompt are there, outputs arrive in order, token and handle are the attempt's."""

    async def work(job: FunctionJob) -> dict[str, object]:
        await job.progress("read", "half")
        await job.partial({"n": 1})
        await job.artifact("report", [1, 2])
        return {
            "seen": [job.task_id, job.attempt, job.agent, job.prompt, job.system, job.base_url],
            "token": (await job.token()).text,
            "handle": await job.handle(),
        }

    functions.register("work", work)
    control = RecordedControl()
    worker = await functions.build({"kind": "in_process", "function": "work"}).spawn(job("go"), control)
    exit = await worker.join()

    assert exit.final is not None
    assert exit.final.value.value["seen"] == [job().task_id, 1, "coder", "go", None, "http://127.0.0.1:7777"]
    assert exit.final.value.value["token"] == "a-token"
    assert control.handles == [exit.final.value.value["handle"]]
    assert control.outputs == [
        OutputEvent.progress("read", "half"),
        OutputEvent.partial({"n": 1}),
        OutputEvent.artifact("report", [1, 2]),
    ]


async def test_a_plain_function_runs_in_a_thread(functions: FunctionRegistry) -> None:
    """It does not block the loop, and may wait for the methods of its job."""
    release = threading.Event()

    def work(job: FunctionJob) -> str:
        assert release.wait(60)
        job.wait(job.progress("read"))
        return threading.current_thread().name

    functions.register("work", work)
    control = RecordedControl()
    worker = await functions.build({"kind": "in_process", "function": "work"}).spawn(job(), control)
    release.set()
    exit = await worker.join()

    assert exit.final is not None
    assert exit.final.value.value.startswith("swarmhold-function")
    assert control.outputs == [OutputEvent.progress("read")]


async def test_a_callable_object_and_a_function_that_returns_a_coroutine_are_awaited(
    functions: FunctionRegistry,
) -> None:
    """Whatever can be awaited is awaited."""

    class Worker:
        async def __call__(self, job: FunctionJob) -> str:
            return f"called {job.prompt}"

    def passed_on(job: FunctionJob) -> object:
        return Worker()(job)

    functions.register("object", Worker())
    functions.register("passed_on", passed_on)

    assert (await run(functions, "object", "a")).final == Final(value=Json.of("called a"), ok=True)
    assert (await run(functions, "passed_on", "b")).final == Final(value=Json.of("called b"), ok=True)


async def test_a_function_may_return_a_final_that_is_not_ok(functions: FunctionRegistry) -> None:
    """A Final says by itself whether it is good."""
    bad = Final(value=Json.of({"why": "no"}), ok=False)

    async def work(job: FunctionJob) -> Final:
        return bad

    functions.register("work", work)
    assert (await run(functions, "work")).final == bad


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ValueError("no\nsuch thing"), "ValueError: no\\nsuch thing"),
        (KeyError(), "KeyError"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
async def test_an_exception_is_a_failure_that_names_itself(
    functions: FunctionRegistry, error: BaseException, detail: str
) -> None:
    """Type and message, on one line; not even sys.exit reaches the server."""

    async def work(job: FunctionJob) -> None:
        raise error

    functions.register("work", work)
    assert await run(functions, "work") == Exit(final=None, detail=detail)


async def test_sys_exit_in_a_thread_is_a_failure_too(functions: FunctionRegistry) -> None:
    """A plain function that exits ends itself alone."""
    functions.register("work", lambda job: sys.exit("enough"))
    assert await run(functions, "work") == Exit(final=None, detail="SystemExit: enough")


async def test_a_value_that_json_cannot_say_is_a_failure(functions: FunctionRegistry) -> None:
    """The detail names the type."""

    async def work(job: FunctionJob) -> object:
        return object()

    functions.register("work", work)
    exit = await run(functions, "work")

    assert exit.final is None
    assert "TypeError" in exit.detail or "JSONEncodeError" in exit.detail


async def test_stop_cancels_the_function_and_returns_after_its_cleanup(functions: FunctionRegistry) -> None:
    """The function sees the cancellation, and stop waits for what it does about it."""
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def work(job: FunctionJob) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            assert job.stopping
            cleaned.set()

    functions.register("work", work)
    worker = await functions.build({"kind": "in_process", "function": "work"}).spawn(job(), RecordedControl())
    await begun.wait()
    await worker.stop(5)
    await worker.stop(5)

    assert cleaned.is_set()
    assert (await worker.join()).final is None


async def test_a_plain_function_ends_by_looking_at_stopping(functions: FunctionRegistry) -> None:
    """Stop sets its flag, and its value is still returned."""
    begun = threading.Event()

    def work(job: FunctionJob) -> str:
        begun.set()
        while not job.stopping:
            pass
        return "stopped in order"

    functions.register("work", work)
    worker = await functions.build({"kind": "in_process", "function": "work"}).spawn(job(), RecordedControl())
    await asyncio.to_thread(begun.wait, 10)
    await worker.stop(10)

    assert (await worker.join()).final == Final(value=Json.of("stopped in order"), ok=True)


async def test_a_plain_function_that_does_not_look_is_let_go(functions: FunctionRegistry) -> None:
    """Nothing can end a thread: stop returns after the grace period all the same."""
    release = threading.Event()
    functions.register("work", lambda job: release.wait(60))
    worker = await functions.build({"kind": "in_process", "function": "work"}).spawn(job(), RecordedControl())
    await worker.stop(0.01)

    assert await worker.join() == Exit(final=None, detail="the function was stopped")
    release.set()


async def test_cancelling_a_join_does_not_stop_the_function(functions: FunctionRegistry) -> None:
    """A second join gets the value."""
    go = asyncio.Event()

    async def work(job: FunctionJob) -> str:
        await go.wait()
        return "done"

    functions.register("work", work)
    worker = await functions.build({"kind": "in_process", "function": "work"}).spawn(job(), RecordedControl())
    joining = asyncio.create_task(worker.join())
    await asyncio.sleep(0)
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    go.set()

    assert (await worker.join()).final == Final(value=Json.of("done"), ok=True)


async def test_its_properties_and_recovery(functions: FunctionRegistry) -> None:
    """It dies with the server, has a lease, and can be built again from its spec."""
    spawner = functions.build({"kind": "in_process", "function": "identity"})

    assert isinstance(spawner, SpawnerAdapter)
    assert functions.build(spawner.spec).spec == spawner.spec
    assert (spawner.outlives_server, spawner.leased) == (False, True)
    with pytest.raises(SpawnFailed, match="server"):
        await spawner.rejoin(job(), RecordedControl())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "in_process", "function": "nothing"}, "identity"),
        ({"kind": "in_process"}, "function"),
        ({"kind": "in_process", "function": 3}, "function"),
        ({"kind": "in_process", "function": "identity", "args": []}, "args"),
    ],
)
async def test_a_spec_that_cannot_be_built_says_why(
    functions: FunctionRegistry, spec: dict[str, object], words: str
) -> None:
    """The refusal names what is wrong or what there is."""
    with pytest.raises(DispatchFailed, match=words):
        functions.build(spec)
