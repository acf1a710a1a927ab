"""A Final is stored with its attempt, and everything that shows it reads it there."""

from __future__ import annotations

from typing import Any

from app.domain.json import Json
from app.domain.outputs import Output, OutputEvent, OutputType
from app.domain.tasks import Status
from app.engine.ops.outputs import LongOutput
from tests.support.swarms import Swarm

BIG = "ä" * 100_000


async def copies(swarm: Swarm, text: str) -> int:
    """How many cells of the database hold the text."""
    return sum(text in str(cell) for rows in (await swarm.dump()).values() for row in rows for cell in row)


async def listed(swarm: Swarm, task_id: str, **bounds: Any) -> list[Output | LongOutput]:
    return (await swarm.engine.attempts.outputs(swarm.operator, task_id, 1, **bounds)).items


async def test_a_final_is_stored_once(swarm: Swarm) -> None:
    """Task, attempt, outputs and lists show it; there is one copy."""
    work = await swarm.external()
    await swarm.engine.workers.emit(work.handle, OutputEvent.progress("half"))
    await swarm.submit(work, BIG)
    await swarm.submit(work, BIG)

    assert await copies(swarm, BIG) == 1
    row = await swarm.row(work.task_id)
    assert (row.status, row.last_result) == (Status.PASS, Json.of(BIG))
    ended = await swarm.attempt(work.task_id)
    _, final = await swarm.engine.output_tail(work.task_id, 1)
    assert (final.seq, final.type, final.at) == (2, OutputType.FINAL, ended.ended_at)
    assert final.body == OutputEvent.final(BIG).body
    assert await swarm.engine.attempts.output(swarm.operator, work.task_id, 1, 2) == final
    [shown] = await listed(swarm, work.task_id, after=1)
    assert isinstance(shown, LongOutput)
    assert (shown.row.seq, shown.row.at, shown.bytes) == (2, final.at, len(final.body.text.encode()))
    [item] = (await swarm.engine.tasks.page(swarm.operator)).items
    assert item.task.last_result is not None
    assert BIG.startswith(item.task.last_result.value)
    assert 4_000 < len(item.task.last_result.text.encode()) <= 4_096


async def test_a_short_final_ends_the_pages_of_outputs(swarm: Swarm) -> None:
    """It is on a page of its own when the one before is full, and on none behind it."""
    work = await swarm.external()
    for step in ("one", "two"):
        await swarm.engine.workers.emit(work.handle, OutputEvent.progress(step))
    await swarm.submit(work, "three")

    page = await swarm.engine.attempts.outputs(swarm.operator, work.task_id, 1, limit=2)
    assert page.next_cursor == "2"
    assert await listed(swarm, work.task_id, limit=2, after=2) == (await swarm.engine.output_tail(work.task_id, 1))[2:]
    assert await listed(swarm, work.task_id, after=3) == []
    assert [item.seq for item in await listed(swarm, work.task_id) if isinstance(item, Output)] == [1, 2, 3]


async def test_the_result_is_the_attempts_final_until_it_is_another(swarm: Swarm) -> None:
    """Through another attempt and a verdict without a value; an interim result and a verdict's value replace it."""
    work = await swarm.external()
    await swarm.submit(work, BIG, ok=False)
    again = await swarm.external(work.task_id)
    assert (await swarm.row(work.task_id)).last_result == Json.of(BIG)

    await swarm.engine.cancel_task(swarm.operator, work.task_id)
    assert (await swarm.row(work.task_id)).last_result == Json.of(BIG)

    other = await swarm.external()
    await swarm.submit(other, BIG, ok=False)
    judged = await swarm.engine.tasks.override(swarm.senior, other.task_id, ok=True)
    assert judged.task.last_result == Json.of(BIG)
    assert await copies(swarm, BIG) == 2
    judged = await swarm.engine.tasks.override(swarm.senior, other.task_id, ok=False, value=Json.of("bad"))
    assert judged.task.last_result == Json.of("bad")

    await swarm.external(other.task_id)
    await swarm.engine.post_result(swarm.operator, other.task_id, "half")
    assert (await swarm.row(other.task_id)).last_result == Json.of("half")
    assert (await swarm.attempt(other.task_id, 1)).final == Json.of(BIG)
    assert again.attempt == 2


async def test_a_held_final_is_an_output_with_others_behind_it(swarm: Swarm) -> None:
    """What a layer makes of it is the task's result, and the attempt keeps the worker's own."""
    work = await swarm.external(layers=["senior_escalation"])
    await swarm.submit(work, "poor", ok=False)
    [question] = (await swarm.engine.questions.page(swarm.senior)).items
    await swarm.engine.resume(question.key, "fine")

    row = await swarm.row(work.task_id)
    assert row.last_result == Json.of({"original": "poor", "senior_answer": "fine"})
    assert (await swarm.attempt(work.task_id)).final == Json.of("poor")
    [final] = await swarm.engine.output_tail(work.task_id, 1)
    assert final.body == OutputEvent.final("poor", ok=False).body


async def test_a_poll_shows_texts_of_any_length_whole(swarm: Swarm) -> None:
    """Short ones are read at a glance, longer ones behind it, and very long ones beside the loop."""
    for asked, told in ((10, 10), (4_000, 50), (4_090, 4_090), (10, 5_000), (5_000, 10), (10, 300_000)):
        task_id = await swarm.task("coder", "d" * asked)
        await swarm.submit(await swarm.external(task_id), "r" * told)
        shown = (await swarm.engine.tasks.poll(swarm.operator, task_id)).task
        assert (shown.directive, shown.last_result) == (Json.of("d" * asked), Json.of("r" * told))
        assert shown == await swarm.row(task_id)
