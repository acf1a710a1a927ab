"""Cursors of nodes that start while others append: one order for all of them."""

from app.domain.ids import IdSource
from app.state import feed
from app.state.postgres.connection import PostgresConnection
from app.state.postgres.cursors import settle_feed_offset

EVENT = ("task_created", 1, None, None, None, None, 0)


def test_a_node_that_starts_beside_busy_ones_has_their_offset(postgres_url: str) -> None:
    """Its transaction began before one that has appended meanwhile, which is no sign of another cluster."""
    starting, busy = (PostgresConnection(postgres_url, IdSource(), lock_timeout_ms=1000) for _ in range(2))
    try:
        for _ in range(3):
            starting.begin()
            starting.query("SELECT pg_current_xact_id()::text", ())
            busy.begin()
            feed.append(busy, [EVENT])
            busy.commit()

            assert settle_feed_offset(starting, 2) == 0
            starting.commit()
    finally:
        starting.close()
        busy.close()
