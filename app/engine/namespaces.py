"""The names of namespaces: rows hold small integers, replies hold names."""

from __future__ import annotations

from app.domain.namespaces import ALL_ID
from app.engine.ops import namespaces
from app.engine.ops.namespaces import NamespaceSummary
from app.engine.ops.queries import learn_names
from app.engine.transactions import Transactions


class Namespaces:
    """Calls about namespaces, and their names."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._names = transactions.names

    def name(self, namespace: int) -> str | None:
        """Return the name of a namespace; None for all of them.

        It is known from the moment when a call was authenticated in it or an event of it was read, and after `learn`.
        """
        return self._names[namespace]

    async def learn(self, *ids: int) -> None:
        """Read the names again, unless those of these namespaces are known."""
        if not self._names.keys() >= set(ids):
            await self._transactions.read(lambda state: learn_names(state, *ids))

    async def use(self, name: str) -> int:
        """Return the id of a namespace for code of this process; its first use creates it. Raises InvalidName."""
        for namespace, known in self._names.items():
            if known == name:
                return namespace
        found = await self._transactions.run("use_namespace", lambda s: namespaces.use(s, name, by="engine"))
        await self.learn(found)
        return found

    async def summaries(self, namespace: int = ALL_ID) -> list[NamespaceSummary]:
        """Return what a namespace (or each, by name) holds."""
        if namespace == ALL_ID:
            return await self._transactions.read(namespaces.summaries, bulk=True)
        found = await self._transactions.read(lambda state: namespaces.summary(state, namespace), bulk=True)
        return [] if found is None else [found]
