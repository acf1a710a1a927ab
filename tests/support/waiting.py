"""Waiting for something to become true under a deadline: the only pauses that tests have.

Prefer an event, a future or a reply to wait for. Poll with these where the only sign is a state that can be read.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.05

PATIENCE_S = 60.0
"""How long tests wait for what happens at once on a machine that is not busy."""


class DeadlinePassedError(AssertionError):
    """What was waited for did not happen in time."""

    def __init__(self, awaited: str, seconds: float, last: object) -> None:
        super().__init__(awaited, seconds, last)
        self.awaited = awaited
        self.seconds = seconds
        self.last = last

    def __str__(self) -> str:
        return f"{self.awaited} did not happen within {self.seconds:g} s; last seen: {self.last!r}"


def wait_until(probe: Callable[[], T], *, within: float = PATIENCE_S, awaited: str | None = None) -> T:
    """Call `probe` until it returns something true, and return that.

    Pauses grow from 2 to 50 ms between calls. Raises `DeadlinePassedError` with the last value seen after `within`
    seconds; what the probe raises goes through.
    """
    deadline = time.monotonic() + within
    pause = FIRST_PAUSE
    while not (seen := probe()):
        if time.monotonic() >= deadline:
            raise DeadlinePassedError(awaited or _name(probe), within, seen)
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
    return seen


async def eventually(
    probe: Callable[[], Awaitable[T] | T], *, within: float = PATIENCE_S, awaited: str | None = None
) -> T:
    """`wait_until` for a running event loop; `probe` may be a coroutine function.

    A probe that hangs is ended at the deadline as well. Cancelling is safe.
    """
    deadline = asyncio.get_running_loop().time() + within
    pause = FIRST_PAUSE
    seen: object = None
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                answer = probe()
                seen = await answer if inspect.isawaitable(answer) else answer
                if seen:
                    return seen  # pyright: ignore[reportReturnType] - either branch of the probe's reply is a T
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
    except TimeoutError:
        if asyncio.get_running_loop().time() < deadline:
            raise  # the probe's own
        raise DeadlinePassedError(awaited or _name(probe), within, seen) from None


async def present(place: Mapping[K, T], key: K, *, within: float = PATIENCE_S, awaited: str | None = None) -> T:
    """What is under the key, once something is."""
    await eventually(lambda: key in place, within=within, awaited=awaited or f"{key!r} to be there")
    return place[key]


def _name(probe: Callable[[], object]) -> str:
    return getattr(probe, "__qualname__", repr(probe))
