"""The credential of commands that agents run: from the environment alone, and never the root key of a directory."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from app.cli.exits import EXIT_MISUSED, CommandFailed

_NAMES = ("SWARMHOLD_KEY", "SWARMHOLD_HANDLE")

AgentUrl = Annotated[str, typer.Option("--url", envvar="SWARMHOLD_URL", help="The server's URL.")]


def credential(*names: str) -> str:
    """Return the API key or handle of the environment. Raises CommandFailed when there is none."""
    for name in names or _NAMES:
        text = os.environ.get(name, "").strip()
        if text:
            if not text.isascii() or not text.isprintable() or " " in text:
                raise CommandFailed(
                    f"{name} holds characters that no credential has. Copy it again.", status=EXIT_MISUSED
                )
            return text
    raise CommandFailed(f"Set {' or '.join(names or _NAMES)}; a root key is never taken instead.", status=EXIT_MISUSED)
