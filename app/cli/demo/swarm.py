"""The run of the demo: start, work, kill the server, restart it, wait, collect the results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from app.cli.demo.corpus import Corpus
from app.cli.demo.handle_worker import RETRY
from app.cli.demo.plan import PlannedTask
from app.cli.demo.processes import Processes
from app.cli.demo.progress import Progress
from swarmhold import CallRetry, Observer, Operator, Senior, SwarmholdClient
from swarmhold.models.attempts import Attempt
from swarmhold.models.enums import Role
from swarmhold.models.events import Event
from swarmhold.models.questions import Question
from swarmhold.models.tasks import Task

READERS = 2
AT_ONCE = 8
HOLD = timedelta(seconds=20)
CALL_RETRY = CallRetry(timeout=timedelta(seconds=45), max_backoff=timedelta(seconds=1))


@dataclass(slots=True)
class Outcome:
    """The results of a run, to be checked."""

    corpus: Corpus
    planned: dict[str, PlannedTask] = field(default_factory=dict[str, PlannedTask])
    tasks: dict[str, Task] = field(default_factory=dict[str, Task])
    attempts: dict[str, list[Attempt]] = field(default_factory=dict[str, list[Attempt]])
    questions: list[Question] = field(default_factory=list[Question])
    followed: list[Event] = field(default_factory=list[Event])
    feed: list[Event] = field(default_factory=list[Event])
    answered: dict[str, str] = field(default_factory=dict[str, str])
    passed_before: list[str] = field(default_factory=list[str])
    """Tasks that had passed, according to the feed, when the server was killed."""
    restart_s: float = 0.0
    exit_status: int | None = None


class Swarm:
    """One run of the demo. Call `work` once."""

    def __init__(self, processes: Processes, corpus: Corpus, plan: Sequence[PlannedTask], progress: Progress) -> None:
        self._processes = processes
        self._plan = plan
        self._progress = progress
        self._half_done = asyncio.Event()
        self._asked = asyncio.Event()
        self._news = asyncio.Condition()
        self._restarted = asyncio.Event()
        self._starting = asyncio.Semaphore(AT_ONCE)
        self.outcome = Outcome(corpus)

    async def work(self) -> Outcome:
        """Run the demo. Cancelling is safe; the caller closes the processes."""
        seconds = await self._processes.start_server()
        self._progress.say(f"server ready at {self._processes.url} after {seconds:.1f} s, on an empty data directory")
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(SwarmholdClient(self._processes.url, call_retry=CALL_RETRY))
            operator = await self._prepare(server)
            observer = await server.attach_observer(self._processes.root_key, "demo-progress")
            # A key of its own: nobody answers what was asked with the same key.
            senior = await server.attach_senior(await self._key(server, "demo senior", Role.SENIOR))
            watching = asyncio.create_task(self._watch(observer), name="watch the feed")
            answering = asyncio.create_task(self._answer(senior), name="answer questions")
            try:
                await self._go(operator)
                await self._collect(operator, senior, observer)
            finally:
                for task in (watching, answering):
                    task.cancel()
                await asyncio.gather(watching, answering, return_exceptions=True)
        return self.outcome

    async def _prepare(self, server: SwarmholdClient) -> Operator:
        readers = await self._key(server, "demo readers", Role.WORKER)
        for _ in range(READERS):
            self._processes.start_worker("queue_worker", {"SWARMHOLD_KEY": readers})
        self._progress.say(f"{READERS} worker processes claim from the queue")
        return await server.attach_operator(await self._key(server, "demo", Role.OPERATOR))

    async def _key(self, server: SwarmholdClient, name: str, role: Role) -> str:
        return (await server.admin(self._processes.root_key).create_key(name, [role])).key

    async def _go(self, operator: Operator) -> None:
        """Start all tasks, kill the server when half of them have passed, restart it, and wait for the rest."""
        starting = asyncio.gather(*(self._start(operator, planned) for planned in self._plan))
        try:
            # The question has to be open when the server is killed.
            await asyncio.gather(self._half_done.wait(), self._asked.wait())
            self.outcome.passed_before = [task for task, state in self._progress.states.items() if state == "pass"]
            await self._processes.kill_server()
            self._progress.say(f"server killed with SIGKILL after {len(self.outcome.passed_before)} tasks")
            self.outcome.restart_s = await self._processes.start_server()
            self._progress.say(f"server ready again after {self.outcome.restart_s:.1f} s, on the same data")
            self._restarted.set()
            ids = await starting
        finally:
            starting.cancel()
        await asyncio.gather(*(operator.wait_for(task_id, hold=HOLD) for task_id in ids))
        self._progress.say("every task is done")

    async def _start(self, operator: Operator, planned: PlannedTask) -> str:
        async with self._starting:
            task = await operator.start_task(
                planned.agent, planned.directive, labels={"demo": "1"}, retry=RETRY, idempotency_key=planned.key
            )
            self.outcome.planned[task.id] = planned
            attempt = await operator.dispatch(task.id, planned.spawner, idempotency_key=f"go-{task.id}")
        if attempt.worker_handle is not None:
            self._processes.start_worker("handle_worker", {"SWARMHOLD_HANDLE": attempt.worker_handle})
        return task.id

    async def _watch(self, observer: Observer) -> None:
        """Follow the feed from its beginning, through the restart."""
        async with aclosing(observer.events(after=0)) as events:
            async for event in events:
                if isinstance(event, Event):
                    await self._record(event)

    async def _record(self, event: Event) -> None:
        async with self._news:
            self.outcome.followed.append(event)
            self._news.notify_all()
        self._progress.record(event)
        if event.kind == "senior_queried":
            self._asked.set()
        if self._progress.passed * 2 >= self._progress.expected:
            self._half_done.set()

    async def _answer(self, senior: Senior) -> None:
        """Act as the senior: stay connected with a console, and answer after the restart."""
        async with senior.console("demo-desk") as console:
            async for ask in console:
                self._progress.say(f"the worker of {ask.agent} asks a senior; the answer comes after the restart")
                await self._restarted.wait()
                choices = [str(choice.value) for choice in ask.options]
                self.outcome.answered[ask.key] = answer = max(choices, key=self._size)
                await console.answer(ask.key, answer)
                self._progress.say(f"answered over the WebSocket: {answer}")

    def _size(self, name: str) -> int:
        return (self.outcome.corpus.root / name).stat().st_size

    async def _collect(self, operator: Operator, senior: Senior, observer: Observer) -> None:
        outcome = self.outcome
        async for task in operator.all_tasks():
            outcome.tasks[task.id] = task
            outcome.attempts[task.id] = await operator.attempts(task.id)
        outcome.questions = (await senior.questions(limit=200)).items
        outcome.feed = await self._read_feed(observer)

    async def _read_feed(self, observer: Observer) -> list[Event]:
        """Read the whole feed, up to the end of every task, and wait until the follower has seen as much."""
        ids, found = set(self.outcome.tasks), list[Event]()
        async with aclosing(observer.events(after=0)) as events:
            async for event in events:
                if isinstance(event, Event):
                    found.append(event)
                    if event.kind in ("task_pass", "task_blocked", "task_cancelled"):
                        ids.discard(event.task_id or "")
                if not ids:
                    break
        async with self._news:
            await self._news.wait_for(lambda: len(self.outcome.followed) >= len(found))
        return found
