"""Running coroutines in a terminal, where Ctrl-C ends them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine as `asyncio.run` does, and raise KeyboardInterrupt at Ctrl-C whenever that comes.

    `asyncio.run` alone may sleep on: a signal that arrives just before its loop begins to wait does not wake it.
    """
    interrupted = False

    async def main() -> R:
        task = asyncio.ensure_future(coroutine)

        def interrupt() -> None:
            nonlocal interrupted
            if interrupted:
                raise KeyboardInterrupt
            interrupted = True
            task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
        return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
