"""Worker threads of the event loop: blocking jobs run there and report back in one hop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

R = TypeVar("R")

COUNTED_FROM_S = 0.001
"""A job that found every thread busy counts as one that waited from so many seconds on."""

_Done = Callable[[Any, BaseException | None], None]
_Job = tuple[Callable[[], Any], _Done, float | None]


@dataclass(slots=True)
class Waits:
    """How many jobs had to wait for a thread, and for how many seconds together."""

    count: int = 0
    seconds: float = 0.0


class WorkerThreads:
    """`size` threads that share one queue of jobs; a single thread runs its jobs strictly in order.

    Call the methods on the loop's thread. `waits` tells whether the threads are enough.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, *, size: int = 1) -> None:
        self.waits = Waits()
        self._loop = loop
        self._size = size
        self._unfinished = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(size)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], R], done: Callable[[R | None, BaseException | None], None]) -> None:
        """Run `job` on a worker thread, then call `done(result, error)` on the loop's thread."""
        self._unfinished += 1
        self._jobs.put((job, done, monotonic() if self._unfinished > self._size else None))

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
            job, done, since = task
            waited_s = 0.0 if since is None else monotonic() - since
            result: Any = None
            failed: BaseException | None = None
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - raised again where the job was submitted
                failed = error
            self._report(done, result, failed, waited_s)
            del task, job, done, result, failed

    def _report(self, done: _Done, result: Any, failed: BaseException | None, waited_s: float) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finish, done, result, failed, waited_s)
        except RuntimeError:
            # The loop was closed before the store: nobody waits for the result.
            if not self._loop.is_closed():
                raise

    def _finish(self, done: _Done, result: Any, failed: BaseException | None, waited_s: float) -> None:
        """Count a job as finished and pass its result on; on the loop's thread."""
        self._unfinished -= 1
        if waited_s >= COUNTED_FROM_S:
            self.waits.count += 1
            self.waits.seconds += waited_s
        done(result, failed)


def resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Set the result or exception of a future, unless it is done (cancelled) already."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
