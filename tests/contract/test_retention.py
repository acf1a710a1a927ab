from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import apsw
import pytest

from app.domain.attempts import Attempt, Phase
from app.domain.events import EventKind
from app.domain.handles import first_digest_of
from app.domain.outputs import LateResult, Output
from app.domain.questions import Question
from app.domain.sessions import Session
from app.domain.tasks import Status, Task
from app.domain.tokens import TokenRecord
from app.domain.usage import UsageRow
from app.state import migrations, retention
from app.state.opening import open_store
from app.state.policies import RetentionPolicy
from app.state.port import Store
from app.state.retention import sweep
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, LATE_RESULTS, OUTPUTS, QUESTIONS, SESSIONS, TASKS, TOKENS, USAGE
from tests.contract.conftest import PATIENT
from tests.support import rows

DAY = 86_400_000
NOW = 1_000 * DAY


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """Return an open store with a stopped clock."""
    opened = open_store(store_url, policy=PATIENT, clock=lambda: NOW)
    await opened.open()
    yield opened
    await opened.close()


TABLES: dict[type[Any], Any] = {
    Task: TASKS,
    Attempt: ATTEMPTS,
    Output: OUTPUTS,
    LateResult: LATE_RESULTS,
    Question: QUESTIONS,
    Session: SESSIONS,
    TokenRecord: TOKENS,
    UsageRow: USAGE,
}


async def put(store: Store, *things: Any) -> None:
    """Insert rows."""

    def operation(state: State) -> None:
        for thing in things:
            TABLES[type(thing)].insert(state.db, thing)

    await store.transact("put", operation, bulk=True)


async def change(store: Store, *statements: str) -> None:
    """Run plain SQL."""
    await store.transact("change", lambda state: [state.db.change(sql, ()) for sql in statements])


async def left(store: Store, column: str, table: str) -> list[Any]:
    """What a column holds, in order."""
    sql = f"SELECT {column} FROM {table} ORDER BY 1"  # noqa: S608 - names of this test
    return [row[0] for row in await store.read(lambda state: state.db.query(sql, ()))]


async def sweep_all(store: Store, policy: RetentionPolicy | None = None, *, limit: int = 100) -> list[int]:
    """Sweep until nothing is left to do; how many things each batch removed."""
    batches: list[int] = []
    while removed := await store.transact(
        "sweep", lambda state: sweep(state, policy or RetentionPolicy(), limit=limit), bulk=True
    ):
        batches.append(removed)
    return batches


async def test_old_task_goes_with_all_its_rows(store: Store) -> None:
    """Of a task finished long ago nothing is left; of a younger one everything."""
    for task_id, at in (("T-old", NOW - 31 * DAY), ("T-young", NOW - 29 * DAY)):
        await put(
            store,
            rows.task(task_id, settled_at=at),
            rows.attempt(task_id, ended_at=at),
            rows.output(task_id, 1),
            rows.output(task_id, 2),
            rows.late_result(task_id),
            rows.question(f"R-{task_id}", task_id),
            UsageRow(task_id, 1, "m", 1, None, 0.5),
        )
        await change(
            store,
            f"INSERT INTO task_labels VALUES (1, 'a', 'b', '{task_id}')",  # noqa: S608 - names of this test
        )
    assert sum(await sweep_all(store)) == 1
    assert await left(store, "id", "tasks") == ["T-young"]
    for table in ("attempts", "outputs", "usage", "late_results", "questions", "task_labels"):
        assert set(await left(store, "task_id", table)) == {"T-young"}, table


async def test_each_status_has_its_age(store: Store) -> None:
    """Blocked tasks, which could be tried again, stay longer; unfinished ones for ever."""
    for name, status in (("p", Status.PASS), ("c", Status.CANCELLED), ("b", Status.BLOCKED)):
        for days in (29, 31, 89, 91):
            await put(store, rows.task(f"T-{name}{days}", status=status, settled_at=NOW - days * DAY))
    await put(store, rows.task("T-r", status=Status.RUNNING, settled_at=None))
    await sweep_all(store)
    assert await left(store, "id", "tasks") == ["T-b29", "T-b31", "T-b89", "T-c29", "T-p29", "T-r"]


