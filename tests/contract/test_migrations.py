import asyncio
import re
from collections.abc import Iterable
from pathlib import Path

import apsw
import psycopg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from app.domain.errors import StoreUnavailable
from app.state import migrations, observed, schema, task_words
from app.state.opening import open_store
from app.state.postgres.store import PostgresStore
from app.state.sqlite.store import SqliteStore
from app.state.statements import Dialect
from tests.support import notes

DIALECTS: dict[str, sa.Dialect] = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}

PG_COLUMNS = """
SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, collation_name
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
ORDER BY 1, 3
"""
PG_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"


def created_directly(dialect: Dialect) -> list[str]:
    """The statements that make `app.state.schema` as it stands."""
    found: list[str] = []
    for table in observed.metadata.sorted_tables:
        found.append(str(CreateTable(table).compile(dialect=DIALECTS[dialect])))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        found += [str(CreateIndex(index).compile(dialect=DIALECTS[dialect])) for index in indexes]
    return [*found, *task_words.TABLES[dialect]]


def sqlite_objects(statements: Iterable[str]) -> dict[str, str]:
    """What SQLite says that it holds after these statements, white space aside."""
    raw = apsw.Connection(":memory:")
    for statement in statements:
        raw.execute(statement)
    rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    return {str(name): re.sub(r"\s+", "", str(sql)) for name, sql in rows}


def all_revisions(dialect: Dialect) -> tuple[str, ...]:
    """The statements of every migration, oldest first."""
    return migrations.statements(dialect, migrations.revisions())


def test_migrated_sqlite_is_what_the_schema_says() -> None:
    """Migrations and schema make the same SQLite database."""
    assert sqlite_objects(all_revisions("sqlite")) == sqlite_objects(created_directly("sqlite"))


def test_migrated_postgres_is_what_the_schema_says(empty_postgres_url: str) -> None:
    """Migrations and schema make the same PostgreSQL database."""
    seen: list[list[list[object]]] = []
    for statements in (all_revisions("postgresql"), created_directly("postgresql")):
        with psycopg.connect(empty_postgres_url) as raw:
            for statement in statements:
                raw.execute(statement.encode())
            seen.append([[*map(list, raw.execute(query).fetchall())] for query in (PG_COLUMNS, PG_INDEXES)])
            raw.rollback()
    assert seen[0] == seen[1]
    assert len(seen[0][0]) > 100


def _of_kind(kind: str) -> str:
    """Insert an attempt of this kind as schema 0002 has it."""
    cells = {
        str(column.name): "0" if isinstance(column.type, (sa.BigInteger, sa.SmallInteger)) else f"'{kind}'"
        for column in schema.attempts.columns
        if column.server_default is None and not column.nullable
    }
    return f"INSERT INTO attempts ({', '.join(cells)}) VALUES ({', '.join(cells.values())})"  # noqa: S608 - constants


BEFORE_0003 = ("0001", "0002")
PROPERTIES = "SELECT kind, detached, hands_out_handle FROM attempts ORDER BY kind"
KNOWN = [("external", 1, 1), ("http", 0, 0), ("of_a_plugin", 0, 0), ("queue", 1, 0)]


def test_sqlite_attempts_of_before_get_their_spawners_properties() -> None:
    """Which spawners need no driver, and which hand their handle out, was known by name until schema 0003."""
    raw = apsw.Connection(":memory:")
    before = [*migrations.statements("sqlite", BEFORE_0003), *(_of_kind(kind) for kind, _, _ in KNOWN)]
    for statement in (*before, *migrations.statements("sqlite", ("0003",))):
        raw.execute(statement)
    assert raw.execute(PROPERTIES).fetchall() == KNOWN


