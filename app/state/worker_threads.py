"""Threads that work for the event loop: what may block is done there and reported back in one hop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

R = TypeVar("R")

_Job = tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]


class Crew:
    """`size` threads that share one queue. With one thread jobs are done strictly one after another.

    Its methods belong to the loop's thread.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, *, size: int = 1) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(size)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], R], done: Callable[[R | None, BaseException | None], None]) -> None:
        """Run `job` on a thread, then `done(result, error)` on the loop's thread."""
        self._jobs.put((job, done))

    async def run(self, job: Callable[[], R]) -> R:
        """`submit` and wait. Cancelling the caller leaves the job to its end."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.submit(job, lambda result, error: settle(future, result, error))
        return await future

    async def stop(self) -> None:
        """End the threads after the jobs already given."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None:
            job, done = task
            result: Any = None
            failed: BaseException | None = None
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - it is raised again where the job was given
                failed = error
            self._report(done, result, failed)
            del task, job, done, result, failed

    def _report(
        self, done: Callable[[Any, BaseException | None], None], result: Any, failed: BaseException | None
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(done, result, failed)
        except RuntimeError:
            # The loop was closed before the store: nobody is left to be told.
            if not self._loop.is_closed():
                raise


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future its result or error, unless it was cancelled."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
