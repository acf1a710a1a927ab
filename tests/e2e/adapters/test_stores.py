"""Where a run that waits is kept: a file that its owner alone may read, or any object with `get` and `put`."""

import asyncio
import stat
from pathlib import Path

from swarmhold.asking.stores import store_of


class Row:
    """A store of the program's own."""

    def __init__(self) -> None:
        self.text: str | None = None

    async def get(self) -> str | None:
        """What was put last."""
        return self.text

    async def put(self, state: str) -> None:
        """Keep the state."""
        self.text = state


async def test_a_file_is_replaced_and_private(tmp_path: Path) -> None:
    """What was put last is there, for its owner alone; nothing else is left beside it."""
    path = tmp_path / "run.json"
    store = store_of(path)
    assert await store.get() is None
    for state in ("a long first state", "é"):
        await store.put(state)
        assert await store_of(str(path)).get() == state
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == [path]


async def test_an_object_is_its_own_store() -> None:
    """It is used as it is."""
    row = Row()
    assert store_of(row) is row
