"""The number of nodes that serve each test: one, or with `--nodes=3` three, over which the requests are spread."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.spreading import Several, use_several

HERE = Path(__file__).parent
OWN_PROCESS = "it is about the process that it starts"
NO_POSTGRES = "nodes share no SQLite file"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about one node where several stand for one."""
    if _count(config) > 1:
        for item in items:
            if item.path.is_relative_to(HERE) and (reason := _why_one_node(item)) is not None:
                item.add_marker(pytest.mark.skip(reason=f"for one node: {reason}"))


def _count(config: pytest.Config) -> int:
    return config.getoption("--nodes") or 1


def _why_one_node(item: pytest.Item) -> str | None:
    if (mark := item.get_closest_marker("one_node")) is not None:
        return mark.args[0]
    if "start_server" in getattr(item, "fixturenames", ()):
        return OWN_PROCESS
    call = getattr(item, "callspec", None)
    return NO_POSTGRES if call is not None and call.params.get("store_url") == "sqlite" else None


@pytest.fixture(scope="session", autouse=True)
def several_nodes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Several nodes instead of each one, if that is asked for."""
    count = _count(request.config)
    if count == 1:
        yield
        return
    cluster, template = (request.getfixturevalue(name) for name in ("postgres_cluster", "postgres_template"))
    with use_several(Several(count, cluster, template)):
        yield
