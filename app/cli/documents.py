"""`swarmhold openapi` and `swarmhold configuration`: write the generated documents, or check that they are fresh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from app.cli.exits import CommandFailed

Check = Annotated[bool, typer.Option("--check", help="Change nothing; fail when a file is missing or stale.")]
Root = Annotated[Path, typer.Option("--root", help="The repository's root.")]


def openapi(check: Check = False, root: Root = Path()) -> None:
    """Write openapi/openapi.json and openapi/frames.json."""
    from app.http.openapi import render

    _write(render(), root, "make openapi", check=check)


def configuration(check: Check = False, root: Root = Path()) -> None:
    """Write docs/configuration.md."""
    from app.config.reference import render

    _write(render(), root, "make docs", check=check)


def _write(documents: Mapping[str, bytes], root: Path, command: str, *, check: bool) -> None:
    stale = {name: content for name, content in documents.items() if not _is_fresh(root / name, content)}
    if check and stale:
        raise CommandFailed(f"Stale: {', '.join(stale)}. Run `{command}` and commit what it writes.")
    for name, content in stale.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"wrote {name}")


def _is_fresh(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
