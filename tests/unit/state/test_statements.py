from typing import Any

import pytest
import sqlalchemy as sa

from app.state import schema
from app.state.statements import Dialect, Statement

DIALECTS: tuple[Dialect, ...] = ("sqlite", "postgresql")
_T = schema.tasks.c


class Recorder:
    """A connection that only remembers."""

    feed_offset = 0
    last_row_id = 0

    def __init__(self, dialect: Dialect) -> None:
        self.dialect: Dialect = dialect
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        self.calls.append((sql, args))
        return []

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        self.calls.append((sql, args))
        return 0

    def take_turn(self) -> None:
        """Do nothing: there is one writer."""

    def text_beginning(self, table: str, column: str, row_id: int, size: int) -> str:
        return ""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_named_parameters_are_put_in_order(dialect: Dialect) -> None:
    """Values given by name reach the driver in the order of their places."""
    statement = Statement(
        sa.select(_T.id).where(_T.agent == sa.bindparam("agent"), _T.status == sa.bindparam("status"))
    )
    connection = Recorder(dialect)
    statement.query(connection, status="s", agent="a")
    assert connection.calls[0][1] == ("a", "s")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_constants_need_not_be_given(dialect: Dialect) -> None:
    """A statement's own constants, lists of them too, stand beside the values given."""
    statement = Statement(
        sa.select(_T.id).where(_T.status.not_in(["x", "y"]), _T.agent == sa.bindparam("agent"), _T.attempt == 7)
    )
    connection = Recorder(dialect)
    statement.query(connection, agent="a")
    assert connection.calls[0][1] == ("x", "y", "a", 7)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_statements_of_one_and_no_parameter(dialect: Dialect) -> None:
    """One parameter is a tuple of one, none an empty tuple."""
    connection = Recorder(dialect)
    Statement(sa.delete(schema.tasks).where(_T.id == sa.bindparam("key"))).change(connection, key="T-1")
    Statement(sa.delete(schema.tasks)).change(connection)
    assert [args for _, args in connection.calls] == [("T-1",), ()]


def test_forgotten_value_is_an_error() -> None:
    """A parameter without a value raises instead of meaning nothing."""
    statement = Statement(sa.select(_T.id).where(_T.agent == sa.bindparam("agent"), _T.id == sa.bindparam("key")))
    with pytest.raises(KeyError, match="agent"):
        statement.query(Recorder("sqlite"), key="T-1")


def test_lock_vanishes_where_there_is_one_writer() -> None:
    """FOR UPDATE is PostgreSQL's; SQLite's text has none of it."""
    statement = Statement(sa.select(_T.id).with_for_update(skip_locked=True))
    assert "FOR UPDATE SKIP LOCKED" in statement.compiled("postgresql").sql
    assert "FOR UPDATE" not in statement.compiled("sqlite").sql
