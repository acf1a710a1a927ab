import asyncio
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from app.domain.errors import MaxHoldExceeded
from app.state.policies import HoldPolicy
from app.state.port import Store
from app.state.state import CommitThenRaise, State
from app.state.tables import set_meta
from tests.contract.conftest import PATIENT
from tests.support import notes
from tests.support.effects import EffectsLog


async def test_result_is_returned_and_kept(store: Store) -> None:
    """What an operation returns reaches its caller, and what it wrote is there."""
    assert await store.transact("write", notes.write("a", "1")) == "1"
    assert await store.read(notes.read("a")) == "1"


async def test_failed_operation_leaves_nothing(store: Store) -> None:
    """An exception undoes every write of its operation and is raised to its caller."""
    await store.transact("write", notes.write("a", "old"))
    with pytest.raises(KeyError, match="why"):
        await store.transact("fail", notes.fail_after_writing("a", "new", KeyError("why")))
    assert await store.read(notes.read("a")) == "old"


async def test_failed_operation_leaves_its_neighbours_alone(store: Store) -> None:
    """Operations that share a commit with failing ones are kept, whatever their order."""

    def operation(number: int):
        if number % 3 == 0:
            return store.transact("fail", notes.fail_after_writing(f"n{number}", "x", ValueError(number)))
        return store.transact("write", notes.write(f"n{number}", str(number)))

    outcomes = await asyncio.gather(*(operation(number) for number in range(60)), return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        found = await store.read(notes.read(f"n{number}"))
        if number % 3 == 0:
            assert isinstance(outcome, ValueError)
            assert found is None
        else:
            assert outcome == found == str(number)


async def test_neighbour_that_only_reads_and_refuses_disturbs_nobody(store: Store) -> None:
    """A refusal before any write costs its neighbours nothing."""

    def refuse(state: State) -> None:
        notes.read("a")(state)
        raise LookupError

    outcomes = await asyncio.gather(
        store.transact("refuse", refuse),
        store.transact("write", notes.write("a", "1")),
        store.transact("refuse", refuse),
        store.transact("write", notes.write("b", "2")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [LookupError, str, LookupError, str]
    assert await store.read(notes.read("a")) == "1"
    assert await store.read(notes.read("b")) == "2"


async def test_own_writes_are_seen_inside_the_operation(store: Store) -> None:
    """An operation reads what it has written."""

    def operation(state: State) -> str | None:
        set_meta(state.db, "a", "mine")
        return notes.read("a")(state)

    assert await store.transact("both", operation) == "mine"


@pytest.mark.parametrize("bulk", [False, True])
async def test_coroutine_function_is_refused(store: Store, bulk: bool) -> None:
    """An operation may not wait: a coroutine function raises TypeError and nothing of it is run."""

    async def operation(state: State) -> None:
        set_meta(state.db, "a", "1")

    with pytest.raises(TypeError, match="plain function"):
        await store.transact("waits", operation, bulk=bulk)
    assert await store.read(notes.read("a")) is None


async def test_generator_function_is_refused(store: Store) -> None:
    """A `yield` turns an operation into one that has not begun when it returns."""

    def operation(state: State) -> Iterator[str | None]:
        set_meta(state.db, "a", "1")
        yield notes.read("a")(state)

    with pytest.raises(TypeError, match="plain function"):
        await store.transact("yields", operation)
    assert await store.read(notes.read("a")) is None


async def test_function_that_returns_an_awaitable_is_rolled_back(store: Store) -> None:
    """The writes of a plain function that returns a coroutine are undone."""

    async def later() -> None:
        raise AssertionError("it must not run")

    def operation(state: State) -> object:
        set_meta(state.db, "a", "1")
        return later()

    with pytest.raises(TypeError, match="plain function"):
        await store.transact("returns a coroutine", operation)
    assert await store.read(notes.read("a")) is None


async def test_stop_iteration_reaches_the_caller_as_an_error(store: Store) -> None:
    """StopIteration, which no future can carry, becomes a RuntimeError instead of a caller that waits for ever."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        await store.transact("stops", lambda state: next(iter(())))


async def test_kept_refusal_is_committed(store: Store) -> None:
    """`CommitThenRaise` is a result like any other to the store: what was written stays."""

    def operation(state: State) -> CommitThenRaise[MaxHoldExceeded]:
        set_meta(state.db, "a", "kept")
        return CommitThenRaise(MaxHoldExceeded("op", 1, 1))

    assert isinstance(await store.transact("keep", operation), CommitThenRaise)
    assert await store.read(notes.read("a")) == "kept"


async def test_effects_come_once_after_the_commit_and_before_the_caller(store: Store) -> None:
    """The listener is called once per committed operation, when its writes can be read, before its caller resumes."""
    order: list[str] = []
    log = EffectsLog()

    def listener(effects: object) -> None:
        log(effects)  # pyright: ignore[reportArgumentType] - what the store gives to its listener
        order.append("effects")

    store.on_commit(listener)

    def operation(state: State) -> None:
        set_meta(state.db, "a", "1")
        state.wake("topic")
        state.due(7)
        state.due(5)
        state.due(9)

    await store.transact("wakes", operation)
    order.append("caller")
    assert order == ["effects", "caller"]
    assert (log.wakes, log.dues) == (["topic"], [5])


async def test_failed_operations_have_no_effects(store: Store, effects: EffectsLog) -> None:
    """What an operation wanted to wake is forgotten with its writes."""
    failing = (store.transact("fail", notes.fail_after_writing(f"n{n}", "x", ValueError())) for n in range(5))

    def wake(state: State) -> None:
        set_meta(state.db, "b", "1")
        state.wake("good")

    await asyncio.gather(store.transact("wake", wake), *failing, return_exceptions=True)
    assert effects.wakes == ["good"]


async def test_failing_listener_harms_no_caller(store: Store) -> None:
    """An error of the listener is logged; the commit stands and its caller gets the result."""

    def listener(effects: object) -> None:
        raise RuntimeError("listener")

    def operation(state: State) -> int:
        state.wake("x")
        set_meta(state.db, "a", "1")
        return 1

    store.on_commit(listener)
    with capture_logs() as logs:
        assert await store.transact("wake", operation) == 1
    assert [line["event"] for line in logs] == ["commit_listener_failed"]


def _hold(state: State) -> str:
    set_meta(state.db, "held", "1")
    until = time.perf_counter() + 0.005
    while time.perf_counter() < until:
        pass
    return "done"


async def test_long_hold_is_warned_of(store: Store) -> None:
    """An operation that holds the state too long is kept, and named in the log."""
    with capture_logs() as logs:
        assert await store.transact("slow op", _hold, policy=HoldPolicy(max_hold_ms=1)) == "done"
    warnings = [line for line in logs if line["event"] == "state_held_too_long"]
    assert [line["op"] for line in warnings] == ["slow op"]


async def test_long_hold_is_rolled_back_when_the_policy_says_so(store: Store) -> None:
    """With `max_hold_panic` nothing of it is kept, and its neighbours are untouched."""
    strict = HoldPolicy(max_hold_ms=1, max_hold_panic=True)
    outcomes = await asyncio.gather(
        store.transact("write", notes.write("a", "1"), policy=PATIENT),
        store.transact("slow op", _hold, policy=strict),
        store.transact("write", notes.write("b", "2"), policy=PATIENT),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], MaxHoldExceeded)
    assert outcomes[1].op == "slow op"
    assert await store.read(notes.read("held")) is None
    assert await store.read(notes.read("b")) == "2"


async def test_bulk_operation_may_hold_as_long_as_it_needs(store: Store) -> None:
    """Without a policy of its own a bulk operation is never warned of."""
    with capture_logs() as logs:
        await store.transact("bulk", _hold, bulk=True)
    assert logs == []


async def test_bulk_and_point_operations_are_all_kept(store: Store) -> None:
    """Both kinds, given at once, are each done once."""
    await store.transact("seed", notes.write("count", "0"))
    await asyncio.gather(*(store.transact("add", notes.add_one("count"), bulk=n % 5 == 0) for n in range(50)))
    assert await store.read(notes.read("count")) == "50"