async def test_tree_goes_from_its_leaves(store: Store) -> None:
    """A task stays while one below it stays, or while its parent is not settled."""
    await put(
        store,
        rows.task("T-1"),
        rows.task("T-1a", parent_task_id="T-1"),
        rows.task("T-1b", parent_task_id="T-1a"),
        rows.task("T-2"),
        rows.task("T-2a", parent_task_id="T-2", status=Status.RUNNING, settled_at=None),
        rows.task("T-2b", parent_task_id="T-2a"),
        rows.task("T-3a", parent_task_id="T-gone"),
    )
    assert await sweep_all(store) == [2, 1, 1]
    assert await left(store, "id", "tasks") == ["T-2", "T-2a", "T-2b"]


async def test_task_with_anything_open_stays(store: Store) -> None:
    """A settled task whose attempt has steps to do, or that has an open question, is not touched."""
    await put(
        store,
        rows.task("T-1"),
        rows.attempt("T-1", phase=Phase.FINISHING, ended_at=None),
        rows.task("T-2", open_questions=1),
        rows.task("T-3", live=True),
    )
    assert await sweep_all(store) == []


async def test_batches_are_small(store: Store) -> None:
    """A batch removes the given number of tasks, and the rows of a very long task in several batches."""
    await put(store, *(rows.task(f"T-{n:02}") for n in range(25)))
    assert await sweep_all(store, limit=10) == [10, 10, 5]
    many = retention.OUTPUTS_AT_ONCE * 2 + 5
    await put(store, rows.task("T-long"), *(rows.output("T-long", seq) for seq in range(1, many + 1)))
    assert await sweep_all(store) == [1, 1, 1]
    assert await left(store, "seq", "outputs") == []


async def test_handles_of_ended_attempts_go(store: Store) -> None:
    """A handle is forgotten some days after its attempt's end, or when that is gone, never while the attempt lives."""
    old, young = NOW - 8 * DAY, NOW - 6 * DAY
    await put(
        store,
        rows.task("T-1", status=Status.RUNNING, settled_at=None),
        rows.attempt("T-1", 1, ended_at=old),
        rows.attempt("T-1", 2, ended_at=young),
        rows.attempt("T-1", 3, phase=Phase.RUNNING, ended_at=None),
    )
    timed = [first_digest_of(old) + str(n) for n in range(1, 5)]
    plain = [str(n) * 64 for n in range(1, 5)]
    made = [(digest, n) for digests in (timed, plain) for n, digest in enumerate(digests, 1)]
    await change(store, *(f"INSERT INTO handles VALUES ('{digest}', 'T-1', {n}, {old})" for digest, n in made))  # noqa: S608
    await change(store, f"INSERT INTO handles VALUES ('{first_digest_of(young)}4', 'T-1', 4, {young})")  # noqa: S608
    assert await sweep_all(store, limit=1) == [2, 2]
    assert set(await left(store, "digest", "handles")) == {*timed[1:3], *plain[1:3], f"{first_digest_of(young)}4"}


async def test_dead_tokens_go_from_the_ends(store: Store) -> None:
    """A token's record stays for its time, and while a token or a living attempt hangs below it."""
    old, young = NOW - 8 * DAY, NOW - 6 * DAY
    await put(
        store,
        rows.token("K-1", expires_at=old),
        rows.token("K-2", expires_at=young),
        rows.token("K-3", expires_at=old),
        rows.token("K-3a", expires_at=young, parent_jti="K-3"),
        rows.token("K-4", expires_at=old),
        rows.token("K-4a", expires_at=old, parent_jti="K-4"),
        rows.token("K-5", expires_at=old),
        rows.attempt("T-1", phase=Phase.RUNNING, ended_at=None, parent_jti="K-5"),
        rows.token("K-6", expires_at=old),
        rows.attempt("T-1", 2, parent_jti="K-6"),
    )
    assert await sweep_all(store) == [3, 1]
    assert await left(store, "jti", "tokens") == ["K-2", "K-3", "K-3a", "K-5"]


