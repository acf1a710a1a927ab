"""Lives of tasks under fire: each goes on through a server that may be killed at any moment, and notes each reply."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random

from swarmhold import ApiProblem, CallRetry, Job, Operator, Senior, SwarmholdClient, Worker
from swarmhold.models.attempts import Retry
from swarmhold.models.enums import RetryOn
from swarmhold.models.shapes import JsonValue
from swarmhold.models.spawners import ExternalSpawner, InProcessSpawner, ProcessSpawner, QueueSpawner
from swarmhold.models.tasks import Task
from tests.chaos.ledger import MINUTES, Ledger

QUEUE = "chaos"
PROGRAMS = '{"slowcat": {"path": "/bin/sh", "args": ["-c", "cat; sleep 0.2"]}}'
CALL_RETRY = CallRetry(timeout=timedelta(seconds=90), max_backoff=timedelta(milliseconds=500))
HOLD = timedelta(seconds=10)
LEASE = timedelta(seconds=6 if MINUTES else 3)
RETRY = Retry(max_attempts=50, backoff=0.05, max_backoff=0.5, on=tuple(RetryOn))
CHUNKS = 4
BEATS = (4, 12)


class Load:
    """Clients that live task after task until they are stopped; each then ends the life that it is in."""

    def __init__(
        self,
        server: SwarmholdClient,
        operator: Operator,
        senior: Senior,
        ledger: Ledger,
        *,
        seed: int,
        lease: timedelta = LEASE,
    ) -> None:
        self._server = server
        self._lease = lease
        self._operator = operator
        self._senior = senior
        self._ledger = ledger
        self._random = Random(seed)
        self._numbers = itertools.count()
        self._stopping = False
        self._lives: Mapping[str, Callable[[Task], Awaitable[None]]] = {
            "external": self._external,
            "lasting": self._lasting,
            "queue": self._queue,
            "asking": self._asking,
            "talking": self._talking,
            "cancelled": self._cancelled,
            "process": self._process,
            "identity": self._identity,
            "family": self._family,
        }

    def stop(self) -> None:
        """Start no more lives."""
        self._stopping = True

    async def run(self, lanes: int) -> None:
        """Live in so many lanes at once, until `stop`."""
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(self._lane())

    async def work(self, job: Job) -> JsonValue:
        """What the queue worker does: the result names the task, and comes at once or after a while."""
        self._ledger.workers.add((job.task_id, job.attempt))
        await job.worker.progress("claimed", f"attempt {job.attempt}")
        await self._ledger.pause(self._random.choice((0, 0, 100)), at_most=self._lease * 2)
        return {"queue": job.prompt}

    async def _lane(self) -> None:
        kinds = list(self._lives)
        while not self._stopping:
            kind = self._random.choice(kinds)
            key = f"{kind}-{next(self._numbers)}"
            # A group of its own key: repeated after a broken connection, it must not make a second task.
            task = await self._operator.start_task(
                kind, f"directive of {key}", labels={"chaos": "1"}, retry=RETRY, idempotency_key=key
            )
            await self._ledger.note(lambda task=task, kind=kind: self._ledger.tasks.update({task.id: kind}))
            began_at = datetime.now(UTC)
            try:
                await self._lives[kind](task)
            except (ApiProblem, ExceptionGroup) as error:
                if not (_superseded(error) and self._ledger.was_silent(began_at, None)):
                    raise
                await self._give_up(task)

    async def _give_up(self, task: Task) -> None:
        """End the life of a worker that is rightly lost: nobody has the handle of the next attempt."""
        await self._operator.cancel(task.id, reason="lost")
        self._ledger.cancelled.add(task.id)
        self._ledger.excused += 1

    async def _dispatched(self, task: Task) -> str:
        attempt = await self._operator.dispatch(
            task.id, ExternalSpawner(), lease=self._lease, idempotency_key=f"go-{task.id}"
        )
        await self._ledger.note(lambda: self._ledger.workers.add((task.id, attempt.attempt)))
        assert attempt.worker_handle is not None
        return attempt.worker_handle

    @asynccontextmanager
    async def _beating(self, worker: Worker) -> AsyncGenerator[None]:
        """Send heartbeats while the block waits for something else."""

        async def beat() -> None:
            while True:
                await self._ledger.pause(50, at_most=self._lease / 4)
                await worker.heartbeat()

        async with asyncio.TaskGroup() as group:
            beating = group.create_task(beat())
            yield
            beating.cancel()

    async def _final(self, task: Task, value: JsonValue) -> None:
        await self._ledger.note(lambda: self._ledger.finals.update({task.id: value}))

    async def _external(self, task: Task) -> None:
        worker = self._server.worker(await self._dispatched(task))
        prompt = await worker.prompt(task_id=task.id)
        assert prompt.prompt == task.spec.initial_directive
        value = {"external": task.id}
        await worker.submit(value)
        await self._final(task, value)

    async def _lasting(self, task: Task) -> None:
        worker = self._server.worker(await self._dispatched(task))
        for _ in range(self._random.randint(*BEATS)):
            await self._ledger.pause(50, at_most=self._lease / 4)
            beat = await worker.heartbeat()
            await self._ledger.note()
            assert not beat.cancelled
        value = {"lasting": task.id}
        await worker.submit(value)
        await self._final(task, value)

    async def _queue(self, task: Task) -> None:
        queue = QueueSpawner(queue=QUEUE)
        await self._operator.dispatch(task.id, queue, lease=self._lease, idempotency_key=f"go-{task.id}")
        await self._ledger.note()
        await self._operator.wait_for(task.id, hold=HOLD)
        await self._final(task, {"queue": task.spec.initial_directive})

    async def _asking(self, task: Task) -> None:
        worker = self._server.worker(await self._dispatched(task))
        asked = await worker.ask({"of": task.id}, idempotency_key=f"ask-{task.id}")
        await self._ledger.note()
        answer = {"to": task.id, "number": self._ledger.acknowledged}
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(worker.await_answer(asked.key, hold=HOLD))
            await self._ledger.pause(self._random.choice((0, 50)), at_most=self._lease * 2)
            await self._senior.answer(asked.key, answer)
            await self._ledger.note(lambda: self._ledger.answers.update({asked.key: answer}))
        received = waiting.result()
        self._ledger.received[asked.key] = received
        await worker.submit({"received": received})
        await self._final(task, {"received": answer})

    async def _talking(self, task: Task) -> None:
        worker = self._server.worker(await self._dispatched(task))
        said = self._ledger.outputs.setdefault(task.id, [])
        for number in range(CHUNKS):
            chunk = f"{task.id} {number}"
            await worker.partial(chunk)
            await self._ledger.note(lambda chunk=chunk: said.append(chunk))
        await worker.submit(CHUNKS)
        await self._final(task, CHUNKS)

    async def _cancelled(self, task: Task) -> None:
        await self._dispatched(task)
        await self._operator.cancel(task.id, reason="chaos")
        await self._ledger.note(lambda: self._ledger.cancelled.add(task.id))

    async def _process(self, task: Task) -> None:
        await self._operator.dispatch(task.id, ProcessSpawner(program="slowcat"), idempotency_key=f"go-{task.id}")
        await self._ledger.note()
        await self._operator.wait_for(task.id, hold=HOLD)
        await self._final(task, task.spec.initial_directive)

    async def _identity(self, task: Task) -> None:
        spawner = InProcessSpawner(function="identity")
        await self._operator.dispatch(task.id, spawner, idempotency_key=f"go-{task.id}")
        await self._ledger.note()
        await self._operator.wait_for(task.id, hold=HOLD)
        await self._final(task, task.spec.initial_directive)

    async def _family(self, task: Task) -> None:
        worker = self._server.worker(await self._dispatched(task))
        child = await worker.start_task("child", f"child of {task.id}", retry=RETRY, idempotency_key=f"child-{task.id}")
        await self._ledger.note(lambda: self._ledger.tasks.update({child.id: "child"}))
        await worker.dispatch(child.id, QueueSpawner(queue=QUEUE), lease=self._lease, idempotency_key=f"go-{child.id}")
        await self._ledger.note()
        async with self._beating(worker):
            settled = await worker.wait_for(child.id, hold=HOLD)
        await self._final(child, {"queue": f"child of {task.id}"})
        value = {"child": settled.id}
        await worker.submit(value)
        await self._final(task, value)


def _superseded(error: Exception) -> bool:
    """Whether the server has refused a worker because its attempt is over."""
    errors = error.exceptions if isinstance(error, ExceptionGroup) else [error]
    return any(isinstance(one, ApiProblem) and one.code == "attempt-superseded" for one in errors)
