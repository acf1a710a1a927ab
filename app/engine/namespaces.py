"""The names of namespaces: rows hold small integers, replies hold names."""

from __future__ import annotations

from app.domain.namespaces import ALL_ID, DEFAULT, DEFAULT_ID
from app.engine.ops import namespaces
from app.engine.ops.namespaces import NamespaceSummary
from app.engine.transactions import Transactions


class Namespaces:
    """A cache of names that only grows: a namespace is never renamed or removed."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._names = {DEFAULT_ID: DEFAULT}

    def name(self, namespace: int) -> str | None:
        """Return the name of a namespace that was learnt; None for all of them."""
        return None if namespace == ALL_ID else self._names[namespace]

    async def learn(self, namespace: int = ALL_ID) -> None:
        """Read the names again, unless that of the namespace is known."""
        if namespace not in self._names:
            rows = await self._transactions.read(namespaces.every)
            self._names |= {row.id: row.name for row in rows}

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