async def test_old_sessions_without_tasks_go(store: Store) -> None:
    """A session stays for its time after it expired, and as long as a task of it is kept."""
    old, young = NOW - 31 * DAY, NOW - 29 * DAY
    await put(
        store,
        rows.session("S-1", expires_at=old),
        rows.session("S-2", expires_at=young),
        rows.session("S-3", expires_at=old),
        rows.task("T-1", status=Status.RUNNING, settled_at=None, session_id="S-3"),
    )
    assert await sweep_all(store) == [1]
    assert await left(store, "id", "sessions") == ["S-2", "S-3"]


async def test_old_idempotency_keys_go(store: Store) -> None:
    """A key is forgotten after a day."""
    hours = [
        f"INSERT INTO idempotency VALUES ('s', 'k{h}', '', '', {NOW - h * 3_600_000}, NULL)"  # noqa: S608
        for h in (1, 23, 25, 48)
    ]
    await change(store, *hours)
    assert await sweep_all(store, limit=1) == [1, 1]
    assert await left(store, "key", "idempotency") == ["k1", "k23"]


async def test_old_events_go_in_order(store: Store) -> None:
    """Events go from the oldest on, and cursors are never used again."""
    for days in (40, 35, 31, 29, 1):
        await store.transact("tell", lambda state: state.emit(EventKind.TASK_CREATED, namespace=1, task_id="T"))
        await change(
            store,
            f"UPDATE events SET at = {NOW - days * DAY} WHERE cursor = (SELECT max(cursor) FROM events)",  # noqa: S608
        )
    before = await left(store, "cursor", "events")
    assert await sweep_all(store, limit=2) == [2, 1]
    assert await left(store, "cursor", "events") == before[3:]
    await sweep_all(store, RetentionPolicy(events=timedelta(0)))
    await store.transact("tell", lambda state: state.emit(EventKind.TASK_CREATED, namespace=1, task_id="T"))
    assert min(await left(store, "cursor", "events")) > before[-1]


async def test_nothing_goes_where_no_age_is_set(store: Store) -> None:
    """None keeps for ever."""
    await put(store, rows.task("T-1"), rows.token("K-1"), rows.session("S-1"))
    await store.transact("tell", lambda state: state.emit(EventKind.TASK_CREATED, namespace=1))
    await change(store, "INSERT INTO idempotency VALUES ('s', 'k', '', '', 0, NULL)")
    keep = RetentionPolicy(finished=None, blocked=None, events=None, credentials=None, sessions=None, idempotency=None)
    assert await sweep_all(store, keep) == []


def all_statements() -> Iterator[tuple[str, Statement]]:
    """Every statement of the module, by name."""
    for name, value in vars(retention).items():
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        yield from ((name, part) for part in parts if isinstance(part, Statement))


def test_every_statement_uses_an_index() -> None:
    """No sweep reads a whole table, however large the database is."""
    raw = apsw.Connection(":memory:")
    for sql in migrations.statements("sqlite", migrations.revisions()):
        raw.execute(sql)
    found = list(all_statements())
    assert len(found) >= 18
    for name, statement in found:
        compiled = statement.compiled("sqlite")
        plan = raw.execute(f"EXPLAIN QUERY PLAN {compiled.sql}", [1] * len(compiled.names))
        details = [str(row[3]) for row in plan]
        assert not [line for line in details if line.startswith("SCAN")], (name, details)
        assert not [line for line in details if "TEMP B-TREE" in line], (name, details)
