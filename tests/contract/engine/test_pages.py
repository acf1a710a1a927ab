"""Lists: a page is bounded by items and bytes, whatever its items hold, and reads no more than it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.json import Json
from app.domain.limits import Limits
from app.domain.outputs import Output, OutputEvent
from app.domain.questions import Ask
from app.engine.ops import pages
from app.engine.ops.outputs import LongOutput
from app.engine.ops.pages import preview
from app.engine.ops.task_filters import TaskFilter
from app.state.state import State
from app.state.statements import Connection, Dialect
from tests.support.swarms import Plan, Swarm, with_cfg

KIB = 1024
BIG = "ä" * 300 * KIB
PAGE_BYTES = 64 * KIB


class CountingConnection:
    """A connection that counts the bytes that its statements return."""

    def __init__(self, inner: Connection) -> None:
        self._inner = inner
        self.dialect: Dialect = inner.dialect
        self.bytes = 0

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        rows = self._inner.query(sql, args)
        self.bytes += sum(len(cell.encode()) for row in rows for cell in row if isinstance(cell, str))
        return rows

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        return self._inner.change(sql, args)

    def take_turn(self) -> None:
        self._inner.take_turn()

    def text_beginning(self, table: str, column: str, row_id: int, size: int) -> str:
        text = self._inner.text_beginning(table, column, row_id, size)
        self.bytes += len(text.encode())
        return text

    @property
    def feed_offset(self) -> int:
        return self._inner.feed_offset

    @property
    def last_row_id(self) -> int:
        return self._inner.last_row_id


@pytest.fixture
def plan(plan: Plan) -> Plan:
    """An engine with small pages and room for long values."""
    limits = replace(plan.cfg.limits, page_bytes=PAGE_BYTES)
    return replace(plan, cfg=replace(plan.cfg, limits=limits))


def size_of(text: Json | None) -> int:
    return len(text.text.encode()) if text is not None else 0


async def test_a_page_of_tasks_reads_and_holds_no_more_than_its_limit(swarm: Swarm) -> None:
    """Long directives are cut, long results of any other kind are null, and both are named."""
    ids = [await swarm.task(directive=BIG) for _ in range(12)]
    await swarm.engine.tasks.post_result(swarm.operator, ids[0], Json.of([BIG]))
    await swarm.engine.tasks.post_result(swarm.operator, ids[1], Json.of("x" * 9 * KIB))
    read: list[int] = []
    limits = swarm.engine.cfg.limits

    def run(state: State) -> pages.Page[Any]:
        counting = CountingConnection(state.db)
        state.db = counting
        page = pages.tasks(state, limits, 1, TaskFilter(), limit=200, cursor=None)
        read.append(counting.bytes)
        return page

    page = await swarm.engine.store.read(run)
    assert read[0] <= 2 * PAGE_BYTES

    found = {item.task.id: (item.task, cut) for item, cut in zip(page.items, page.cut, strict=True)}
    while page.next_cursor is not None:
        page = await swarm.engine.tasks.page(swarm.operator, limit=200, cursor=page.next_cursor)
        assert sum(size_of(item.task.directive) + size_of(item.task.last_result) for item in page.items) <= PAGE_BYTES
        found |= {item.task.id: (item.task, cut) for item, cut in zip(page.items, page.cut, strict=True)}
    assert found.keys() == set(ids)
    for task, cut in found.values():
        assert "initial_directive" in cut
        assert 4 * KIB - 8 <= size_of(task.directive) <= 4 * KIB
        assert BIG.startswith(task.directive.value)
    assert found[ids[0]][1] == ("initial_directive", "last_result")
    assert found[ids[0]][0].last_result == Json("null")
    result = found[ids[1]][0].last_result
    assert result is not None
    assert set(result.value) == {"x"}
    assert (await swarm.engine.tasks.read(swarm.operator, ids[1])).task.last_result == Json.of("x" * 9 * KIB)


async def test_one_item_always_comes(plan: Plan) -> None:
    """Even if it is longer than a page: the next page goes on after it."""
    labels = {f"l{n}": "v" * 200 for n in range(50)}
    async with with_cfg(plan, limits=replace(plan.cfg.limits, page_bytes=8 * KIB)).engine() as engine:
        swarm = await Swarm.over(engine, plan)
        first, second = await swarm.task(labels=labels), await swarm.task(labels=labels)

        page = await engine.tasks.page(swarm.operator, limit=200)
        behind = await engine.tasks.page(swarm.operator, limit=200, cursor=page.next_cursor)

    assert [item.task.id for item in page.items + behind.items] == [second, first]
    assert behind.next_cursor is None


async def test_questions_are_previews_in_the_inbox_and_whole_for_a_bridge(swarm: Swarm) -> None:
    """Either way a page ends before it is too long."""
    asked: list[str] = []
    for n in range(6):
        work = await swarm.external()
        question = await swarm.engine.questions.ask(work.handle, Ask(question=Json.of([n, "q" * 30 * KIB])))
        asked.append(question.key)

    inbox = await swarm.engine.questions.page(swarm.senior, limit=200)
    shown = await swarm.engine.questions.open_for(swarm.senior, "b")
    rest = await swarm.engine.questions.open_for(swarm.senior, "b", after=shown[-1].key)

    assert [item.key for item in inbox.items] == asked
    assert all(item.question == Json("null") for item in inbox.items)
    assert inbox.cut == [("question",)] * 6
    assert 1 <= len(shown) <= 3
    assert [item.key for item in shown + rest] == asked[: len(shown) + len(rest)]
    assert shown[0].question.value == [0, "q" * 30 * KIB]


async def test_attempts_show_a_preview_of_their_prompt_and_final(swarm: Swarm) -> None:
    """The prompt is the task's directive where the attempt has none of its own."""
    work = await swarm.external(await swarm.task(directive=BIG))
    await swarm.submit(work, {"text": BIG}, ok=False)
    again = await swarm.external(work.task_id)

    page = await swarm.engine.attempts.page(swarm.operator, work.task_id, limit=1)
    behind = await swarm.engine.attempts.page(swarm.operator, work.task_id, after=int(page.next_cursor or 0))
    whole = await swarm.engine.attempts.read(swarm.operator, work.task_id, 1)

    [first], [second] = page.items, behind.items
    assert (page.cut, behind.cut) == ([("prompt", "final")], [("prompt",)])
    assert second.attempt == again.attempt
    assert first.prompt is not None
    assert BIG.startswith(first.prompt.value)
    assert first.final == Json("null")
    assert (whole.prompt, whole.final) == (Json.of(BIG), Json.of({"text": BIG}))


