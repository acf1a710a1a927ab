"""Retries while the store is unavailable, and the steps of loops that run as long as the server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from app.bus.port import HintBus
from app.domain.errors import Busy, LoopPaused, StoreUnavailable

R = TypeVar("R")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0

_log = structlog.get_logger(__name__)


async def retry_while_busy(call: Callable[[], Awaitable[R]], *, doing: str, once: bool = False, **fields: object) -> R:
    """Await `call()` again and again while the store is busy or away, and return its first result.

    The pauses double from 50 ms to 5 s; jitter takes up to half of each away. An outage is logged when it begins and
    when it is over, with `doing` and `fields`. With `once`, a commit whose outcome is unknown is not repeated: its
    StoreUnavailable (`unsure`) is raised. Raises whatever else `call` raises. Cancelling is safe.
    """
    loop = asyncio.get_running_loop()
    pause = 0.0
    while True:
        started = loop.time()
        try:
            result = await call()
        except LoopPaused:
            raise
        except Busy as error:
            if once and isinstance(error, StoreUnavailable) and error.unsure:
                raise
            if not pause or loop.time() - started > LONGEST_PAUSE_S:  # a call that ran for long met another outage
                pause = FIRST_PAUSE_S
                _log.warning("waiting_for_store", doing=doing, reason=str(error), **fields)
        else:
            if pause:
                _log.info("store_is_back", doing=doing, **fields)
            return result
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter keeps no secret
        pause = min(LONGEST_PAUSE_S, pause * 2)


async def try_step(call: Callable[[], Awaitable[R]], *, doing: str, failure: str) -> R | None:
    """Return the result of `retry_while_busy`; log whatever else `call` raises as `failure`, and return None.

    For loops that have to go on after any error. Cancelling is safe.
    """
    try:
        return await retry_while_busy(call, doing=doing)
    except Exception:  # noqa: BLE001 - one failure must not end a loop that runs as long as the server
        _log.exception(failure, doing=doing)
        return None


async def repeat_on_hints(
    bus: HintBus, topic: str, step: Callable[[], Awaitable[object]], *, every_s: float, doing: str, failure: str
) -> None:
    """Take a step at once, after each hint for a topic, and every `every_s` seconds without one. Runs until cancelled.

    Errors are handled as by `try_step`.
    """
    subscription = bus.subscribe(topic)
    try:
        while True:
            subscription.clear()
            await try_step(step, doing=doing, failure=failure)
            await subscription.wait(every_s)
    finally:
        subscription.close()
