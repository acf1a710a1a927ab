"""`swarmhold doctor`: show the settings and their origins, and check files, database and server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.diagnostics import Finding, examine
from app.cli.endpoint import AsJson, ConfigFile, DatabaseUrl, DataDir, loaded
from app.cli.output import add_row, console, print_json, table

Deep = Annotated[
    bool, typer.Option("--deep", help="Also compare every index with its table, and the audit log's chain.")
]


def doctor(
    deep: Deep = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """Check settings, files, database and server; fail when something is wrong. Changes nothing."""
    found = list(examine(loaded(data_dir=data_dir, database_url=database_url, config=config), deep=deep))
    wrong = sum(finding.state == "wrong" for finding in found)
    if as_json:
        print_json({"ok": not wrong, "findings": [_plain(finding) for finding in found]})
    else:
        _show(found, wrong)
    raise typer.Exit(1 if wrong else 0)


def _plain(finding: Finding) -> dict[str, Any]:
    return {"about": finding.about, "state": finding.state, "found": finding.found, "mend": finding.mend}


_STYLES = {"wrong": "red", "warning": "yellow", "info": "dim", "good": None}


def _show(found: list[Finding], wrong: int) -> None:
    shown = table("", "about", "found")
    for finding in found:
        add_row(shown, (finding.state, finding.about, finding.found), style=_STYLES[finding.state])
        if finding.mend:
            add_row(shown, ("", "", f"→ {finding.mend}"), style=_STYLES[finding.state])
    console.print(shown)
    warnings = sum(finding.state == "warning" for finding in found)
    console.print(f"\n{wrong or 'Nothing'} wrong, {warnings or 'no'} warning{'s' if warnings != 1 else ''}.")
