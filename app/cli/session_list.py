"""`swarmhold sessions`: who is attached."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.endpoint import AsJson, ConfigFile, DataDir, InNamespace, Key, Url, endpoint_of, run_call
from app.cli.output import add_row, console, print_json, table
from app.cli.sessions import reader_session
from swarmhold.models.sessions import Session

Ended = Annotated[bool, typer.Option("--ended", help="Also sessions that are not attached any more.")]


def sessions(
    ended: Ended = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    namespace: InNamespace = None,
) -> None:
    """List the sessions that are attached, newest first."""
    endpoint = endpoint_of(url, key, data_dir, config, namespace)

    async def call() -> list[Session]:
        async with reader_session(endpoint) as seat:
            return await seat.sessions(attached=None if ended else True)

    found = run_call(call)
    if as_json:
        print_json([one.as_json() for one in found])
        return
    shown = table("id", "operator", "role", "state", "bridge", "attached", "last seen")
    for one in found:
        facts = one.as_json()
        state = "attached" if one.attached else "ended"
        times = (str(facts[name])[:19].replace("T", " ") for name in ("attached_at", "last_seen"))
        add_row(shown, (one.id, one.operator_id, one.role, state, one.bridge_id or "", *times))
    console.print(shown)
