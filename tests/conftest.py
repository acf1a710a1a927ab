"""Fixtures that every kind of test may use: real stores, real servers, nothing imitated.

Servers are started when a test first asks for one and are shared by the tests of one process; databases, data
directories and nodes are each test's own.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.state.opening import open_store
from tests.support.chromium import find_chromium
from tests.support.postgres import PostgresCluster, running_postgres
from tests.support.processes import ServerProcess

StartServer = Callable[..., ServerProcess]

STORES = ("sqlite-file", "sqlite-memory", "postgres")

MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - a file system, not a file
ENOUGH_ROOM = 2 * 1024**3


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run say how many nodes serve each end-to-end test."""
    parser.addoption("--nodes", type=int, default=1, help="how many nodes on one PostgreSQL database stand for one")


def pytest_configure() -> None:
    """Keep temporary files in memory where there is room: databases write so much that a disk would set the pace.

    Nothing here outlives the machine. A `TMPDIR` that is set already is left as it is.
    """
    if "TMPDIR" not in os.environ and MEMORY_DISK.is_dir() and _is_roomy(MEMORY_DISK):
        os.environ["TMPDIR"] = str(MEMORY_DISK)
        tempfile.tempdir = None


def _is_roomy(directory: Path) -> bool:
    system = os.statvfs(directory)
    # Tests put programs there, and start them.
    return system.f_bavail * system.f_frsize >= ENOUGH_ROOM and not system.f_flag & os.ST_NOEXEC


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one process more than there are cores: many tests wait for most of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests: at the end they would keep one process busy and the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """A PostgreSQL server for this process's tests."""
    with running_postgres() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_template(postgres_cluster: PostgresCluster) -> str:
    """The URL of a PostgreSQL database with all tables: copying it is faster than migrating an empty one."""
    url = postgres_cluster.create_database()
    # In a thread, since a fixture of a running loop may be the first to ask for it.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _migrate(url)).result()
    return url


async def _migrate(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()


@pytest.fixture
def postgres_url(postgres_cluster: PostgresCluster, postgres_template: str) -> Iterator[str]:
    """The URL of this test's own PostgreSQL database, with all tables and no rows but the store's own."""
    url = postgres_cluster.create_database(template=postgres_template)
    yield url
    postgres_cluster.drop_database(url)


@pytest.fixture
def empty_postgres_url(postgres_cluster: PostgresCluster) -> Iterator[str]:
    """The URL of this test's own PostgreSQL database, without a table."""
    url = postgres_cluster.create_database()
    yield url
    postgres_cluster.drop_database(url)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data directory."""
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, data_dir: Path) -> str:
    """The URL of an empty store, once per kind of store."""
    match request.param:
        case "sqlite-file":
            return f"sqlite:///{data_dir / 'swarmhold.db'}"
        case "sqlite-memory":
            return "sqlite:///:memory:"
        case _:
            return request.getfixturevalue("postgres_url")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """A function that starts a node and returns it when it is ready; all of them are ended after the test.

    It takes the fields of `ServerProcess` by keyword; without `data_dir` each node gets an empty one of its own.
    """
    with contextlib.ExitStack() as started:

        def start(*, data_dir: Path | None = None, **fields: object) -> ServerProcess:
            count = len(list(tmp_path.glob("node-*.log")))
            server = ServerProcess(data_dir or tmp_path / f"node-{count}", **fields)  # pyright: ignore[reportArgumentType] - checked by the call itself
            started.callback(server.kill)
            server.start()
            return server

        yield start


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The Chromium to drive. Without one the test is skipped, except in CI, where it fails."""
    found = find_chromium()
    if found is None:
        reason = "no Chromium is installed; `make browser-deps` as root installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
