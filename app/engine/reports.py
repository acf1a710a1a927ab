"""Reports on the whole swarm: counts, and what is registered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from app.domain.access import Caller
from app.domain.tokens import CapToken
from app.domain.usage import Spender, Usage
from app.engine.feed import Feed
from app.engine.listening import Listeners
from app.engine.ops import listeners, minutes, registrations, reports
from app.engine.ops.listeners import QueueRow, WorkerRow
from app.engine.ops.measures import Measures, measure
from app.engine.ops.minutes import Minute
from app.engine.sessions import READERS
from app.engine.transactions import Transactions
from app.spawning.backends.registry import Registries, Registry
from app.spawning.catalog import SpawnerCatalog
from app.spawning.ports import LayerRegistry
from app.state.state import Counted, State

MEASURED_S = 5.0
"""For how long the measures of the database are remembered, however many scrape."""


class Reports:
    """Calls about the swarm as a whole."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        registries: Registries,
        catalog: SpawnerCatalog,
        layers: LayerRegistry,
        listeners: Listeners,
        feed: Feed,
    ) -> None:
        self._transactions = transactions
        self._registries = registries
        self._catalog = catalog
        self._layers = layers
        self._listeners = listeners
        self._feed = feed
        self._measured: tuple[float, Measures] | None = None

    async def registered(self, token: CapToken) -> dict[str, list[str]]:
        """Return the ids registered in the caller's namespace, on any node, and all spawners and layers."""

        def run(state: State, caller: Caller) -> tuple[int, list[str]]:
            return caller.namespace, registrations.names(state, caller.namespace)

        namespace, names = await self._transactions.read_as(token, READERS, run)
        return {
            "senior_bridges": _ids(self._registries.bridges, namespace, names),
            "spawn_hooks": _ids(self._registries.hooks, namespace, names),
            "operators": _ids(self._registries.operators, namespace, names),
            "spawners": self._catalog.kinds(),
            "layers": self._layers.keys(),
        }

    async def stats(self, token: CapToken) -> reports.Stats:
        """Count tasks, attempts, questions and more. Reads much, so it reads off the event loop."""
        caller = await self._transactions.read_as(token, READERS, lambda _, caller: caller)
        return await self._transactions.read(lambda state: reports.stats(state, caller.namespace), bulk=True)

    async def measures(self) -> Measures:
        """Return what operators alarm on, in all namespaces, as it was at most `MEASURED_S` ago."""
        now = asyncio.get_running_loop().time()
        if self._measured is None or now - self._measured[0] > MEASURED_S:
            look = partial(measure, tail=self._feed.tail)
            self._measured = (now, await self._transactions.read(look, bulk=True))
        return self._measured[1]

    def counts(self) -> Mapping[Counted, int]:
        """Return what this process has committed since its start, of the events that metrics count."""
        return self._transactions.counts

    def used(self) -> list[tuple[Spender, Usage]]:
        """Return what workers reported as used to this process since its start, by namespace, agent and model."""
        return self._transactions.used.items()

    async def workers(self, token: CapToken) -> tuple[list[WorkerRow], list[QueueRow]]:
        """Return the workers of the caller's namespace, what they listen to and hold; and its queues."""
        caller = await self._transactions.read_as(token, READERS, lambda _, caller: caller)
        await self._listeners.flush()
        place = caller.namespace
        return await self._transactions.read(
            lambda state: (listeners.workers(state, place), listeners.queues(state, place)), bulk=True
        )

    async def history(self, token: CapToken, count: int) -> list[Minute]:
        """Return the latest `count` whole minutes of the caller's namespace, oldest first."""
        return await self._transactions.read_as(
            token, READERS, lambda state, caller: minutes.latest(state, caller.namespace, count)
        )


def _ids(registry: Registry[Any], namespace: int, names: list[str]) -> list[str]:
    """Return the ids of a registry: those of all nodes, and those of this one whose rows are still to be written."""
    kind = f"{registry.kind}:"
    everywhere = {name.removeprefix(kind) for name in names if name.startswith(kind)}
    return sorted(everywhere.union(registry.ids(namespace=namespace)))
