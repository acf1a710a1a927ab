"""`swarmhold openapi`: write the documents that are committed, or check that they are fresh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.failures import CommandFailed

Check = Annotated[bool, typer.Option("--check", help="Change nothing; fail when a file is missing or stale.")]
Root = Annotated[Path, typer.Option("--root", help="The repository's root.")]


def openapi(check: Check = False, root: Root = Path()) -> None:
    """Write openapi/openapi.json and openapi/frames.json."""
    from app.http.openapi import render

    stale = [name for name, content in render().items() if not _is_fresh(root / name, content)]
    if check and stale:
        raise CommandFailed(f"Stale: {', '.join(stale)}. Run `make openapi` and commit what it writes.")
    for name in stale:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(render()[name])
        print(f"wrote {name}")


def _is_fresh(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