def test_postgres_attempts_of_before_get_their_spawners_properties(empty_postgres_url: str) -> None:
    """The other database fills them in by the same statements."""
    before = [*migrations.statements("postgresql", BEFORE_0003), *(_of_kind(kind) for kind, _, _ in KNOWN)]
    with psycopg.connect(empty_postgres_url) as raw:
        for statement in (*before, *migrations.statements("postgresql", ("0003",))):
            raw.execute(statement.encode())
        assert raw.execute(PROPERTIES).fetchall() == KNOWN
        raw.rollback()


def _task(task_id: str, parent: str | None) -> str:
    """Insert a task as schema 0003 has it."""
    cells = {
        str(column.name): "0" if isinstance(column.type, (sa.BigInteger, sa.SmallInteger)) else "'x'"
        for column in schema.tasks.columns
        if column.server_default is None and not column.nullable
    } | {"id": f"'{task_id}'", "parent_task_id": "NULL" if parent is None else f"'{parent}'"}
    return f"INSERT INTO tasks ({', '.join(cells)}) VALUES ({', '.join(cells.values())})"  # noqa: S608 - constants


BEFORE_0004 = (*BEFORE_0003, "0003")
# Children come before their parents as well, and one has none any more.
TREE = [("a", "r"), ("b", "a"), ("c", "b"), ("other", None), ("below", "other"), ("r", None), ("stray", "gone")]
ROOTS = [("a", "r"), ("b", "r"), ("below", "other"), ("c", "r"), ("other", None), ("r", None), ("stray", None)]
FOUND_ROOTS = "SELECT id, root_task_id FROM tasks ORDER BY id"


def test_sqlite_tasks_of_before_get_their_roots() -> None:
    """Limits of trees of tasks count by the root, which was not recorded until schema 0004."""
    raw = apsw.Connection(":memory:")
    before = [*migrations.statements("sqlite", BEFORE_0004), *(_task(*one) for one in TREE)]
    for statement in (*before, *migrations.statements("sqlite", ("0004",))):
        raw.execute(statement)
    assert raw.execute(FOUND_ROOTS).fetchall() == ROOTS


def test_postgres_tasks_of_before_get_their_roots(empty_postgres_url: str) -> None:
    """The other database finds the same roots."""
    before = [*migrations.statements("postgresql", BEFORE_0004), *(_task(*one) for one in TREE)]
    with psycopg.connect(empty_postgres_url) as raw:
        for statement in (*before, *migrations.statements("postgresql", ("0004",))):
            raw.execute(statement.encode())
        assert raw.execute(FOUND_ROOTS).fetchall() == ROOTS


BEFORE_0005 = (*BEFORE_0004, "0004")
OWNERS = "SELECT id, key_id FROM held_ids ORDER BY id"
ASKERS = "SELECT key, asker_keys FROM questions ORDER BY key"


def _principals_of_before() -> list[str]:
    """Keys, their sessions with ids, and attempts that asked, as releases before schema 0005 stored them."""

    def row(table: str, **cells: object) -> str:
        """An insert with what every such row needs."""
        shown = {name: f"'{value}'" if isinstance(value, str) else str(value) for name, value in cells.items()}
        return f"INSERT INTO {table} ({', '.join(shown)}) VALUES ({', '.join(shown.values())})"  # noqa: S608 - a test's rows

    made: list[str] = []
    for number, (name, root) in enumerate((("root", 1), ("a", 0), ("b", 0)), 1):
        made += [
            row("api_keys", id=f"K-{name}", name=name, roles="operator", digest=name, root=root, created_at=0),
            row(
                "tokens",
                jti=f"W-{name}",
                role="operator",
                subject=name,
                parent_jti=f"K-{name}",
                issued_at=0,
                expires_at=9,
            ),
            row(
                "sessions",
                id=f"S-{name}",
                operator_id=name,
                role="operator",
                jti=f"W-{name}",
                bridge_id="desk",
                hook_id=f"hook-{name}",
                operator_kind_overrides="{}",
                bp_agent_kinds="{}",
                rebuildable=1,
                attached=1,
                attached_at=number,
                last_seen=number,
                expires_at=9,
            ),
        ]
    attempt = {
        "agent": "a",
        "phase": "running",
        "kind": "queue",
        "spawner": "{}",
        "layers": "[]",
        "steps": 0,
        "repeatable": 1,
        "handle_expires_at": 9,
        "priority": 0,
        "turn": 0,
        "epoch": 1,
        "outputs": 0,
        "late": 0,
        "started_at": 0,
    }
    question = {
        "agent": "a",
        "purpose": "ask",
        "asked_by": "w",
        "asker_role": "worker",
        "question": "1",
        "on_deadline": "keep_waiting",
        "asked_at": 0,
        "delivered_to": "[]",
    }
    for task, more in (("T-1", {}), ("T-2", {"queue": "q", "process": '{"key":"K-b"}'})):
        made.append(row("attempts", task_id=task, attempt=1, jti=f"W-{task}", parent_jti="W-a", **attempt, **more))
        for status in ("open", "answered"):
            key = f"R-{task}-{status}"
            made.append(row("questions", key=key, task_id=task, attempt=1, status=status, **question))
    return made


