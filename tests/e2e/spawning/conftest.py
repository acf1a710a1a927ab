"""A server that the tests of one file share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.rigs.stage import Stage, open_stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """With everybody around it and a connected backend."""
    async with open_stage(tmp_path_factory.mktemp("stage")) as made:
        await made.connect()
        yield made
