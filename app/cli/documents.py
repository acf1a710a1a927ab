"""`swarmhold openapi` and `swarmhold configuration`: write the generated documents, or check that they are fresh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from app.cli.endpoint import AsJson
from app.cli.exits import CommandFailed
from app.cli.output import print_json

Check = Annotated[bool, typer.Option("--check", help="Change nothing; fail when a file is missing or stale.")]
Root = Annotated[Path, typer.Option("--root", help="The repository's root.")]


def openapi(check: Check = False, root: Root = Path(), as_json: AsJson = False) -> None:
    """Write openapi/openapi.json and openapi/frames.json."""
    from app.http.openapi import render

    _write(render(), root, "make openapi", check=check, as_json=as_json)


def configuration(check: Check = False, root: Root = Path(), as_json: AsJson = False) -> None:
    """Write docs/configuration.md."""
    from app.config.reference import render

    _write(render(), root, "make docs", check=check, as_json=as_json)


def _write(documents: Mapping[str, bytes], root: Path, command: str, *, check: bool, as_json: bool) -> None:
    stale = {name: content for name, content in documents.items() if not _is_fresh(root / name, content)}
    if check and stale:
        raise CommandFailed(f"Stale: {', '.join(stale)}. Run `{command}` and commit what it writes.")
    for name, content in stale.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if not as_json:
            print(f"wrote {name}")
    if as_json:
        print_json({"fresh": not stale, "wrote": sorted(stale)})


def _is_fresh(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
