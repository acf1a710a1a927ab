"""The checks of the demo: results against an independent computation, and the server's records for consistency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from app.cli.demo import verification
from app.cli.demo.plan import PlannedTask
from app.cli.demo.swarm import Outcome
from swarmhold.models.enums import Status
from swarmhold.models.events import Event
from swarmhold.models.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check over `looked_at` items; it passed when `faults` is empty."""

    name: str
    looked_at: int
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether anything was checked and nothing is wrong."""
        return self.looked_at > 0 and not self.faults


def run_checks(outcome: Outcome, planned: int) -> list[Check]:
    """Run all checks."""
    return [
        _check("every planned task exists, passed, and was started once", planned, _existence(outcome, planned)),
        _check("results equal an independent computation", len(outcome.planned), _results(outcome)),
        _check("child tasks, under the task that started them", len(_children(outcome)), _fan_out(outcome)),
        _check("the failed attempt was retried by policy", len(_of(outcome, "stumbler")), _retries(outcome)),
        _check("the question was answered once, after the restart", len(outcome.questions), _answers(outcome)),
        _check("what had passed before the kill stayed as it was", len(outcome.passed_before), _kept(outcome)),
        _check("the feed: no event lost, doubled or out of order", len(outcome.feed), _events(outcome)),
        _check("one result per task, one live attempt at a time", len(outcome.attempts), _attempts(outcome)),
        _check("the server was killed, came back, and ended in order", 1, _restart(outcome)),
    ]


def _check(name: str, looked_at: int, faults: Iterator[str]) -> Check:
    return Check(name=name, looked_at=looked_at, faults=tuple(faults))


def _of(outcome: Outcome, agent: str) -> list[Task]:
    return [outcome.tasks[task_id] for task_id, planned in outcome.planned.items() if planned.agent == agent]


def _children(outcome: Outcome) -> list[Task]:
    return [task for task in outcome.tasks.values() if task.parent_task_id is not None]


def _existence(outcome: Outcome, planned: int) -> Iterator[str]:
    if len(outcome.planned) != planned:
        yield f"{len(outcome.planned)} of {planned} planned tasks were started"
    strangers = set(outcome.tasks) - set(outcome.planned) - {task.id for task in _children(outcome)}
    yield from (f"{task_id} was not planned" for task_id in strangers)
    for task in outcome.tasks.values():
        if task.status is not Status.PASS:
            yield f"{task.spec.agent} {task.id} is {task.status}: {task.last_result}"


def _results(outcome: Outcome) -> Iterator[str]:
    for task_id, planned in outcome.planned.items():
        task = outcome.tasks.get(task_id)
        if task is not None and task.status is Status.PASS:
            yield from (f"{planned.key}: {fault}" for fault in _faults(outcome, planned, task))


def _faults(outcome: Outcome, planned: PlannedTask, task: Task) -> Iterator[str]:
    result: Any = task.last_result
    path = outcome.corpus.root / planned.paths[0]
    own = {name: result[name] for name in result if name not in ("path", "attempt")}
    if "path" in result and result["path"] != planned.paths[0]:
        yield f"it is about {result['path']}"
    match planned.agent:
        case "statistician" | "stumbler":
            yield from _differences(own, verification.statistics(path))
        case "inspector":
            yield from _differences(own, verification.findings(path))
        case "summariser":
            yield from verification.summary_faults(result, path)
        case "editor":
            expected = max(planned.paths, key=lambda name: (outcome.corpus.root / name).stat().st_size)
            yield from _differences(own, {"asked": result["asked"], "chosen": expected})
        case _:
            found = [verification.statistics(outcome.corpus.root / name) for name in planned.paths]
            sums = {name: sum(one[name] for one in found) for name in ("lines", "words")}
            yield from _differences(own, {"children": result["children"], "files": len(found), **sums})


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            yield f"{name} is {found.get(name)!r}, not {expected.get(name)!r}"


def _fan_out(outcome: Outcome) -> Iterator[str]:
    surveys = {task.id: task for task in _of(outcome, "surveyor")}
    planned = sum(len(outcome.planned[task_id].paths) for task_id in surveys)
    children = _children(outcome)
    if len(children) != planned:
        yield f"there are {len(children)} children, not {planned}"
    for child in children:
        parent = surveys.get(child.parent_task_id or "")
        result: Any = parent.last_result if parent else None
        if parent is None or child.spawn_depth != 1 or child.id not in result["children"]:
            yield f"child {child.id} is at depth {child.spawn_depth} under {child.parent_task_id}"


def _retries(outcome: Outcome) -> Iterator[str]:
    for task in _of(outcome, "stumbler"):
        attempts = outcome.attempts[task.id]
        result: Any = task.last_result
        if len(attempts) < 2 or attempts[0].final is None or attempts[0].final.ok:
            yield f"its first attempt did not fail: {[attempt.outcome for attempt in attempts]}"
        elif result["attempt"] != attempts[-1].attempt:
            yield f"the result is of attempt {result['attempt']}, not of the last one"


def _answers(outcome: Outcome) -> Iterator[str]:
    counts = Counter(_key(event) for event in outcome.feed if event.kind == "senior_answered")
    for question in outcome.questions:
        given = outcome.answered.get(question.key)
        if question.status != "answered" or question.answer != given or counts[question.key] != 1:
            yield f"{question.key} is {question.status} with {question.answer!r}, {counts[question.key]} times"
        if "demo-desk" not in question.delivered_to:
            yield f"{question.key} never reached the console"
    used: list[Any] = [task.last_result for task in _of(outcome, "editor")]
    for result in used:
        if outcome.answered.get(result["asked"]) != result["chosen"]:
            yield f"the worker continued with {result['chosen']!r}"


def _key(event: Event) -> str:
    return str(getattr(event, "key", ""))


def _kept(outcome: Outcome) -> Iterator[str]:
    passes = Counter(event.task_id for event in outcome.feed if event.kind == "task_pass")
    for task_id in outcome.passed_before:
        if passes[task_id] != 1 or outcome.tasks[task_id].status is not Status.PASS:
            yield f"{task_id} passed {passes[task_id]} times and is {outcome.tasks[task_id].status}"


def _events(outcome: Outcome) -> Iterator[str]:
    cursors: list[Any] = [event.cursor for event in outcome.feed]
    if any(not isinstance(one, int) or not isinstance(two, int) or one >= two for one, two in pairwise(cursors)):
        yield "the cursors do not grow"
    live = [event.cursor for event in outcome.followed][: len(cursors)]
    if live != cursors:
        yield f"followed live, through the restart, {len(live)} events were seen; the feed has {len(cursors)}"
    for kind in ("task_created", "task_pass"):
        counts = Counter(event.task_id for event in outcome.feed if event.kind == kind)
        yield from (
            f"{kind} of {task_id}: {counts[task_id]} times" for task_id in outcome.tasks if counts[task_id] != 1
        )


def _attempts(outcome: Outcome) -> Iterator[str]:
    for task_id, attempts in outcome.attempts.items():
        numbers = [attempt.attempt for attempt in sorted(attempts, key=lambda one: one.attempt)]
        good = [attempt for attempt in attempts if attempt.final is not None and attempt.final.ok]
        if numbers != list(range(1, len(numbers) + 1)) or numbers[-1:] != [outcome.tasks[task_id].attempt]:
            yield f"{task_id} has the attempts {numbers}"
        if len(good) != 1 or any(attempt.status != "ended" for attempt in attempts):
            yield f"{task_id} has {len(good)} good results in {len(attempts)} attempts"


def _restart(outcome: Outcome) -> Iterator[str]:
    if outcome.restart_s <= 0:
        yield "the server was never started again"
    if outcome.exit_status != 0:
        yield f"asked to stop, the server ended with status {outcome.exit_status}"
