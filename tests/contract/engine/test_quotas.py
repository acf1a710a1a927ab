"""Quotas of attempts and of trees of tasks, counted in the transaction that they bound."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from app.domain.errors import AttemptSuperseded, Cancelled, PayloadTooLarge, QuotaExceeded
from app.domain.json import Json
from app.domain.limits import Limits
from app.domain.outputs import Output, OutputEvent
from app.domain.questions import Ask
from app.domain.tasks import TaskSpec
from app.domain.tokens import Handle
from app.engine.ops.outputs import LongOutput
from app.engine.ops.pages import Page
from app.spawning.ports import Draft, Layer, Lookup
from tests.support.scripted import IN_PROCESS, ScriptedFunction
from tests.support.swarms import Plan, Swarm, refused, unchanged


@asynccontextmanager
async def swarm_with(plan: Plan, limits: Limits) -> AsyncIterator[Swarm]:
    """An engine with these limits."""
    plan = replace(plan, cfg=replace(plan.cfg, limits=limits))
    async with plan.engine() as engine:
        yield await Swarm.over(engine, plan)


async def test_outputs_of_an_attempt_have_so_many_bytes(plan: Plan) -> None:
    """What would exceed them is refused, less is taken, and the Final gets through."""
    async with swarm_with(plan, Limits(output_bytes=200)) as swarm:
        work = await swarm.external()
        emit = swarm.engine.workers.emit
        await emit(work.handle, OutputEvent.partial("x" * 100))
        await unchanged(swarm, PayloadTooLarge, emit(work.handle, OutputEvent.partial("x" * 100)))
        await emit(work.handle, OutputEvent.partial("x" * 50))
        await swarm.submit(work, "y" * 1000)


@pytest.mark.parametrize(
    ("limits", "sizes", "kept"),
    [
        (Limits(outputs=2), (1, 1, 1, 1), ["partial", "partial", "progress"]),
        (Limits(output_bytes=100), (20, 200, 1, 1), ["partial", "progress"]),
    ],
)
async def test_a_driven_worker_loses_outputs_beyond_the_limits(
    plan: Plan, function: ScriptedFunction, limits: Limits, sizes: tuple[int, ...], kept: list[str]
) -> None:
    """One output says so, the others are counted, whoever calls is refused, and the Final counts."""
    async with swarm_with(plan, limits) as swarm:
        task = await swarm.task()
        await swarm.engine.dispatcher.dispatch(swarm.operator, task, IN_PROCESS)
        await function.called.wait()
        [job] = function.calls
        for size in sizes:
            await job.partial("x" * size)
        with pytest.raises((QuotaExceeded, PayloadTooLarge)):
            await swarm.engine.workers.emit(Handle(await job.handle()), OutputEvent.partial(1))
        function.give("done")
        outcome = await swarm.engine.dispatcher.join(task, 1, 10)

        assert outcome is not None
        assert outcome.value == Json.of("done")
        page = await swarm.engine.attempts.outputs(swarm.operator, task, 1)
        assert [row.type.value for row in rows_of(page)] == [*kept, "final"]
        assert rows_of(page)[-2].body.value["stage"] == "outputs dropped"
        assert swarm.engine.dispatcher.outputs_dropped == len(sizes) - len(kept) + 1


def rows_of(page: Page[Output | LongOutput]) -> list[Output]:
    """The outputs of a page, none of which is long."""
    return [row for row in page.items if isinstance(row, Output)]


async def test_late_results_have_so_many_bytes(plan: Plan) -> None:
    """The conflict says whether a result was kept; one that is there already counts as kept."""
    async with swarm_with(plan, Limits(late_bytes=100)) as swarm:
        work = await swarm.external()
        await swarm.engine.tasks.mark(swarm.operator, work.task_id, ok=False)

        for value, kept in (("a" * 50, True), ("b" * 60, False), ("a" * 50, True), ("c" * 20, True)):
            with pytest.raises(AttemptSuperseded) as conflict:
                await swarm.submit(work, value)
            assert conflict.value.kept is kept
        assert len((await swarm.engine.attempts.late(swarm.operator, work.task_id, 1)).items) == 2


async def test_a_cancelled_worker_stores_no_more_than_the_limit(plan: Plan) -> None:
    """The conflict says so."""
    async with swarm_with(plan, Limits(late_results=1)) as swarm:
        work = await swarm.external()
        await swarm.engine.tasks.cancel(swarm.operator, work.task_id)

        for value, kept in ((1, True), (2, False)):
            with pytest.raises(Cancelled) as conflict:
                await swarm.submit(work, value)
            assert conflict.value.kept is kept


async def test_nothing_is_kept_once_the_credential_is_past_its_life(swarm: Swarm) -> None:
    """A handle of last month stores nothing any more."""
    work = await swarm.external()
    await swarm.engine.tasks.mark(swarm.operator, work.task_id, ok=False)
    await swarm.pass_time(30 * 86_400)

    with pytest.raises(AttemptSuperseded) as conflict:
        await swarm.submit(work, "late")
    assert conflict.value.kept is False


async def test_a_task_has_so_many_open_questions(plan: Plan) -> None:
    """An answer makes room for another."""
    async with swarm_with(plan, Limits(open_questions=2, question_bytes=300)) as swarm:
        work = await swarm.external()
        ask = swarm.engine.questions.ask
        first = await ask(work.handle, Ask(question=Json.of(1)))
        await ask(work.handle, Ask(question=Json.of(2)))
        await unchanged(swarm, QuotaExceeded, ask(work.handle, Ask(question=Json.of(3))))
        await swarm.engine.questions.answer_trusted(first.key, Json.of("so"))
        long = Ask(
            question=Json.of("x" * 100), choices=Json.of(["x" * 100]), answer_schema=Json.of({"title": "x" * 100})
        )
        await unchanged(swarm, PayloadTooLarge, ask(work.handle, long))
        await ask(work.handle, Ask(question=Json.of(3)))


async def test_a_tree_of_tasks_grows_to_its_limits(plan: Plan) -> None:
    """Children of a task and descendants of its root are counted while they are unsettled."""
    async with swarm_with(plan, Limits(children=2, descendants=3)) as swarm:
        tasks, spec = swarm.engine.tasks, TaskSpec(agent="a", initial_directive="x")
        work = await swarm.external()
        first = await tasks.start(work.handle, spec)
        second = await tasks.start(work.handle, spec)
        await unchanged(swarm, QuotaExceeded, tasks.start(work.handle, spec))
        below = await swarm.external(first.task.id)
        await tasks.start(below.handle, spec)
        with pytest.raises(QuotaExceeded) as full:
            await tasks.start(below.handle, spec)
        assert full.value.fields() == {"quota": "descendants", "limit": 3}
        await tasks.cancel(swarm.operator, second.task.id)
        await tasks.start(below.handle, spec)


async def test_a_directive_has_so_many_bytes(plan: Plan) -> None:
    """That of a task, and the prompt that a senior injects."""
    async with swarm_with(plan, Limits(directive_bytes=10)) as swarm:
        start = swarm.engine.tasks.start
        await refused(PayloadTooLarge, start(swarm.operator, TaskSpec(agent="a", initial_directive="é" * 6)))
        made = await start(swarm.operator, TaskSpec(agent="a", initial_directive="é" * 5))
        await refused(PayloadTooLarge, swarm.engine.tasks.inject_directive(swarm.senior, made.task.id, "x" * 11))


class _Doubling(Layer):
    """A layer of another package that makes prompts longer."""

    key = "doubling"

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Say everything twice."""
        del look
        return replace(draft, prompt=draft.prompt * 2)


async def test_an_expanded_prompt_has_so_many_bytes(plan: Plan) -> None:
    """Whatever layer made it longer; the error says that it is the prompt, and the dispatch changes nothing."""
    async with swarm_with(replace(plan, layers=[_Doubling()]), Limits(directive_bytes=30)) as swarm:
        await swarm.engine.resources.put_trusted("long", Json.of("é" * 14))
        dispatch, external = swarm.engine.dispatcher.dispatch, {"kind": "external"}
        fits = await swarm.task(directive="a {{resource:long}}")
        longer = await swarm.task(directive="{{resource:long}} and {{resource:long}}"[:30])
        await dispatch(swarm.operator, fits, external, layers=["input_inject"])
        for task, layers in ((longer, ["input_inject", "doubling"]), (longer, ["doubling"])):
            error = await unchanged(swarm, PayloadTooLarge, dispatch(swarm.operator, task, external, layers=layers))
            assert str(error).startswith("The prompt with ")
            assert error.fields() == {"what": "directive", "limit": 30}