async def test_outputs_come_in_pages_and_long_ones_as_their_size(swarm: Swarm) -> None:
    """Each is read whole by its number."""
    work = await swarm.external()
    sent = [
        OutputEvent.progress("reading", BIG),
        OutputEvent.partial([BIG]),
        OutputEvent.artifact('a "name"', {"big": BIG}),
        OutputEvent.progress("writing", "short"),
    ]
    for event in sent:
        await swarm.engine.workers.emit(work.handle, event)
    await swarm.submit(work, BIG, ok=False)

    page = await swarm.engine.attempts.outputs(swarm.operator, work.task_id, 1, limit=2)
    behind = await swarm.engine.attempts.outputs(
        swarm.operator, work.task_id, 1, after=int(page.next_cursor or 0), limit=200
    )

    noted, partial, artifact, short, final = [*page.items, *behind.items]
    assert behind.next_cursor is None
    assert isinstance(noted, LongOutput)
    assert (noted.fields["stage"], noted.cut) == (Json.of("reading"), ("note",))
    assert BIG.startswith(noted.fields["note"].value)
    assert isinstance(partial, LongOutput)
    assert (partial.fields, partial.cut, partial.bytes) == ({}, ("chunk",), size_of(sent[1].body))
    assert isinstance(artifact, LongOutput)
    assert (artifact.fields["name"], artifact.cut) == (Json.of('a "name"'), ("content",))
    assert isinstance(short, Output)
    assert isinstance(final, LongOutput)
    assert (final.fields["ok"], final.cut) == (Json.of(False), ("content",))
    for seq, event in enumerate(sent, 1):
        assert (await swarm.engine.attempts.output(swarm.operator, work.task_id, 1, seq)).body == event.body


async def test_an_event_is_short_whatever_its_reason(swarm: Swarm) -> None:
    """Streams and webhooks hold pages of hundreds of them."""
    task = await swarm.task()
    await swarm.engine.tasks.cancel(swarm.operator, task, reason=BIG)

    events = await swarm.events(task)

    assert all(size_of(event.data) <= 8 * KIB for event in events)
    reason = next(event.data.value["reason"] for event in events if event.data and "reason" in event.data.value)
    assert BIG.startswith(reason.removesuffix("…"))


@pytest.mark.parametrize("value", ['"' * 9000, "\x01" * 9000, "\\" * 9000, "😀" * 9000, "a" + "é" * 9000])
def test_a_cut_text_is_a_text(value: str) -> None:
    """Wherever the cut falls: no half escape, no half character."""
    text = Json.of(value).text
    for size in range(4085, 4097):
        beginning = text.encode()[:size].decode(errors="ignore")
        assert value.startswith(preview(beginning).value)
        assert size_of(preview(beginning)) in range(size - 12, size + 1)


def test_a_surrogate_pair_is_not_split() -> None:
    """Text that others escaped keeps its pairs."""
    beginning = '"' + "\\ud83d\\ude00" * 300
    for size in range(3000, 3030):
        assert set(preview(beginning[:size]).value) == {"😀"}


def test_the_defaults_are_those_that_are_documented() -> None:
    """200 items, 4 MiB, 4 KiB, 64 KiB."""
    limits = Limits()
    assert (limits.page_items, limits.page_bytes) == (200, 4 * KIB * KIB)
    assert (limits.item_value_bytes, limits.inline_output_bytes) == (4 * KIB, 64 * KIB)
