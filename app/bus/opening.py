"""From the URLs of the settings to the bus that they name."""

from __future__ import annotations

from collections.abc import Mapping

from app.bus.local import LocalBus
from app.bus.port import LOCAL, HintBus
from app.bus.shared import SharedBus


def choose_bus(store_url: str, bus_url: str | None, options: Mapping[str, int]) -> HintBus:
    """Return the bus, not yet open.

    Nodes can only share a PostgreSQL database: there hints go by `bus_url`, by the database itself without one, and
    nowhere with `local`. `options` are further parameters of its connection for libpq.
    """
    if not store_url.startswith(("postgresql://", "postgres://")) or bus_url == LOCAL:
        return LocalBus()
    if bus_url is not None:
        from app.bus.nats import NatsLink

        return SharedBus(NatsLink(bus_url))
    from app.bus.postgres import PostgresLink

    return SharedBus(PostgresLink(store_url, options))
