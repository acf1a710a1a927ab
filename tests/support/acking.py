"""A process that writes to a store and says what was acknowledged, to be killed at any moment.

`python -m tests.support.acking URL PREFIX`: many callers write as fast as they can; each acknowledged operation is one
line of output. Each operation writes two notes, `NAME` and `NAME'`, and one event.
"""

import asyncio
import itertools
import sys
from collections.abc import Callable

from app.domain.events import EventKind
from app.state.opening import open_store
from app.state.policies import HoldPolicy
from app.state.state import State
from app.state.tables import set_meta

CALLERS = 24


def write_twice(name: str) -> Callable[[State], None]:
    """Both notes and the event, or none."""

    def operation(state: State) -> None:
        set_meta(state.db, name, "1")
        state.emit(EventKind.WORKER_OUTPUT, namespace=1, label=name)
        set_meta(state.db, f"{name}'", "1")

    return operation


async def write_for_ever(url: str, prefix: str) -> None:
    """Write until killed."""
    store = open_store(url, policy=HoldPolicy(max_hold_ms=60_000))
    await store.open()
    numbers = itertools.count()

    async def call() -> None:
        for number in numbers:
            name = f"{prefix}.{number}"
            await store.transact("write", write_twice(name), bulk=number % 50 == 0)
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()

    await asyncio.gather(*(call() for _ in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(write_for_ever(sys.argv[1], sys.argv[2]))