OWNED = [("desk", "K-a"), ("hook-a", "K-a"), ("hook-b", "K-b")]
ASKED = [("R-T-1-answered", "[]"), ("R-T-1-open", '["K-a"]'), ("R-T-2-answered", "[]"), ("R-T-2-open", '["K-a","K-b"]')]


def test_sqlite_principals_of_before_are_found() -> None:
    """The first living key that named an id owns it, root aside; open questions descend from their attempt's keys."""
    raw = apsw.Connection(":memory:")
    before = [*migrations.statements("sqlite", BEFORE_0005), *_principals_of_before()]
    for statement in (*before, *migrations.statements("sqlite", ("0005",))):
        raw.execute(statement)
    assert (raw.execute(OWNERS).fetchall(), raw.execute(ASKERS).fetchall()) == (OWNED, ASKED)


def test_postgres_principals_of_before_are_found(empty_postgres_url: str) -> None:
    """The other database finds the same."""
    before = [*migrations.statements("postgresql", BEFORE_0005), *_principals_of_before()]
    with psycopg.connect(empty_postgres_url) as raw:
        for statement in (*before, *migrations.statements("postgresql", ("0005",))):
            raw.execute(statement.encode())
        assert (raw.execute(OWNERS).fetchall(), raw.execute(ASKERS).fetchall()) == (OWNED, ASKED)
        raw.rollback()


BEFORE_0005 = ("0001", "0002", "0003", "0004")
OF_BEFORE = (
    "INSERT INTO api_keys (id, name, roles, digest, root, created_at) VALUES ('K-r', 'root', 'operator', 'r', 1, 0)",
    "INSERT INTO api_keys (id, name, roles, digest, root, created_at) VALUES ('K-1', 'k', 'operator', 'd', 0, 0)",
    *(
        "INSERT INTO tokens (jti, role, subject, parent_jti, issued_at, expires_at)"  # noqa: S608 - constants
        f" VALUES ('{jti}', 'operator', 'o', '{parent}', 0, 0)"
        for jti, parent in (("W-1", "K-1"), ("W-2", "W-1"), ("W-9", "W-8"))
    ),
    "INSERT INTO resources (key, value, updated_at) VALUES ('r', '1', 0)",
    "INSERT INTO task_labels (name, value, task_id) VALUES ('a', 'b', 'T-1')",
    """INSERT INTO meta (name, value) VALUES ('loop', '{"paused":true,"by":"kim","since":1}')""",
)
FOUND = (
    ("SELECT name FROM namespaces WHERE id = 1", [("default",)]),
    ("SELECT id, namespace FROM api_keys ORDER BY id", [("K-1", 1), ("K-r", 0)]),
    (
        "SELECT jti, namespace, key_id FROM tokens ORDER BY jti",
        [("W-1", 1, "K-1"), ("W-2", 1, "K-1"), ("W-9", 1, None)],
    ),
    ("SELECT namespace, key, value FROM resources", [(1, "r", "1")]),
    ("SELECT namespace, name, value, task_id FROM task_labels", [(1, "a", "b", "T-1")]),
    ("SELECT name FROM meta WHERE name LIKE '%:1' ORDER BY name", [("loop:1",), ("paused:1",)]),
)


