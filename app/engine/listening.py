"""The workers that wait in this process for something to claim, and the rows that other processes see of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from app.domain.clock import Clock
from app.engine.ops import listeners
from app.engine.ops.listeners import KEPT_MS, SEEN_MS, Listening
from app.engine.transactions import Transactions

ListenerKey = tuple[int, str, str, str]
"""Namespace, queue, API key and name of a worker."""

REFRESH_MS = SEEN_MS // 3
"""How often it is written that a worker still listens."""
MOST = 10_000
"""How many workers and queues are counted."""
_AT_ONCE = 200
BETWEEN_CLAIMS_MS = 5_000
"""For how long a worker whose claim has ended still listens: it comes back for the next one."""


@dataclass(slots=True)
class _Seen:
    claims: int
    since: int
    last_seen: int
    written: Listening | None = None


class Listeners:
    """Counts the claims that wait here, by worker and queue. Nothing of it is part of a claim's transaction."""

    def __init__(self, transactions: Transactions, *, clock: Clock, node: Callable[[], str]) -> None:
        self._transactions = transactions
        self._clock = clock
        self._node = node
        self._seen: dict[ListenerKey, _Seen] = {}

    @contextmanager
    def waiting(self) -> Generator[_Waiting]:
        """Count one claim while the block runs, from when it says who claims what."""
        claim = _Waiting(self)
        try:
            yield claim
        finally:
            claim.leave()

    def enter(self, key: ListenerKey) -> None:
        """Count a claim that begins to wait."""
        now = self._clock()
        seen = self._seen.get(key)
        if seen is None and len(self._seen) >= MOST:
            return
        if seen is None or (not seen.claims and now - seen.last_seen > SEEN_MS):
            written = None if seen is None else seen.written
            seen = self._seen[key] = _Seen(0, now, now, written)
        seen.claims += 1
        seen.last_seen = now

    def leave(self, key: ListenerKey) -> None:
        """Count a claim that is over."""
        if (seen := self._seen.get(key)) is not None:
            seen.claims -= 1
            seen.last_seen = self._clock()

    async def flush(self) -> None:
        """Write what has changed since the last time. Safe to call at any time."""
        now = self._clock()
        changed = [row for row in self._rows(now) if self._is_news(row)]
        for start in range(0, len(changed), _AT_ONCE):
            rows = changed[start : start + _AT_ONCE]
            await self._transactions.run("write_listeners", partial(listeners.write, node=self._node(), rows=rows))
            for row in rows:
                if (seen := self._seen.get(row[:4])) is not None:
                    seen.written = row
        for key in [key for key, seen in self._seen.items() if not seen.claims and now - seen.last_seen > KEPT_MS]:
            del self._seen[key]

    def _rows(self, now: int) -> list[Listening]:
        return [
            Listening(
                *key,
                listening=seen.claims > 0 or now - seen.last_seen < BETWEEN_CLAIMS_MS,
                since=seen.since,
                last_seen=now if seen.claims else seen.last_seen,
            )
            for key, seen in self._seen.items()
        ]

    def _is_news(self, row: Listening) -> bool:
        before = self._seen[row[:4]].written
        if before is None or (before.listening, before.since) != (row.listening, row.since):
            return True
        return row.last_seen - before.last_seen >= REFRESH_MS


class _Waiting:
    """One claim."""

    def __init__(self, all: Listeners) -> None:
        self._all = all
        self._key: ListenerKey | None = None

    def by(self, who: ListenerKey | None) -> None:
        """Say who claims what; said again, nothing changes."""
        if self._key is None and who is not None:
            self._key = who
            self._all.enter(who)

    def leave(self) -> None:
        """Count the claim as over."""
        if self._key is not None:
            self._all.leave(self._key)
