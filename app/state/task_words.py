"""The index of words in tasks: FTS5 in SQLite, `tsvector` in PostgreSQL. `app.engine.indexing` fills it off every path.

It can always be made anew from the tasks, so it is no part of the schema's rows: nothing but the words is stored.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.domain.search_words import Phrase
from app.state.statements import Connection, Dialect

TABLES: dict[Dialect, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TABLE searched_tasks (doc INTEGER PRIMARY KEY, task_id TEXT NOT NULL UNIQUE)",
        "CREATE VIRTUAL TABLE task_words USING fts5"
        "(words, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 0')",
    ),
    "postgresql": (
        'CREATE TABLE task_words (task_id TEXT COLLATE "C" NOT NULL PRIMARY KEY, words tsvector NOT NULL)',
        "CREATE INDEX task_words_words ON task_words USING gin (words)",
    ),
}
"""The statements that create it."""

_NAME = "INSERT INTO searched_tasks (task_id) SELECT id FROM tasks WHERE id = ? ON CONFLICT (task_id) DO NOTHING"
_DOC = "SELECT doc FROM searched_tasks WHERE task_id = ?"
_WRITE = "INSERT OR REPLACE INTO task_words (rowid, words) VALUES (?, ?)"
_UPSERT = (
    "INSERT INTO task_words (task_id, words) SELECT id, %s::tsvector FROM tasks WHERE id = %s"
    " ON CONFLICT (task_id) DO UPDATE SET words = excluded.words"
)


class matches(FunctionElement[bool]):  # noqa: N801 - reads as a function where it is used
    """The condition that a task has what `query_text` of this dialect says, in a search for tasks."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(matches, "sqlite")
def _in_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    found = compiler.process(element.clauses, **options)
    docs = f"SELECT rowid FROM task_words WHERE task_words MATCH {found}"  # noqa: S608 - a parameter's placeholder
    return f"tasks.id IN (SELECT task_id FROM searched_tasks WHERE doc IN ({docs}))"  # noqa: S608 - the same


@compiles(matches, "postgresql")
def _in_postgres(element: Any, compiler: Any, **options: Any) -> str:
    found = compiler.process(element.clauses, **options)
    return f"tasks.id IN (SELECT task_id FROM task_words WHERE words @@ CAST({found} AS tsquery))"  # noqa: S608 - the same


def query_text(dialect: Dialect, phrases: list[Phrase]) -> str:
    """Return the parameter of `matches` for tasks that have all of these phrases."""
    if dialect == "sqlite":
        return " AND ".join(f'"{" ".join(one.words)}"{" *" if one.prefix else ""}' for one in phrases)
    return " & ".join(_postgres_phrase(one) for one in phrases)


def _postgres_phrase(phrase: Phrase) -> str:
    *before, last = (f"'{word}'" for word in phrase.words)
    return "(" + " <-> ".join([*before, last + (":*" if phrase.prefix else "")]) + ")"


def write(db: Connection, task_id: str, words: list[str]) -> None:
    """Index these words of a task, and no others; nothing if there is no such task."""
    if db.dialect == "postgresql":
        vector = " ".join(f"'{word}':{min(place, 16_383)}" for place, word in enumerate(words, start=1))
        db.change(_UPSERT, (vector, task_id))
        return
    db.change(_NAME, (task_id,))
    if found := db.query(_DOC, (task_id,)):
        db.change(_WRITE, (found[0][0], " ".join(words)))


def remove(db: Connection, task_id: str) -> None:
    """Remove the words of a task that is deleted."""
    if db.dialect == "postgresql":
        db.change("DELETE FROM task_words WHERE task_id = %s", (task_id,))
    elif found := db.query(_DOC, (task_id,)):
        db.change("DELETE FROM task_words WHERE rowid = ?", found[0])
        db.change("DELETE FROM searched_tasks WHERE doc = ?", found[0])
