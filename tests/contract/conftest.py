"""An open store of each kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.state.opening import open_store
from app.state.policies import HoldPolicy
from app.state.port import Store
from tests.support.effects import EffectsLog

PATIENT = HoldPolicy(max_hold_ms=60_000)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """An open store, empty but for its tables. It does not mind a slow machine."""
    opened = open_store(store_url, policy=PATIENT)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def effects(store: Store) -> EffectsLog:
    """What followed the commits of `store`."""
    log = EffectsLog()
    store.on_commit(log)
    return log


@pytest.fixture(params=["sqlite-file", "postgres"])
def durable_store_url(request: pytest.FixtureRequest, data_dir: Path) -> str:
    """The URL of an empty store of the kinds that outlive their process."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{data_dir / 'swarmhold.db'}"
