"""`swarmhold sessions`: who is attached."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.endpoint import AsJson, Endpoint, calls_server
from app.cli.output import add_row, console, print_json, table, to_seconds
from app.cli.sessions import call_in, reader_session

Ended = Annotated[bool, typer.Option("--ended", help="Also sessions that are not attached any more.")]


@calls_server()
def sessions(endpoint: Endpoint, ended: Ended = False, as_json: AsJson = False) -> None:
    """List the sessions that are attached, newest first."""

    found = call_in(reader_session(endpoint), lambda seat: seat.sessions(attached=None if ended else True))
    if as_json:
        print_json([one.as_json() for one in found])
        return
    shown = table("id", "operator", "role", "state", "bridge", "attached", "last seen")
    for one in found:
        facts = one.as_json()
        state = "attached" if one.attached else "ended"
        times = (to_seconds(facts[name]) for name in ("attached_at", "last_seen"))
        add_row(shown, (one.id, one.operator_id, one.role, state, one.bridge_id or "", *times))
    console.print(shown)
