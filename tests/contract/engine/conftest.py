"""An engine over each kind of store that servers use; the engine's unit tests have it in memory."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.state.opening import open_store
from tests.support.clocks import HandClock
from tests.support.postgres import PostgresCluster
from tests.support.scripted import ScriptedFunction, TracingLayer
from tests.support.swarms import Plan, Swarm


async def _migrated(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables and nothing in them: copying it is faster than migrating."""
    path = tmp_path_factory.mktemp("template") / "swarmhold.db"
    asyncio.run(_migrated(str(path)))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_cluster: PostgresCluster) -> str:
    """The same as the name of a PostgreSQL database."""
    url = postgres_cluster.create_database()
    asyncio.run(_migrated(url))
    return url.rsplit("/", 1)[1]


@pytest.fixture
def migrated_postgres_url(postgres_cluster: PostgresCluster, postgres_template: str) -> Iterator[str]:
    """The URL of a database of this test's own."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_cluster.url(), autocommit=True) as connection:
        made = sql.SQL("create database {} template {}")
        connection.execute(made.format(sql.Identifier(name), sql.Identifier(postgres_template)))
    url = postgres_cluster.url(name)
    yield url
    postgres_cluster.drop_database(url)


@pytest.fixture(params=["sqlite-file", "postgres"])
def store_url(request: pytest.FixtureRequest, data_dir: Path) -> str:
    """The URL of an empty store, once per kind of store."""
    if request.param == "postgres":
        return request.getfixturevalue("migrated_postgres_url")
    path = data_dir / "swarmhold.db"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def clock() -> HandClock:
    """A clock that stands until it is moved."""
    return HandClock()


@pytest.fixture
def function() -> ScriptedFunction:
    """The function `scripted`, which comes out as the test says."""
    return ScriptedFunction()


@pytest.fixture
def trace() -> list[str]:
    """What the layers `one` and `two` wrote down."""
    return []


@pytest.fixture
def plan(store_url: str, clock: HandClock, function: ScriptedFunction, trace: list[str]) -> Plan:
    """What the engine is made of."""
    plan = Plan(store_url=store_url, clock=clock, layers=[TracingLayer("one", trace), TracingLayer("two", trace)])
    plan.functions.register("scripted", function)
    return plan


@pytest.fixture
async def swarm(plan: Plan) -> AsyncIterator[Swarm]:
    """A running engine with an operator, a senior and an observer."""
    engine = plan.engine()
    async with engine:
        yield await Swarm.over(engine, plan)
