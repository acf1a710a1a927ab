"""A thread that works for the event loop: what may block is done there, in order, and reported back in one hop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

R = TypeVar("R")

_Job = tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]


class Lane:
    """One thread, first in, first out. `submit` and `run` belong to the loop's thread."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], R], done: Callable[[R | None, BaseException | None], None]) -> None:
        """Run `job` on the thread, then `done(result, error)` on the loop's thread."""
        self._jobs.put((job, done))

    async def run(self, job: Callable[[], R]) -> R:
        """`submit` and wait. Cancelling the caller leaves the job to its end."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(result: R | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.submit(job, done)
        return await future

    def stop(self) -> None:
        """End the thread after the jobs already given, and wait for it."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None:
            job, done = task
            result: Any = None
            failed: BaseException | None = None
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - it is raised again where the job was given
                failed = error
            self._loop.call_soon_threadsafe(done, result, failed)
            del task, job, done, result, failed
