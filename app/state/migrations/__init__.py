"""The history of the schema, and what brings a database up to date.

Each revision in `versions/` is an Alembic script, written once for both dialects. The runner compiles the missing ones
to SQL (Alembic's offline mode) and hands over the statements, to be executed by the store's own driver in one
transaction together with the version row: a database is wholly at one version or wholly at the next.

A new revision: change `app.state.schema`, add `versions/NNNN_what.py` with the same change as Alembic operations
(additive, so that a server of the version before can still read), and let the contract tests compare the two.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from app.domain.errors import StoreUnavailable
from app.state.statements import Connection, Dialect

VERSION_TABLE = "alembic_version"
"""Alembic's own name, so that its tools understand the database too."""

_EXISTS = {
    "sqlite": f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{VERSION_TABLE}'",  # noqa: S608 - a constant
    "postgresql": f"SELECT 1 WHERE to_regclass('{VERSION_TABLE}') IS NOT NULL",
}


def head() -> str:
    """The version that this code is made for."""
    return revisions()[-1]


def version(db: Connection) -> str | None:
    """The version of a database; None when it is empty."""
    if not db.query(_EXISTS[db.dialect], ()):
        return None
    rows = db.query(f"SELECT version_num FROM {VERSION_TABLE}", ())  # noqa: S608 - a constant
    return rows[0][0] if rows else None


def migrate(db: Connection) -> tuple[str, ...]:
    """Bring the database up to date inside the transaction that is open on `db`; the revisions that were applied.

    Raises StoreUnavailable when a newer server has written the database.
    """
    current = version(db)
    known = revisions()
    if current is not None and current not in known:
        raise StoreUnavailable(
            f"the database is at version {current}, which this server does not know (its own is {known[-1]}): "
            "upgrade the server"
        )
    missing = known if current is None else known[known.index(current) + 1 :]
    for statement in statements(db.dialect, missing):
        db.change(statement, ())
    if missing:
        _write_version(db, current, missing[-1])
    return missing


def revisions() -> tuple[str, ...]:
    """Every revision, oldest first."""
    return tuple(script.revision for script in reversed(list(_scripts().walk_revisions())))


def statements(dialect: Dialect, wanted: Iterable[str]) -> list[str]:
    """The SQL of these revisions, one statement an item."""
    scripts = _scripts()
    collected = _Statements()
    # Named parameters keep the per cent sign as it is.
    context = MigrationContext.configure(
        dialect_name=dialect,
        dialect_opts={"paramstyle": "named"},
        opts={"as_sql": True, "output_buffer": collected},
    )
    with Operations.context(context):
        for revision in wanted:
            script: Any = scripts.get_revision(revision)
            script.module.upgrade()
    return collected.found


class _Statements(io.StringIO):
    """Alembic writes one statement at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def write(self, text: str, /) -> int:
        statement = text.strip().removesuffix(";")
        if statement:
            self.found.append(statement)
        return len(text)


def _write_version(db: Connection, current: str | None, new: str) -> None:
    if current is None:
        db.change(f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)", ())
    db.change(f"DELETE FROM {VERSION_TABLE}", ())  # noqa: S608 - a constant
    mark = "?" if db.dialect == "sqlite" else "%s"
    db.change(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ({mark})", (new,))  # noqa: S608 - constants


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return ScriptDirectory.from_config(config)
