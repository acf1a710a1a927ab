"""The server's books held against its clients' ledger."""

from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

from swarmhold import Observer, Operator, Senior
from swarmhold.models.attempts import Attempt
from swarmhold.models.enums import SETTLED, Status
from swarmhold.models.events import Event
from swarmhold.models.outputs import OutputRecord
from swarmhold.models.questions import Question
from swarmhold.models.tasks import Task
from tests.chaos.ledger import Ledger

ENDS = ("task_pass", "task_blocked", "task_cancelled")


class Books:
    """Everything that the server says in the end. Read with `open`."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.attempts: dict[str, list[Attempt]] = {}
        self.questions: dict[str, Question] = {}
        self.outputs: dict[str, list[OutputRecord]] = {}
        self.resources: dict[str, Any] = {}
        self.feed: list[Event] = []
        self.delivered: list[int] | None = None
        """Cursors of the events that a webhook delivered, in their order."""

    @classmethod
    async def open(cls, operator: Operator, senior: Senior, observer: Observer, ledger: Ledger) -> "Books":
        """Read all of it."""
        books = cls()
        async for task in operator.all_tasks():
            books.tasks[task.id] = task
        for task_id in books.tasks:
            books.attempts[task_id] = await operator.attempts(task_id)
        for key in ledger.answers:
            books.questions[key] = await senior.question(key)
        for task_id in ledger.outputs:
            books.outputs[task_id] = await operator.output(task_id, 1)
        for key in ledger.resources:
            books.resources[key] = (await operator.resource(key)).value
        open_tasks = {task.id for task in books.tasks.values() if task.status in SETTLED}
        async with aclosing(observer.events(after=0)) as events:
            async for event in events:
                if not isinstance(event, Event):
                    continue
                books.feed.append(event)
                if event.kind in ENDS:
                    open_tasks.discard(event.task_id or "")
                if not open_tasks:
                    break
        return books


def faults(books: Books, ledger: Ledger, followed: list[Event]) -> list[str]:
    """What was lost or doubled, in words."""
    return [
        *_tasks(books, ledger),
        *_attempts(books),
        *_workers(books, ledger),
        *_resources(books, ledger),
        *_answers(books, ledger),
        *_said(books, ledger),
        *_events(books, followed),
        *_deliveries(books),
    ]


def _tasks(books: Books, ledger: Ledger) -> Iterator[str]:
    for task_id in sorted(set(books.tasks) ^ set(ledger.tasks)):
        yield f"{task_id} is {'lost' if task_id in ledger.tasks else 'doubled: nobody knows it'}"
    for task in books.tasks.values():
        if task.status not in SETTLED:
            yield f"{task.spec.agent} {task.id} is {task.status}"
        if task.id in ledger.finals and (task.status, task.last_result) != (Status.PASS, ledger.finals[task.id]):
            yield f"{task.spec.agent} {task.id} is {task.status} with {task.last_result!r}"
        if task.id in ledger.cancelled and task.status is not Status.CANCELLED:
            yield f"{task.id} was cancelled and is {task.status}"


def _attempts(books: Books) -> Iterator[str]:
    for task_id, attempts in books.attempts.items():
        good = [attempt.attempt for attempt in attempts if attempt.final is not None and attempt.final.ok]
        live = [attempt.attempt for attempt in attempts if attempt.status != "ended"]
        if len(good) > 1 or live:
            yield f"{task_id}: good results in attempts {good}, live ones {live}"
        if [attempt.attempt for attempt in attempts] != list(range(1, len(attempts) + 1)):
            yield f"{task_id} has the attempts {[attempt.attempt for attempt in attempts]}"


def _workers(books: Books, ledger: Ledger) -> Iterator[str]:
    """No worker that sent its heartbeats was settled as lost, nor any session detached that was in use."""
    for task_id, number in ledger.workers:
        attempt = books.attempts[task_id][number - 1]
        if attempt.reason == "lost" and not ledger.was_silent(attempt.started_at, attempt.ended_at):
            heartbeat = f"last heartbeat at {attempt.last_seen_at} of {attempt.started_at} to {attempt.ended_at}"
            yield f"the live worker of {attempt.agent} {task_id} attempt {number} was lost, {heartbeat}"
    for event in books.feed:
        if event.kind == "session_detached":
            yield f"session {event.session_id} was detached"


def _resources(books: Books, ledger: Ledger) -> Iterator[str]:
    for key, value in ledger.resources.items():
        if books.resources[key] != value:
            yield f"resource {key} is another"


def _answers(books: Books, ledger: Ledger) -> Iterator[str]:
    events = Counter(str(getattr(event, "key", "")) for event in books.feed if event.kind == "senior_answered")
    for key, answer in ledger.answers.items():
        question = books.questions[key]
        if question.answer != answer or question.status != "answered" or events[key] != 1:
            yield f"{key} is {question.status} with {question.answer!r}, with {events[key]} events; it was {answer!r}"
        if key in ledger.received and ledger.received[key] != answer:
            yield f"{key}: the worker received {ledger.received[key]!r}, not {answer!r}"


def _said(books: Books, ledger: Ledger) -> Iterator[str]:
    for task_id, said in ledger.outputs.items():
        kept = Counter(_chunk(record) for record in books.outputs[task_id] if record.type == "partial")
        for chunk in said:
            if kept[chunk] != 1:
                yield f"output {chunk!r} is kept {kept[chunk]} times"


def _chunk(record: OutputRecord) -> Any:
    return getattr(record, "chunk", None)


def _events(books: Books, followed: list[Event]) -> Iterator[str]:
    cursors = [event.cursor for event in books.feed]
    if cursors != sorted(set(cursors), key=int):
        yield "the cursors of the feed do not grow"
    live = [event.cursor for event in followed][: len(cursors)]
    if live != cursors:
        missed = sorted(set(map(int, cursors)) - set(map(int, live)))[:5]
        twice = len(live) - len(set(live))
        yield f"followed live: {len(live)} of {len(cursors)} events, {twice} twice, missed {missed}"
    for kind, least in (("task_created", 1), ("task_pass", 0), ("task_cancelled", 0)):
        counts = Counter(event.task_id for event in books.feed if event.kind == kind)
        for task_id, task in books.tasks.items():
            settled = {"task_pass": Status.PASS, "task_cancelled": Status.CANCELLED}.get(kind)
            wanted = least if settled is None else int(task.status is settled)
            if counts[task_id] != wanted:
                yield f"{kind} of {task_id} ({task.status}) has {counts[task_id]} events"


def _deliveries(books: Books) -> Iterator[str]:
    if books.delivered is None:
        return
    ends = [int(event.cursor) for event in books.feed if event.kind in ENDS]
    firsts = list(dict.fromkeys(books.delivered))
    if firsts != ends:
        yield f"the webhook delivered {len(firsts)} of {len(ends)} events in another order, or others"
