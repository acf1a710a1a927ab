"""The servers that other tests stand on do what they promise."""

import asyncio

import psycopg
import pytest

from tests.support.ports import accepts, free_port
from tests.support.postgres import PostgresCluster, running_postgres
from tests.support.waiting import DeadlinePassedError, eventually, wait_until


def test_a_fresh_postgres_database_is_empty_and_its_own(
    postgres_cluster: PostgresCluster, empty_postgres_url: str
) -> None:
    """Two databases of one server do not see each other's tables."""
    other = postgres_cluster.create_database()
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        connection.execute("create table seen (id integer)")
    with psycopg.connect(other, autocommit=True) as connection:
        row = connection.execute("select count(*) from pg_tables where tablename = 'seen'").fetchone()
    postgres_cluster.drop_database(other)

    assert row == (0,)


def test_a_killed_postgres_comes_back_with_what_was_committed() -> None:
    """A durable cluster keeps a committed row through SIGKILL, on the same URL."""
    with running_postgres(durable=True) as cluster:
        url = cluster.create_database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table kept as select 7 as id")

        cluster.kill()
        cluster.start()

        with psycopg.connect(url) as connection:
            assert connection.execute("select id from kept").fetchone() == (7,)


async def test_waiting_ends_at_its_deadline_and_says_what_it_saw() -> None:
    """Both forms of waiting raise with the last value, and the asynchronous one ends a probe that hangs."""
    with pytest.raises(DeadlinePassedError, match="last seen: 0"):
        wait_until(lambda: 0, within=0.01)
    with pytest.raises(DeadlinePassedError):
        await eventually(asyncio.Event().wait, within=0.01)


async def test_waiting_returns_what_it_waited_for() -> None:
    """The first true value is the result."""
    values = iter([0, None, "ready"])

    assert await eventually(lambda: next(values)) == "ready"


async def test_a_probes_own_timeout_is_not_mistaken_for_the_deadline() -> None:
    """A TimeoutError that the probe raises goes through as it is."""

    async def impatient() -> bool:
        raise TimeoutError("the probe's own")

    with pytest.raises(TimeoutError, match="the probe's own"):
        await eventually(impatient)


def test_a_free_port_is_one_that_nothing_listens_on() -> None:
    """Nothing answers on the port that was just chosen."""
    assert not accepts(free_port())


def test_the_store_fixture_names_each_kind_of_store(store_url: str) -> None:
    """Each store has a URL of its own scheme."""
    assert store_url.startswith(("sqlite:///", "postgresql://"))
