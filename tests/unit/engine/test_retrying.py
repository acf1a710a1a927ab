"""Calls are repeated while the store is away, and only then."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from app.bus.local import LocalBus
from app.domain.errors import LockBusy, LoopPaused, StoreUnavailable, TaskNotFound
from app.engine.retrying import repeat_on_hints, retry_while_busy, try_step


def failing(*errors: Exception) -> Callable[[], asyncio.Future[int]]:
    """A call that raises these in turn, then returns how often it was made."""
    left, made = list(errors), 0

    def call() -> asyncio.Future[int]:
        nonlocal made
        made += 1
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if left:
            future.set_exception(left.pop(0))
        else:
            future.set_result(made)
        return future

    return call


async def test_it_is_repeated_until_the_store_is_back() -> None:
    """The first result is returned; the outage is logged when it begins and when it is over, with the fields."""
    call = failing(StoreUnavailable("away"), LockBusy("op"), StoreUnavailable("away", unsure=True))
    with capture_logs() as logs:
        assert await retry_while_busy(call, doing="test", task_id="T-1") == 4
    assert [(line["event"], line["doing"], line["task_id"]) for line in logs] == [
        ("waiting_for_store", "test", "T-1"),
        ("store_is_back", "test", "T-1"),
    ]


async def test_nothing_is_logged_when_nothing_fails() -> None:
    """The common case costs one call and no line."""
    with capture_logs() as logs:
        assert await retry_while_busy(failing(), doing="test") == 1
    assert logs == []


@pytest.mark.parametrize("error", [TaskNotFound("T-1"), LoopPaused(by="o", since=1), ZeroDivisionError()], ids=repr)
async def test_other_errors_are_raised_at_once(error: Exception) -> None:
    """Only a store that is busy or away is waited for; paused dispatching is the caller's affair."""
    with pytest.raises(type(error)):
        await retry_while_busy(failing(error), doing="test")


async def test_a_commit_of_unknown_outcome_is_not_repeated_when_it_must_happen_once() -> None:
    """With `once` only failures that certainly changed nothing are repeated."""
    call = failing(StoreUnavailable("away"), StoreUnavailable("away", unsure=True))
    with pytest.raises(StoreUnavailable):
        await retry_while_busy(call, doing="test", once=True)
    assert await call() == 3


async def test_it_can_be_cancelled_between_two_tries() -> None:
    """A wait for the store can be cancelled."""
    waiting = asyncio.ensure_future(retry_while_busy(failing(*[LockBusy("op")] * 1000), doing="test"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_step_of_a_loop_logs_what_it_raises() -> None:
    """An error is logged under the name given and ends nothing; an outage is waited for."""
    call = failing(StoreUnavailable("away"), TaskNotFound("T-1"))
    with capture_logs() as logs:
        assert await try_step(call, doing="test", failure="test_failed") is None
        assert await try_step(call, doing="test", failure="test_failed") == 3
    assert [line["event"] for line in logs] == ["waiting_for_store", "test_failed"]


async def test_a_loop_goes_on_after_an_error_and_with_each_hint() -> None:
    """The second step, which a hint brings on, is taken although the first one failed."""
    bus, first, second = LocalBus(), asyncio.Event(), asyncio.Event()

    async def step() -> None:
        if not first.is_set():
            first.set()
            raise TaskNotFound("T-1")
        second.set()

    with capture_logs() as logs:
        loop = asyncio.create_task(
            repeat_on_hints(bus, "topic", step, every_s=3600, doing="test", failure="test_failed")
        )
        async with asyncio.timeout(60):
            await first.wait()
            bus.publish(["topic"])
            await second.wait()
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop
    assert [line["event"] for line in logs] == ["test_failed"]
