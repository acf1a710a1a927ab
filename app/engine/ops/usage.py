"""Usage that workers report: one row for each attempt and model, written by a report alone, and sums of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from app.domain.attempts import Attempt
from app.domain.json import Json
from app.domain.usage import OTHER_MODEL, Usage, UsageRow, read_report
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import USAGE

MOST_MODELS = 16
"""Models of an attempt that have a row of their own; what comes with more of them is added up as `other`."""
MOST_TASKS = 10_000
"""Tasks below a task that are added up."""

_U, _T = schema.usage.c, schema.tasks.c
_SUMS = (
    sa.cast(sa.func.sum(_U.input_tokens), sa.BigInteger),
    sa.cast(sa.func.sum(_U.output_tokens), sa.BigInteger),
    sa.func.sum(_U.cost),
)
_OF_TASK = Statement(sa.select(*_SUMS).where(_U.task_id == sa.bindparam("of_task")))
_COUNT = Statement(
    sa.select(sa.func.count()).where(_U.task_id == sa.bindparam("of_task"), _U.attempt == sa.bindparam("of_attempt"))
)
_OF_ATTEMPTS = USAGE.search(
    _U.task_id == sa.bindparam("of_task"),
    _U.attempt.between(sa.bindparam("first"), sa.bindparam("last")),
    order=(_U.attempt, _U.model),
)
_SUMS_OF_EACH = "CAST(sum(input_tokens) AS bigint), CAST(sum(output_tokens) AS bigint), sum(cost)"
_OF_TASKS = {
    # Written as a cross join, each task is looked up; SQLite would rather read the whole table.
    "sqlite": f"SELECT value, {_SUMS_OF_EACH} FROM json_each(?) CROSS JOIN usage ON task_id = value GROUP BY value",  # noqa: S608 - constants
    "postgresql": f"SELECT task_id, {_SUMS_OF_EACH} FROM usage"  # noqa: S608 - constants
    " WHERE task_id = ANY (ARRAY(SELECT json_array_elements_text(%s::json))) GROUP BY task_id",
}


def _of_tree() -> Statement:
    below = sa.select(_T.id).where(_T.parent_task_id == sa.bindparam("root")).cte("below", recursive=True)
    child = schema.tasks.alias("child").c
    below = below.union_all(sa.select(child.id).where(child.parent_task_id == below.c.id))
    some = sa.select(below.c.id).limit(sa.bindparam("most")).cte("some_below")
    count = sa.select(sa.func.count()).select_from(some).scalar_subquery()
    return Statement(sa.select(count, *_SUMS).select_from(some.join(schema.usage, _U.task_id == some.c.id)))


_OF_TREE = _of_tree()


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeUsage:
    """Usage of a task, and in all with the `tasks` below it; `complete` unless there are more than are added up."""

    task_id: str
    own: Usage
    total: Usage
    tasks: int
    complete: bool


def add(state: State, attempt: Attempt, body: Json) -> None:
    """Add a report to what the attempt used. It is no event: the feed does not grow by it.

    Raises InvalidRequest, InvalidName.
    """
    model, used = read_report(body.value)
    row = USAGE.get(state.db, attempt.task_id, attempt.attempt, model)
    if row is None and _has_most_models(state, attempt):
        model = OTHER_MODEL
        row = USAGE.get(state.db, attempt.task_id, attempt.attempt, model)
    key = (attempt.task_id, attempt.attempt, model)
    total = used if row is None else row.usage.plus(used)
    if row is None:
        USAGE.insert(state.db, UsageRow(*key, total.input_tokens, total.output_tokens, total.cost))
    else:
        cells = {"input_tokens": total.input_tokens, "output_tokens": total.output_tokens, "cost": total.cost}
        USAGE.update(state.db, *key, **cells)
    state.used((attempt.namespace, attempt.agent, model), used)


def _has_most_models(state: State, attempt: Attempt) -> bool:
    return _COUNT.query(state.db, of_task=attempt.task_id, of_attempt=attempt.attempt)[0][0] >= MOST_MODELS


def of_tasks(state: State, ids: Sequence[str]) -> dict[str, Usage]:
    """Return what each of these tasks used itself; one without reports is left out."""
    if not ids:
        return {}
    rows = state.db.query(_OF_TASKS[state.db.dialect], (Json.of(list(ids)).text,))
    return {task_id: _usage(*sums) for task_id, *sums in rows}


def of_attempts(state: State, task_id: str, numbers: Iterable[int]) -> dict[int, list[UsageRow]]:
    """Return what attempts of a task used, by model; one without reports is left out."""
    wanted = set(numbers)
    if not wanted:
        return {}
    found: dict[int, list[UsageRow]] = {}
    for row in _OF_ATTEMPTS.all(state.db, of_task=task_id, first=min(wanted), last=max(wanted)):
        found.setdefault(row.attempt, []).append(row)
    return found


def of_tree(state: State, task_id: str) -> TreeUsage:
    """Return what a task used, and what it used together with the tasks below it."""
    own = _usage(*_OF_TASK.query(state.db, of_task=task_id)[0])
    [(tasks, *sums)] = _OF_TREE.query(state.db, root=task_id, most=MOST_TASKS + 1)
    total = own.plus(_usage(*sums))
    return TreeUsage(task_id=task_id, own=own, total=total, tasks=tasks, complete=tasks <= MOST_TASKS)


def _usage(input_tokens: int | None, output_tokens: int | None, cost: float | None) -> Usage:
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost)
