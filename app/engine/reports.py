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
        """Return the ids registered in the caller's namespace, in this process, and all spawners and layers."""
        caller = await self._transactions.read_as(token, READERS, lambda _, caller: caller)
        return {
            "senior_bridges": self._registries.bridges.ids(namespace=caller.namespace),
            "spawn_hooks": self._registries.hooks.ids(namespace=caller.namespace),
            "operators": self._registries.operators.ids(namespace=caller.namespace),
            "spawners": self._catalog.kinds(),
            "layers": self._layers.keys(),
        }

    async def stats(self, token: CapToken) -> reports.Stats:
        """Count tasks, attempts, questions and more. Reads much, so it reads off the event loop."""
        caller = await self._transactions.read_as(token, READERS, lambda _, caller: caller)
        return await self._transactions.read(lambda state: reports.stats(state, caller.namespace), bulk=True)
