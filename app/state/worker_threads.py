"""Worker threads of the event loop: blocking jobs run there and report back in one hop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

R = TypeVar("R")

_Job = tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]


class WorkerThreads:
    """`size` threads that share one queue of jobs; a single thread runs its jobs strictly in order.

    Call the methods on the loop's thread.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, *, size: int = 1) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(size)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], R], done: Callable[[R | None, BaseException | None], None]) -> None:
        """Run `job` on a worker thread, then call `done(result, error)` on the loop's thread."""
        self._jobs.put((job, done))

    async def run(self, job: Callable[[], R]) -> R:
        """Run `job` on a worker thread and return its result. Cancelling the caller does not stop the job."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.submit(job, lambda result, error: resolve(future, result, error))
        return await future

    async def stop(self) -> None:
        """Finish the submitted jobs and end the threads."""
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
            except BaseException as error:  # noqa: BLE001 - raised again where the job was submitted
                failed = error
            self._report(done, result, failed)
            del task, job, done, result, failed

    def _report(
        self, done: Callable[[Any, BaseException | None], None], result: Any, failed: BaseException | None
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(done, result, failed)
        except RuntimeError:
            # The loop was closed before the store: nobody waits for the result.
            if not self._loop.is_closed():
                raise


def resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Set the result or exception of a future, unless it is done (cancelled) already."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
