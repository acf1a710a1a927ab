"""No hot call, page or timer reads a whole table, or sorts what it found, on either database."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from app.domain.json import Json
from app.domain.outputs import OutputEvent
from app.domain.questions import Ask, QuestionStatus
from app.domain.tasks import Status
from app.engine.ops import timers
from app.engine.ops.pages import TaskFilter
from app.state import feed, schema
from app.state.state import State
from app.state.statements import Connection, Dialect
from tests.support.swarms import Swarm

LARGE = set(schema.metadata.tables) - {"nodes", "namespaces", "meta", "api_keys"}
"""Tables that grow with what was done."""
INDEXES = {
    *("tasks_namespace", "tasks_status", "tasks_agent", "tasks_parent", "tasks_session"),
    *("tasks_unsettled_children", "tasks_unsettled_below", "tasks_retry"),
    *("attempts_due", "questions_due", "questions_namespace", "questions_status", "questions_task"),
    "events_task",
}
"""What hot calls, lists and timers need, each for a statement of its own. On few rows PostgreSQL takes any of them."""
READ_WHOLE = re.compile(r"Seq Scan on (\w+)|SCAN (\w+)$|SCAN (\w+) (?!USING)", re.MULTILINE)
SORTED = re.compile(r"TEMP B-TREE FOR ORDER BY|^\s*(?:->)?\s*(?:Incremental )?Sort ", re.MULTILINE)
INSERTS = "INSERT INTO"


class ExplainingConnection:
    """A connection that also notes the plan of every statement that it runs."""

    def __init__(self, inner: Connection, plans: dict[str, str]) -> None:
        self._inner = inner
        self._plans = plans
        self.dialect: Dialect = inner.dialect
        if self.dialect == "postgresql":
            # On tables of a few rows PostgreSQL would read them all.
            for setting in ("enable_seqscan", "enable_sort", "enable_bitmapscan"):
                inner.query(f"SELECT set_config('{setting}', 'off', true)", ())

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Note the plan, and run the statement."""
        self._explain(sql, args)
        return self._inner.query(sql, args)

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        """Note the plan, and run the statement."""
        self._explain(sql, args)
        return self._inner.change(sql, args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _explain(self, sql: str, args: tuple[Any, ...]) -> None:
        if sql not in self._plans and not sql.startswith(INSERTS):
            how = "EXPLAIN QUERY PLAN" if self.dialect == "sqlite" else "EXPLAIN"
            self._plans[sql] = "\n".join(str(row[-1]) for row in self._inner.query(f"{how} {sql}", args))


def explain(swarm: Swarm) -> dict[str, str]:
    """Let every operation from now on note its plans; return them by statement."""
    store: Any = swarm.engine.store
    plans: dict[str, str] = {}

    def noting(fn: Callable[[State], Any]) -> Callable[[State], Any]:
        def run(state: Any) -> Any:
            state.db = ExplainingConnection(state.db, plans)
            return fn(state)

        return run

    transact, read = store.transact, store.read
    store.transact = lambda op, fn, **options: transact(op, noting(fn), **options)
    store.read = lambda fn, **options: read(noting(fn), **options)
    return plans


async def live(swarm: Swarm) -> None:
    """Every hot call, a worker's and a senior's, and what the timers look at."""
    engine = swarm.engine
    work = await swarm.external()
    await engine.workers.payload(work.handle)
    await engine.workers.emit(work.handle, OutputEvent.progress("half"))
    question = await engine.questions.ask(work.handle, Ask(question=Json.of("Ship it?")))
    await engine.questions.answer(swarm.senior, question.key, Json.of("yes"))
    await swarm.submit(work)
    await engine.poll_task(swarm.operator, work.task_id, timedelta(0))
    await swarm.child(await swarm.external())
    queued = await swarm.task()
    await engine.dispatcher.dispatch(swarm.operator, queued, {"kind": "queue", "queue": "q"})
    await engine.cancel_task(swarm.operator, await swarm.task())
    await engine.with_state("due", lambda state: timers.due(state, 10))
    await engine.with_state("next", timers.next_due)


async def list_everything(swarm: Swarm, task_id: str) -> None:
    """Every list, by each of its filters."""
    engine, operator = swarm.engine, swarm.operator
    for wanted in (
        TaskFilter(),
        TaskFilter(oldest_first=True),
        TaskFilter(status=Status.PASS),
        TaskFilter(agent="coder"),
        TaskFilter(parent=task_id),
        TaskFilter(session=(await swarm.row(task_id)).session_id),
    ):
        for cursor in (None, task_id):
            await engine.tasks.page(operator, wanted, limit=2, cursor=cursor)
    filters: tuple[dict[str, Any], ...] = (
        {},
        {"status": QuestionStatus.OPEN},
        {"bridge_id": "b"},
        {"task_id": task_id},
    )
    for options in filters:
        await engine.questions.page(swarm.senior, **options)
    await engine.attempts.page(operator, task_id)
    await engine.attempts.usage(operator, task_id, [1])
    await engine.attempts.outputs(operator, task_id, 1)
    await engine.with_state("events", lambda state: feed.page(state.db, 0, 10, task_id))


async def test_hot_calls_pages_and_timers_go_by_index(swarm: Swarm) -> None:
    """However many tasks there are, each statement finds its rows, in their order."""
    work = await swarm.external()
    plans = explain(swarm)

    await live(swarm)
    await list_everything(swarm, work.task_id)

    assert len(plans) > 40
    used = set(re.findall(r"\w+", "\n".join(plans.values())))
    assert used >= INDEXES or swarm.plan.store_url.startswith("postgres"), INDEXES - used
    for sql, plan in plans.items():
        whole = {name for names in READ_WHOLE.findall(plan) for name in names}
        assert not whole & LARGE, (sql, plan)
        assert not SORTED.search(plan), (sql, plan)