def _statements_around_0005(dialect: Dialect) -> list[str]:
    later = tuple(revision for revision in migrations.revisions() if revision not in BEFORE_0005)
    return [*migrations.statements(dialect, BEFORE_0005), *OF_BEFORE, *migrations.statements(dialect, later)]


def test_sqlite_rows_of_before_lie_in_the_default_namespace() -> None:
    """With the key that they descend from; root's key has no namespace, and the switch is that of the namespace."""
    raw = apsw.Connection(":memory:")
    for statement in _statements_around_0005("sqlite"):
        raw.execute(statement)
    assert [raw.execute(query).fetchall() for query, _ in FOUND] == [rows for _, rows in FOUND]


def test_postgres_rows_of_before_lie_in_the_default_namespace(empty_postgres_url: str) -> None:
    """The other database moves them by the same statements."""
    with psycopg.connect(empty_postgres_url) as raw:
        for statement in _statements_around_0005("postgresql"):
            raw.execute(statement.encode())
        assert [raw.execute(query.encode()).fetchall() for query, _ in FOUND] == [rows for _, rows in FOUND]
        raw.rollback()


def test_revisions_are_those_that_alembic_finds() -> None:
    """Alembic's own tools see the same line of revisions, each after the one before."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    found = [(script.revision, script.down_revision) for script in scripts.walk_revisions()]

    known = migrations.revisions()
    assert found[::-1] == list(zip(known, (None, *known), strict=False))


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_compiled_migrations_are_what_a_fresh_process_compiles(dialect: Dialect) -> None:
    """What is remembered is what compiling again yields, on several threads at once too."""
    compile_again = migrations.statements.__wrapped__
    again = await asyncio.gather(*(asyncio.to_thread(compile_again, dialect, migrations.revisions()) for _ in range(4)))
    assert set(again) == {all_revisions(dialect)}


async def test_opening_again_applies_nothing(durable_store_url: str) -> None:
    """A database that is up to date is left as it is."""
    store = open_store(durable_store_url)
    await store.open()
    await store.transact("write", notes.write("a", "1"))
    assert await store.read(lambda state: migrations.version(state.db)) == migrations.head()
    assert await store.transact("migrate", lambda state: migrations.migrate(state.db)) == ()
    await store.close()
    await store.open()
    assert await store.read(notes.read("a")) == "1"
    await store.close()


async def test_newer_database_is_refused(durable_store_url: str) -> None:
    """A database of a later release is not touched: the server says that it has to be upgraded."""
    store = open_store(durable_store_url)
    await store.open()
    await store.transact(
        "pretend", lambda state: state.db.change("UPDATE alembic_version SET version_num = '9999'", ())
    )
    await store.close()
    with pytest.raises(StoreUnavailable, match=r"9999.*upgrade the server"):
        await store.open()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_failed_migration_leaves_nothing(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that fails half way is undone as a whole, and opening again starts where it began."""
    url = ":memory:" if kind == "sqlite" else request.getfixturevalue("empty_postgres_url")
    store = SqliteStore(request.getfixturevalue("data_dir") / "x.db") if kind == "sqlite" else PostgresStore(url)
    real = migrations.statements

    def broken(dialect: Dialect, revisions: tuple[str, ...]) -> tuple[str, ...]:
        return (*real(dialect, revisions)[:10], "SELECT no_such_function()")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "statements", broken)
        with pytest.raises((apsw.SQLError, psycopg.errors.UndefinedFunction)):
            await store.open()
    await store.open()
    await store.check()
    await store.close()
