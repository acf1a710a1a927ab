import pytest

from app.domain.errors import InvalidRequest
from app.domain.json import Json
from app.domain.tasks import Task
from app.state.port import Store
from app.state.postgres.store import PostgresStore
from app.state.tables import TASKS
from tests.support import notes, rows

ODD = ["", "'", '"', "%s", "%", "%%", "$1", "?", ":x", "\\", "\n\t", "ß→🜚", "a" * 300_000, "\\u0000", "NULL", "{}"]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
async def test_text_comes_back_as_it_was(store: Store, text: str) -> None:
    """Characters with a meaning in SQL or to a driver are stored unchanged."""
    await store.transact("write", notes.write("a", text))
    assert await store.read(notes.read("a")) == text
    name = text[:600]
    await store.transact("write", notes.write(name, "1"))
    assert await store.read(notes.read(name)) == "1"


async def test_row_comes_back_equal(store: Store) -> None:
    """Every kind of field survives: texts, enums, flags, instants, JSON, and nothing."""
    full = rows.task(
        "T-1",
        agent="ß",
        directive=Json.of({"b": [1, 2.5, "\0", None, 10**18], "a": "'%s"}),
        live=True,
        attempt=2**62,
        last_result=Json("null"),
        parent_task_id="T-0",
        settled_at=None,
    )

    async def back(task: Task) -> Task | None:
        await store.transact("put", lambda state: TASKS.insert(state.db, task))
        return await store.read(lambda state: TASKS.get(state.db, task.id))

    found = await back(full)
    assert found == full
    assert found is not None
    assert found.last_result == Json("null")
    assert found.directive.text == full.directive.text
    assert await back(rows.task("T-2")) == rows.task("T-2")


async def test_counts_are_of_rows_changed(store: Store) -> None:
    """A change says how many rows it changed."""
    await store.transact("put", lambda state: TASKS.insert(state.db, rows.task("T-1")))
    counts = await store.transact(
        "change",
        lambda state: (
            TASKS.update(state.db, "T-1", agent="b"),
            TASKS.update(state.db, "T-2", agent="b"),
            TASKS.delete(state.db, "T-1"),
            TASKS.delete(state.db, "T-1"),
        ),
    )
    assert counts == (1, 0, 1, 0)


async def test_character_that_postgres_cannot_hold_is_refused(postgres_url: str) -> None:
    """U+0000 in a text is refused by name instead of cutting the text off."""
    store = PostgresStore(postgres_url)
    await store.open()
    with pytest.raises(InvalidRequest, match=r"U\+0000"):
        await store.transact("write", notes.write("a", "b\0c"))
    assert await store.read(notes.read("a")) is None
    await store.close()


async def test_name_that_postgres_cannot_index_is_refused(postgres_url: str) -> None:
    """A name of many kilobytes is refused as a fault of the request."""
    store = PostgresStore(postgres_url)
    await store.open()
    with pytest.raises(InvalidRequest, match="too long"):
        await store.transact("write", notes.write("a" * 300_000, "1"))
    await store.transact("write", notes.write("a", "1"))
    await store.close()
