"""Schema migrations: the revisions, and the function that brings a database up to date.

Each revision is an Alembic script in `versions/`, written once for both dialects. The missing ones are compiled to SQL
(Alembic's offline mode) and executed by the store's own driver in one transaction together with the version row: a
database is entirely at one version or entirely at the next.

To add a revision: change `app.state.schema`, add `versions/vNNNN_what.py` with the same change as Alembic operations
(additive, so that a server of the previous version can still read), and let the contract tests compare the two.
"""

from __future__ import annotations

import io
import threading
from functools import cache
from importlib import import_module
from pathlib import Path

from app.domain.errors import StoreUnavailable
from app.state.statements import Connection, Dialect

VERSION_TABLE = "alembic_version"
"""Alembic's own name, so that its tools understand the database too."""

_EXISTS = {
    "sqlite": f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{VERSION_TABLE}'",  # noqa: S608 - a constant
    "postgresql": f"SELECT 1 WHERE to_regclass('{VERSION_TABLE}') IS NOT NULL",
}
_compiling = threading.Lock()


def head() -> str:
    """Return the version that this code works with."""
    return revisions()[-1]


def version(db: Connection) -> str | None:
    """Return the version of a database; None when it is empty."""
    if not db.query(_EXISTS[db.dialect], ()):
        return None
    rows = db.query(f"SELECT version_num FROM {VERSION_TABLE}", ())  # noqa: S608 - a constant
    return rows[0][0] if rows else None


def migrate(db: Connection) -> tuple[str, ...]:
    """Apply the missing revisions inside the transaction that is open on `db`, and return them.

    Raises StoreUnavailable when the database was written by a newer server.
    """
    current = version(db)
    known = revisions()
    if current is not None and current not in known:
        raise StoreUnavailable(
            f"the database is at version {current}, which this server does not know (its own is {known[-1]}): "
            "upgrade the server"
        )
    missing = known if current is None else known[known.index(current) + 1 :]
    if missing:
        for statement in statements(db.dialect, missing):
            db.change(statement, ())
        _write_version(db, current, missing[-1])
    return missing


def revisions() -> tuple[str, ...]:
    """Return the identifiers of all revisions, oldest first."""
    return tuple(_scripts())


@cache
def statements(dialect: Dialect, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Compile revisions to SQL statements, once per process. Safe to call on any thread."""
    # Loading Alembic takes longer than anything else here, and most databases are up to date.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    collected = _Statements()
    # With named parameters a per cent sign is not doubled.
    context = MigrationContext.configure(
        dialect_name=dialect,
        dialect_opts={"paramstyle": "named"},
        opts={"as_sql": True, "output_buffer": collected},
    )
    # The operations that scripts call are global to the process.
    with _compiling, Operations.context(context):
        for revision in wanted:
            import_module(_scripts()[revision]).upgrade()
    return tuple(collected.found)


class _Statements(io.StringIO):
    """Collects the statements that Alembic writes, one per call."""

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
    placeholder = "?" if db.dialect == "sqlite" else "%s"
    db.change(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ({placeholder})", (new,))  # noqa: S608 - constants


@cache
def _scripts() -> dict[str, str]:
    """Return the module of each revision, oldest first: `vNNNN_what` is revision `NNNN`."""
    names = sorted(path.stem for path in (Path(__file__).parent / "versions").glob("v*.py"))
    return {name[1:].partition("_")[0]: f"{__name__}.versions.{name}" for name in names}
