"""Objects under names: the last one wins, late unregistrations are harmless, and one may wait for the next."""

import asyncio

import pytest

from app.spawning.backends.protocols import BackendGone
from app.spawning.backends.registry import Registry
from tests.support.waiting import eventually


def test_the_last_registration_wins() -> None:
    """A second holder of an id takes it over."""
    registry = Registry[str]()
    first = registry.register("a", "old")
    second = registry.register("a", "new")

    assert registry.current("a") is second
    assert (first.current, second.current) == (False, True)


def test_a_late_unregister_leaves_the_newer_holder() -> None:
    """Unregistering an old registration does not remove its successor."""
    registry = Registry[str]()
    old = registry.register("a", "old")
    new = registry.register("a", "new")
    old.unregister()

    assert registry.current("a") is new

    new.unregister()
    new.unregister()
    assert registry.current("a") is None
    assert registry.ids() == []


def test_a_registration_that_came_back_after_the_id_was_free_is_not_removed_by_the_first() -> None:
    """Registered, removed, registered again: the first registration stays void."""
    registry = Registry[str]()
    first = registry.register("a", "x")
    registry.unregister("a")
    registry.register("a", "x")
    first.unregister()

    assert registry.ids() == ["a"]


def test_a_missing_id_is_a_no_op() -> None:
    """Removing what is not there changes nothing, and ids come sorted."""
    registry = Registry[int]()
    registry.unregister("nobody")
    registry.register("b", 2)
    registry.register("a", 1)
    registry.unregister("nobody")

    assert registry.ids() == ["a", "b"]
    assert registry.current("nobody") is None


async def test_a_waiter_returns_when_somebody_registers() -> None:
    """Every waiter of the id wakes, and those of other ids do not."""
    registry = Registry[str]()
    waiting = [asyncio.create_task(registry.wait_for("a")) for _ in range(3)]
    other = asyncio.create_task(registry.wait_for("b"))
    await asyncio.sleep(0)
    registry.register("a", "here")

    assert [found.value for found in await asyncio.gather(*waiting)] == ["here"] * 3
    assert not other.done()
    other.cancel()


async def test_a_waiter_for_a_newer_one_is_not_content_with_the_same() -> None:
    """`newer_than` waits for another registration even while the old one is still there."""
    registry = Registry[str]()
    old = registry.register("a", "old")
    waiting = asyncio.create_task(registry.wait_for("a", newer_than=old))
    await asyncio.sleep(0)
    assert not waiting.done()

    registry.register("a", "new")
    assert (await waiting).value == "new"


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    """After its waiters gave up, the registry works as before."""
    registry = Registry[str]()
    waiting = asyncio.create_task(registry.wait_for("a"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert registry.register("a", "x").current
    assert (await registry.wait_for("a")).value == "x"


async def test_a_step_is_run_again_on_each_next_holder_until_it_is_through() -> None:
    """BackendGone sends the step to whoever registers next, never to the same one again."""
    registry = Registry[int]()
    asked: list[int] = []

    async def step(number: int) -> str:
        asked.append(number)
        if number < 3:
            raise BackendGone
        return f"done by {number}"

    running = asyncio.create_task(registry.run("a", step))
    for number in (1, 2, 3):
        registry.register("a", number)
        await eventually(lambda number=number: number in asked)

    assert await running == "done by 3"
    assert asked == [1, 2, 3]


async def test_what_a_step_raises_otherwise_goes_through() -> None:
    """Only BackendGone is a reason to ask again."""
    registry = Registry[int]()
    registry.register("a", 1)

    async def step(number: int) -> None:
        raise LookupError(number)

    with pytest.raises(LookupError):
        await registry.run("a", step)
