"""Any store behaves as a dictionary would, whatever fails in between."""

import asyncio
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.errors import StoreUnavailable
from app.state.port import Store
from app.state.postgres.store import PostgresStore
from app.state.sqlite.files import integrity
from app.state.sqlite.store import SqliteStore
from app.state.state import State
from app.state.tables import get_meta, set_meta
from tests.contract.conftest import PATIENT
from tests.support.cutting import CuttingProxy, cutting_proxy
from tests.support.faulty_disk import FaultyDisk, faulty_disk

Model = dict[str, str]
NAMES = st.sampled_from(["a", "b", "c"])


class Refused(Exception):
    """An operation's own refusal."""


@dataclass(frozen=True)
class Step:
    """An operation: what it does to the names in turn, and whether it refuses in the end."""

    changes: tuple[tuple[str, str], ...]
    refuses: bool
    bulk: bool

    def on_state(self, prefix: str) -> Callable[[State], list[str | None]]:
        """The operation on a store; its answer is what it found."""

        def operation(state: State) -> list[str | None]:
            found: list[str | None] = []
            for name, value in self.changes:
                found.append(get_meta(state.db, prefix + name, lock=True))
                set_meta(state.db, prefix + name, value)
            if self.refuses:
                raise Refused
            return found

        return operation

    def on_model(self, model: Model) -> list[str | None]:
        """The same on a dictionary."""
        found: list[str | None] = []
        for name, value in self.changes:
            found.append(model.get(name))
            model[name] = value
        return found


CHANGES = st.lists(st.tuples(NAMES, st.sampled_from(["1", "2", "x" * 9_000])), max_size=4).map(tuple)
STEPS = st.builds(Step, changes=CHANGES, refuses=st.booleans(), bulk=st.sampled_from([False, False, False, True]))


@dataclass(frozen=True)
class Fault:
    """A failing disk: after how many writes, with which error."""

    passing: int
    error: type[apsw.Error]
    syncs_only: bool


FAULTS = st.none() | st.builds(
    Fault, passing=st.integers(0, 12), error=st.sampled_from([apsw.IOError, apsw.FullError]), syncs_only=st.booleans()
)
BATCHES = st.lists(st.tuples(st.lists(STEPS, min_size=1, max_size=6), FAULTS), max_size=6)


async def content(store: Store, prefix: str) -> Model:
    """All names."""

    def operation(state: State) -> Model:
        found = {name: get_meta(state.db, prefix + name) for name in "abc"}
        return {name: value for name, value in found.items() if value is not None}

    return await store.read(operation)


def judge(outcome: Any, step: Step, model: Model) -> None:
    """Whether an outcome is what the model says; the model follows it."""
    if isinstance(outcome, StoreUnavailable):
        return
    if step.refuses:
        assert isinstance(outcome, Refused), outcome
    else:
        assert outcome == step.on_model(model)


async def follow_sqlite(path: str, batches: list[tuple[list[Step], Fault | None]], disk: FaultyDisk) -> None:
    """Run batches against a store and a model."""
    store, model = SqliteStore(path, policy=PATIENT), Model()
    await store.open()
    for steps, fault in batches:
        if fault is not None:
            disk.fail(fault.passing, fault.error, syncs_only=fault.syncs_only)
        calls = (store.transact("step", step.on_state(""), bulk=step.bulk) for step in steps)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        disk.heal()
        for outcome, step in zip(outcomes, steps, strict=True):
            judge(outcome, step, model)
        assert await content(store, "") == model
    await store.close()
    if path != ":memory:":
        await store.open()
        assert await content(store, "") == model
        await store.close()
        assert integrity(Path(path), thorough=True) == ()


@settings(deadline=None, max_examples=80)
@given(BATCHES)
def test_sqlite_file_is_a_dictionary(batches: list[tuple[list[Step], Fault | None]]) -> None:
    """On a disk that fails at any write, what was acknowledged is there and nothing else."""
    with tempfile.TemporaryDirectory() as directory, faulty_disk() as disk:
        asyncio.run(follow_sqlite(f"{directory}/swarmhold.db", batches, disk))


@settings(deadline=None, max_examples=80)
@given(BATCHES)
def test_sqlite_memory_is_a_dictionary(batches: list[tuple[list[Step], Fault | None]]) -> None:
    """In memory too, where no disk can fail."""
    with faulty_disk() as disk:
        asyncio.run(follow_sqlite(":memory:", batches, disk))


CUTS = st.none() | st.tuples(st.sampled_from([b"BEGIN", b"FOR UPDATE", b"INSERT", b"COMMIT"]), st.booleans())


async def follow_postgres(url: str, steps: list[tuple[Step, Any]], proxy: CuttingProxy) -> None:
    """Run steps one after another against a store and a model, cutting connections."""
    store, model, prefix = PostgresStore(url, connections=2, policy=PATIENT), Model(), f"{uuid.uuid4()}-"
    await store.open()
    try:
        for step, cut in steps:
            if cut is not None:
                proxy.cut_at(cut[0], after=cut[1])
            (outcome,) = await asyncio.gather(
                store.transact("step", step.on_state(prefix), bulk=step.bulk), return_exceptions=True
            )
            proxy.disarm()
            if isinstance(outcome, StoreUnavailable):
                assert outcome.unsure
                # What was under way may be done until its session has ended.
                await asyncio.to_thread(proxy.await_cuts)
                kept = Model(model)
                step.on_model(kept)
                model = model if await content(store, prefix) == model else kept
            else:
                judge(outcome, step, model)
            assert await content(store, prefix) == model
    finally:
        await store.close()


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(STEPS, CUTS), max_size=8))
def test_postgres_is_a_dictionary(postgres_url: str, steps: list[tuple[Step, Any]]) -> None:
    """With a network that breaks at any statement each operation is done once, or fails for its caller."""
    with cutting_proxy(postgres_url) as (proxy, url):
        asyncio.run(follow_postgres(url, steps, proxy))
