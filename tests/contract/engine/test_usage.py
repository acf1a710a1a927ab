"""Usage that workers report: summed for attempts, tasks, trees of tasks and metrics."""

import asyncio
from typing import Any

import pytest

from app.domain.errors import AttemptSuperseded, Cancelled, InvalidName, InvalidRequest, TaskNotFound
from app.domain.outputs import OutputEvent
from app.domain.usage import MOST_SPENDERS, OTHER_MODEL, Usage, UsageTotals
from app.engine.ops import usage
from app.engine.ops.task_filters import TaskFilter
from tests.support.scripted import IN_PROCESS, ScriptedFunction
from tests.support.swarms import Swarm, Work, refused, unchanged

report = OutputEvent.usage


async def by_model(swarm: Swarm, work: Work) -> dict[str, Usage]:
    """What an attempt used."""
    found = await swarm.engine.attempts.usage(swarm.operator, work.task_id, [1])
    return {row.model: row.usage for row in found.get(1, [])}


async def listed(swarm: Swarm) -> dict[str, Usage | None]:
    """What the list of tasks says of each."""
    page = await swarm.engine.tasks.page(swarm.operator, TaskFilter())
    return {state.task.id: state.usage for state in page.items}


async def test_reports_of_an_attempt_are_added_up(swarm: Swarm) -> None:
    """By model, what is missing stays missing; a report renews the lease and is neither an output nor an event."""
    work, other = await swarm.external(), await swarm.external()
    before = await swarm.kinds(work.task_id)
    for event in (
        report(input_tokens=10, model="large"),
        report(input_tokens=5, output_tokens=3.0, cost=0.1, model="large"),
        report(cost=0.2),
        report(cost=0.1),
    ):
        await swarm.engine.workers.emit(work.handle, event)

    found = await by_model(swarm, work)
    assert found["large"] == Usage(input_tokens=15, output_tokens=3, cost=0.1)
    assert found[""].cost == pytest.approx(0.3)
    assert found[""].input_tokens is None
    of_task = (await listed(swarm))[work.task_id] or Usage()
    assert (of_task.input_tokens, of_task.output_tokens, of_task.cost) == (15, 3, pytest.approx(0.4))
    assert (await listed(swarm))[other.task_id] is None
    assert await swarm.kinds(work.task_id) == before
    assert await swarm.engine.output_tail(work.task_id, 1) == []
    counted = {who[1:]: used for who, used in swarm.engine.reports.used()}
    assert counted["coder", "large"] == Usage(input_tokens=15, output_tokens=3, cost=0.1)


async def test_concurrent_reports_are_all_counted(swarm: Swarm) -> None:
    """None overwrites another."""
    work = await swarm.external()
    await asyncio.gather(*(swarm.engine.workers.emit(work.handle, report(output_tokens=n)) for n in range(30)))
    assert (await by_model(swarm, work))[""].output_tokens == sum(range(30))


async def test_a_task_is_summed_with_those_below_it(swarm: Swarm) -> None:
    """Over all its attempts and descendants; a task elsewhere has no part in it, and a stranger no view of it."""
    root, stranger = await swarm.external(), await swarm.external()
    child = await swarm.external_child(root)
    grandchild = await swarm.external_child(child)
    for work, tokens in ((root, 1), (child, 10), (grandchild, 100), (stranger, 1000)):
        await swarm.engine.workers.emit(work.handle, report(input_tokens=tokens))
    await swarm.submit(root, ok=False)
    again = await swarm.external(root.task_id)
    await swarm.engine.workers.emit(again.handle, report(input_tokens=2, cost=1))

    found = await swarm.engine.attempts.usage_of_tree(swarm.observer, root.task_id)
    assert (found.own, found.total) == (Usage(input_tokens=3, cost=1.0), Usage(input_tokens=113, cost=1.0))
    assert (found.tasks, found.complete) == (2, True)
    leaf = await swarm.engine.attempts.usage_of_tree(swarm.operator, grandchild.task_id)
    assert (leaf.own, leaf.total, leaf.tasks) == (Usage(input_tokens=100), Usage(input_tokens=100), 0)
    await refused(TaskNotFound, swarm.engine.attempts.usage_of_tree(swarm.operator, "T-" + "0" * 26))


