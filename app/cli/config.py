"""`swarmhold config`: check the settings before a server is started with them, and show those in force."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.endpoint import AsJson, ConfigFile, DatabaseUrl, DataDir, loaded
from app.cli.output import add_row, console, print_json, table
from app.config import Loaded, names, shown
from app.domain.redaction import redact

config = typer.Typer(help="Check the settings, and show them with where each comes from.", no_args_is_help=True)

All = Annotated[bool, typer.Option("--all", help="Also those that are not set, with their defaults.")]


@config.command()
def check(
    as_json: AsJson = False, data_dir: DataDir = None, database_url: DatabaseUrl = None, file: ConfigFile = None
) -> None:
    """Read options, environment and file as `serve` does; fail with a line for each setting that cannot be used."""
    found = loaded(data_dir=data_dir, database_url=database_url, config=file)
    if as_json:
        print_json({"ok": True, "settings": len(found.origins), "warnings": list(found.warnings)})
        return
    for warning in found.warnings:
        console.print(warning, style="yellow", soft_wrap=True, markup=False)
    print(f"The settings can be used: {len(found.origins)} set, {len(found.warnings)} warnings.")


@config.command()
def show(
    everything: All = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    file: ConfigFile = None,
) -> None:
    """Show the settings in force, and where each comes from. Secrets are not shown."""
    found = loaded(data_dir=data_dir, database_url=database_url, config=file)
    rows = _rows(found, everything=everything)
    if as_json:
        print_json(rows)
        return
    listed = table("setting", "value", "from")
    for row in rows:
        add_row(listed, (row["setting"], row["value"], row["from"]), style=None if row["set"] else "dim")
    console.print(listed)


def _rows(found: Loaded, *, everything: bool) -> list[dict[str, Any]]:
    listed = names() if everything else sorted(found.origins)
    return [
        {
            "setting": name,
            "value": redact(shown(found.settings, name)),
            "from": found.origins.get(name, "default"),
            "set": name in found.origins,
        }
        for name in listed
    ]
