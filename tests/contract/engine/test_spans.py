"""What gets a span: each attempt and question once, by the process whose transaction ended it, after the commit."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain import traces
from app.domain.errors import AlreadyAnswered, FinalConflict
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline
from app.domain.spans import Ended, EndedAttempt, SettledQuestion
from app.domain.tasks import RetryPolicy
from app.domain.traces import TRACE, Trace
from tests.support.swarms import Plan, StillEngine, Swarm, refused, with_cfg

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def ended() -> list[Ended]:
    """Everything that was handed to the writer of spans."""
    return []


@pytest.fixture
async def writing(plan: Plan, ended: list[Ended]) -> AsyncIterator[Swarm]:
    """A running engine that writes spans."""

    def write(found: Sequence[Ended]) -> None:
        ended.extend(found)

    traced = with_cfg(plan, writes_spans=True)
    engine = StillEngine(replace(traced.parts(), spans=write))
    async with engine:
        yield await Swarm.over(engine, traced)


def attempts(ended: list[Ended]) -> list[tuple[str, int, str]]:
    """Task, number and reason of each attempt."""
    rows = [one.attempt for one in ended if isinstance(one, EndedAttempt)]
    return [(row.task_id, row.attempt, str(row.reason)) for row in rows]


def questions(ended: list[Ended]) -> list[tuple[str, str]]:
    """Key and status of each question."""
    rows = [one.question for one in ended if isinstance(one, SettledQuestion)]
    return [(row.key, str(row.status)) for row in rows]


async def test_every_end_of_an_attempt_is_written_once(writing: Swarm, ended: list[Ended]) -> None:
    """By its Final, its timeout, the end of its lease, its task's cancelling; repeats and conflicts write nothing."""
    done, slow = await writing.external(), await writing.external(await writing.task(attempt_timeout_ms=1000))
    policy = RetryPolicy(max_attempts=2, backoff=0, jitter=0)
    silent = await writing.external(await writing.task(retry=policy), lease=timedelta(seconds=2))
    top = await writing.external()
    below = await writing.external_child(top)
    for _ in range(2):
        await writing.submit(done, "done")
    await refused(FinalConflict, writing.submit(done, "other"))
    assert attempts(ended) == [(done.task_id, 1, "final")]
    await writing.pass_time(1)
    await writing.pass_time(1)
    assert attempts(ended)[1:] == [(slow.task_id, 1, "timeout"), (silent.task_id, 1, "lost")]
    await writing.engine.cancel_task(writing.operator, top.task_id)
    assert {one[0] for one in attempts(ended)[3:]} == {top.task_id, below.task_id}
    assert len(ended) == 5
    first = ended[0]
    assert isinstance(first, EndedAttempt)
    row = await writing.attempt(done.task_id, 1)
    assert (first.attempt.started_at, first.attempt.ended_at) == (row.started_at, row.ended_at)
    assert (first.attempt.final, first.attempt.outcome) == (Json.of("done"), row.outcome)


async def test_every_end_of_a_question_is_written_once(writing: Swarm, ended: list[Ended]) -> None:
    """Answered, withdrawn with its task, expired; with the context of the call that did it."""
    work = await writing.external()
    soon = writing.clock() + 1000
    keys = [await writing.engine.query_senior(work.handle, work.task_id, n) for n in (1, 2)]
    TRACE.set(Trace(OTHER))
    try:
        await writing.engine.questions.answer(writing.senior, keys[0], Json.of("yes"))
    finally:
        TRACE.set(None)
    await writing.engine.questions.answer(writing.senior, keys[0], Json.of("yes"))
    await refused(AlreadyAnswered, writing.engine.questions.answer(writing.senior, keys[0], Json.of("no")))
    assert questions(ended) == [(keys[0], "answered")]
    answered = ended[0]
    assert isinstance(answered, SettledQuestion)
    assert (answered.by, answered.question.answered_at) == (OTHER, writing.clock())
    await writing.submit(work)
    assert questions(ended)[1:] == [(keys[1], "withdrawn")]
    attempt = next(one for one in ended if isinstance(one, EndedAttempt))
    assert attempt.questions == tuple(keys)
    lone = await writing.engine.questions.ask_alone(
        writing.operator, Ask(question=Json.of("?"), deadline=soon, on_deadline=OnDeadline.BLOCK)
    )
    await writing.pass_time(1)
    assert questions(ended)[2:] == [(lone.key, "expired")]


async def test_an_engine_that_writes_none_records_none(swarm: Swarm) -> None:
    """And its workers are handed their task's own context, as it came."""
    TRACE.set(Trace(PARENT))
    try:
        task_id = await swarm.task()
    finally:
        TRACE.set(None)
    work = await swarm.external(task_id)
    child = await swarm.external_child(work)
    for one in (work, child):
        assert (await swarm.engine.workers.payload(one.handle)).trace == PARENT
    assert (await swarm.engine.workers.payload((await swarm.external()).handle)).trace is None


async def test_a_worker_is_handed_its_attempts_own_span(writing: Swarm) -> None:
    """In the trace of its task, else in one of its tree's own; a child's attempt is below the attempt that began it."""
    TRACE.set(Trace(PARENT))
    try:
        task_id = await writing.task()
    finally:
        TRACE.set(None)
    work = await writing.external(task_id)
    own = traces.of_span(PARENT, task_id, traces.span_of_attempt(task_id, 1))
    assert (await writing.engine.workers.payload(work.handle)).trace == own
    child = await writing.external_child(work)
    assert (await writing.row(child.task_id)).trace == own
    alone = await writing.external()
    below = await writing.external_child(alone)
    found = [traces.parts((await writing.engine.workers.payload(one.handle)).trace or "") for one in (alone, below)]
    assert {one.trace_id for one in found} == {traces.trace_id_of(alone.task_id)}
    # A request that the server itself began a trace for does not take a child out of its parent's.
    TRACE.set(Trace(OTHER, begun=True))
    try:
        asked = await writing.child(work)
    finally:
        TRACE.set(None)
    assert (await writing.row(asked)).trace == own