async def test_of_a_crowd_of_descendants_so_many_are_added_up(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the sum says that it is not whole."""
    monkeypatch.setattr(usage, "MOST_TASKS", 2)
    root = await swarm.external()
    for _ in range(3):
        await swarm.engine.workers.emit((await swarm.external_child(root)).handle, report(input_tokens=1))
    found = await swarm.engine.attempts.usage_of_tree(swarm.operator, root.task_id)
    assert not found.complete
    assert found.total.input_tokens == found.tasks


async def test_an_attempt_has_so_many_models(swarm: Swarm) -> None:
    """What comes with more of them is added up as one, and nothing is lost."""
    work = await swarm.external()
    for n in range(usage.MOST_MODELS + 3):
        await swarm.engine.workers.emit(work.handle, report(input_tokens=1, model=f"m{n}"))
    await swarm.engine.workers.emit(work.handle, report(input_tokens=1, model="m0"))
    found = await by_model(swarm, work)
    assert len(found) == usage.MOST_MODELS + 1
    assert (found["m0"].input_tokens, found[OTHER_MODEL].input_tokens) == (2, 3)


async def test_a_report_after_the_end_is_refused_as_outputs_are(swarm: Swarm) -> None:
    """Of an attempt that ended, and of one whose task was cancelled."""
    ended, cancelled = await swarm.external(), await swarm.external()
    await swarm.submit(ended)
    await swarm.engine.tasks.cancel(swarm.operator, cancelled.task_id)
    for error, work in ((AttemptSuperseded, ended), (Cancelled, cancelled)):
        await unchanged(swarm, error, swarm.engine.workers.emit(work.handle, report(input_tokens=1)))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "m"},
        {"input_tokens": -1},
        {"output_tokens": 10**9 + 1},
        {"input_tokens": 1.5},
        {"input_tokens": True},
        {"input_tokens": "1"},
        {"cost": -0.1},
        {"cost": 1_000_001},
        {"cost": "1"},
        {"cost": 1, "model": 1},
    ],
)
async def test_a_report_that_makes_no_sense_changes_nothing(swarm: Swarm, fields: dict[str, Any]) -> None:
    """Nothing, less than nothing, parts of tokens and more than anybody uses."""
    work = await swarm.external()
    await unchanged(swarm, InvalidRequest, swarm.engine.workers.emit(work.handle, report(**fields)))
    await unchanged(swarm, InvalidName, swarm.engine.workers.emit(work.handle, report(cost=1, model="\u202e")))


async def test_a_function_of_the_server_reports_too(swarm: Swarm, function: ScriptedFunction) -> None:
    """It needs no handle for it, and limits of outputs do not bound it."""
    task = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task, IN_PROCESS)
    await function.called.wait()
    [job] = function.calls
    await job.usage(input_tokens=7, cost=0.5, model="m")
    found = await swarm.engine.attempts.usage(swarm.operator, task, [1])
    assert [(row.model, row.usage) for row in found[1]] == [("m", Usage(input_tokens=7, cost=0.5))]


def test_counters_have_a_bounded_number_of_labels() -> None:
    """Of each namespace; what has none of its own is counted as another's."""
    totals = UsageTotals()
    for n in range(MOST_SPENDERS + 5):
        totals.add((1, f"agent{n}", "m"), Usage(input_tokens=1))
    totals.add((1, "agent0", "m"), Usage(input_tokens=1))
    totals.add((2, "late", "m"), Usage(input_tokens=1))
    found = dict(totals.items())
    assert len(found) == MOST_SPENDERS + 2
    assert found[1, OTHER_MODEL, OTHER_MODEL].input_tokens == 5
    assert (found[1, "agent0", "m"].input_tokens, found[2, "late", "m"].input_tokens) == (2, 1)
