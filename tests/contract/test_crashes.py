import random
import subprocess
import sys

import pytest

from app.state import feed
from app.state.opening import open_store
from app.state.port import Store
from app.state.state import State
from tests.contract.conftest import PATIENT

KILLS = 12


def acknowledged_until_killed(url: str, prefix: str, enough: int) -> set[str]:
    """Run a writer, kill -9 it after `enough` acknowledgements, and return all that it gave."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.acking", url, prefix], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(enough)]
        writer.kill()
        lines += writer.stdout.readlines()
    # The last line may have been cut off by the kill.
    return {line.rstrip("\n") for line in lines if line.endswith("\n")}


def written(state: State) -> tuple[set[str], list[str]]:
    """The names of all notes, and the labels of all events in order."""
    names = {row[0] for row in state.db.query("SELECT name FROM meta WHERE name LIKE 'k%%'", ())}
    labels: list[str] = []
    cursor = 0
    while page := feed.page(state.db, cursor, 1000):
        labels += [event.data.value["label"] for event in page if event.data is not None]
        cursor = page[-1].cursor
    return names, labels


async def check_after_kill(store: Store, acknowledged: set[str]) -> None:
    """Everything acknowledged is there, and nothing is there by halves or twice."""
    names, labels = await store.read(written, bulk=True)
    whole = {name for name in names if not name.endswith("'")}
    assert acknowledged <= whole
    assert {f"{name}'" for name in whole} == names - whole
    assert sorted(labels) == sorted(whole)


@pytest.mark.chaos
@pytest.mark.slow
async def test_killed_server_keeps_what_it_acknowledged(durable_store_url: str) -> None:
    """After each of a dozen kills every acknowledged operation is there, whole and once."""
    acknowledged: set[str] = set()
    for kill in range(KILLS):
        enough = random.Random(kill).randint(1, 600)
        acknowledged |= acknowledged_until_killed(durable_store_url, f"k{kill}", enough)
        store = open_store(durable_store_url, policy=PATIENT)
        await store.open()
        await check_after_kill(store, acknowledged)
        await store.close()
