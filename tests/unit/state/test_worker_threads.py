import asyncio
import threading

import pytest

from app.state.worker_threads import WorkerThreads


async def test_result_and_error_come_back() -> None:
    """What a job returns or raises reaches whoever gave it, on the loop's thread."""
    threads = WorkerThreads("test", asyncio.get_running_loop())
    assert await threads.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    where: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    threads.submit(lambda: None, lambda _, __: where.set_result(threading.get_ident()))
    assert await where == threading.get_ident()
    await threads.stop()


async def test_one_thread_works_in_order() -> None:
    """With one thread nothing overtakes."""
    threads = WorkerThreads("test", asyncio.get_running_loop())
    done: list[int] = []
    await asyncio.gather(*(threads.run(lambda number=number: done.append(number)) for number in range(100)))
    assert done == list(range(100))
    await threads.stop()


async def test_stop_waits_for_what_was_given() -> None:
    """Jobs given before stop() are done, cancelled callers' jobs among them."""
    threads = WorkerThreads("test", asyncio.get_running_loop(), size=3)
    go_on, done = threading.Event(), list[int]()

    def job() -> None:
        assert go_on.wait(60)
        done.append(1)

    calls = [asyncio.ensure_future(threads.run(job)) for _ in range(9)]
    await asyncio.sleep(0)
    calls[0].cancel()
    go_on.set()
    await threads.stop()
    assert len(done) == 9
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [None] * 8


async def test_threads_share_the_work() -> None:
    """Jobs that wait for each other end when there is a thread for each."""
    threads = WorkerThreads("test", asyncio.get_running_loop(), size=4)
    barrier = threading.Barrier(4)
    async with asyncio.timeout(60):
        await asyncio.gather(*(threads.run(barrier.wait) for _ in range(4)))
    await threads.stop()
