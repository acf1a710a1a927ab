"""Refused credentials, counted per source, kind and minute: one row of the audit log each, when the minute ends."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field

import structlog

from app.domain.clock import Clock, Instant, to_rfc3339
from app.domain.doors import Door
from app.domain.errors import Busy
from app.engine.ops import audit
from app.engine.retrying import try_step
from app.engine.transactions import Transactions
from app.state.state import State

MINUTE_MS = 60_000
MAX_COUNTS = 1_000
"""How many sources and kinds of one minute have rows of their own; what comes from others is counted together."""
MAX_FINGERPRINTS = 8
_OTHERS = "others"
_NETWORK_BITS = {4: 24, 6: 48}

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Count:
    times: int = 0
    fingerprints: dict[str, None] = field(default_factory=dict[str, None])


class Refusals:
    """Counts refusals in memory; a killed process loses the running minute. Belongs to one event loop."""

    def __init__(self, transactions: Transactions, *, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        self._counts: dict[tuple[Instant, str, str], _Count] = {}

    def count(self, *, source: str, kind: str, fingerprint: str) -> None:
        """Count one refused credential; `source` is an address, `kind` says what was wrong with the credential."""
        minute = self._clock() // MINUTE_MS * MINUTE_MS
        key = (minute, _network_of(source), kind)
        if key not in self._counts and len(self._counts) >= MAX_COUNTS:
            key = (minute, _OTHERS, kind)
        count = self._counts.setdefault(key, _Count())
        count.times += 1
        if len(count.fingerprints) < MAX_FINGERPRINTS:
            count.fingerprints[fingerprint] = None

    async def run(self) -> None:
        """Write the counts of each minute when it has ended, for ever."""
        while True:
            await asyncio.sleep((MINUTE_MS - self._clock() % MINUTE_MS) / 1000)
            await try_step(self.write_ended, doing="write_refusals", failure="refusals_not_written")

    async def write_ended(self) -> None:
        """Write the counts of the minutes that have ended."""
        await self._write(self._clock() // MINUTE_MS * MINUTE_MS)

    async def write_all(self) -> None:
        """Write all counts, those of the running minute included."""
        await self._write(None)

    async def stop(self) -> None:
        """Write all counts if the store lets it."""
        try:
            await self.write_all()
        except Busy as error:
            _log.warning("refusals_not_written", reason=str(error))

    async def _write(self, before: Instant | None) -> None:
        """Write the counts of the minutes before an instant, or all. What cannot be written is kept."""
        written = {key: count for key, count in self._counts.items() if before is None or key[0] < before}
        if not written:
            return
        for key in written:
            del self._counts[key]

        def run(state: State) -> None:
            for (minute, source, kind), count in written.items():
                audit.record(
                    state,
                    source,
                    "refused",
                    door=Door.ENGINE,
                    kind=kind,
                    count=count.times,
                    minute=to_rfc3339(minute),
                    credentials=[*count.fingerprints],
                )

        try:
            await self._transactions.run("write_refusals", run)
        except BaseException:
            for key, count in written.items():
                again = self._counts.setdefault(key, count)
                if again is not count:
                    again.times += count.times
            raise


def _network_of(source: str) -> str:
    """Return the network that counts as one source: /24 of IPv4, /48 of IPv6; other texts as they are."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0].partition("/")[0])
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, _NETWORK_BITS[address.version]), strict=False))
