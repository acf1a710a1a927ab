"""Reports on the whole swarm: counts, and what is registered in this process."""

from __future__ import annotations

from app.domain.tokens import CapToken
from app.engine.ops import reports
from app.engine.sessions import READERS
from app.engine.transactions import Transactions
from app.spawning.backends.registry import Registries
from app.spawning.catalog import SpawnerCatalog
from app.spawning.ports import LayerRegistry


class Reports:
    """Calls about the swarm as a whole."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        registries: Registries,
        catalog: SpawnerCatalog,
        layers: LayerRegistry,
    ) -> None:
        self._transactions = transactions
        self._registries = registries
        self._catalog = catalog
        self._layers = layers

    async def registered(self, token: CapToken) -> dict[str, list[str]]:
        """Return the ids of everything that is registered in this process, and the names of spawners and layers."""
        await self._transactions.read_as(token, READERS, lambda _, caller: caller)
        return {
            "senior_bridges": self._registries.bridges.ids(),
            "spawn_hooks": self._registries.hooks.ids(),
            "operators": self._registries.operators.ids(),
            "spawners": self._catalog.kinds(),
            "layers": self._layers.keys(),
        }

    async def stats(self, token: CapToken) -> reports.Stats:
        """Count tasks, attempts, questions and more. Reads much, so it reads off the event loop."""
        await self._transactions.read_as(token, READERS, lambda _, caller: caller)
        return await self._transactions.read(reports.stats, bulk=True)
