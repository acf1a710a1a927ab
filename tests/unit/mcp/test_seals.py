"""What MCP clients keep for the server."""

from app.domain.handles import HandleMint
from app.mcp.seals import LIFE_S, Seals
from tests.support.clocks import HandClock

RING = b"k" * 32


def test_a_request_is_answered_at_any_node_in_time_and_by_its_principal() -> None:
    """By the engine's clock, which the nodes have in common; what somebody made up opens as nothing."""
    clock = HandClock(1_000)
    here, there, elsewhere = (Seals(HandleMint(ring), clock) for ring in (RING, RING, b"o" * 32))
    sealed = here.seal_request("ann", "R-1")
    assert there.open_request("ann", sealed) == "R-1"
    assert [there.open_request("bob", sealed), elsewhere.open_request("ann", sealed)] == [None, None]
    assert [there.open_request("ann", text) for text in ("", "x", None, 7)] == [None] * 4
    clock.advance(LIFE_S)
    assert there.open_request("ann", sealed) is None
