"""`swarmhold nodes`: the server processes that share the database, and which of them are alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.endpoint import AsJson, Endpoint, calls_server
from app.cli.output import add_row, console, print_json, table
from app.cli.sessions import call_in, reader_session

if TYPE_CHECKING:
    from swarmhold.models.server import Node


@calls_server(namespace=False)
def nodes(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """List the server processes that share the database. One that died is listed for an hour."""

    found = call_in(reader_session(endpoint), lambda seat: seat.nodes())
    if as_json:
        print_json([row.as_json() for row in found])
        return
    shown = table("node", "state", "url", "version", "started", "last heartbeat")
    for row in found:
        said = row.as_json()
        add_row(shown, (row.id, state_of(row), row.url, row.version, said["started_at"], said["seen_at"]))
    console.print(shown)


def state_of(node: Node) -> str:
    """Return one word for people: a node that drained and then died is dead."""
    if not node.alive:
        return "dead"
    return "draining" if node.draining else "alive"
