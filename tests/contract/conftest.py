"""An open store of each kind."""

from collections.abc import AsyncIterator

import pytest

from app.state.opening import open_store
from app.state.port import HoldPolicy, Store
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
