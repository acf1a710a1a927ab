"""`swarmhold namespaces`: all namespaces of a running server, with what each holds."""

from __future__ import annotations

from app.cli.endpoint import AsJson, ConfigFile, DatabaseUrl, DataDir, Key, Url, find_endpoint, settings_of
from app.cli.output import add_row, console, print_json, table
from app.cli.sessions import admin_calls, call_in


def namespaces(
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """List all namespaces: their keys, tasks and open questions. Needs the root key."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    endpoint = find_endpoint(settings, url=url, key=key)
    found = call_in(admin_calls(endpoint), lambda admin: admin.namespaces())
    if as_json:
        print_json([row.as_json() for row in found])
        return
    shown = table("namespace", "keys", "tasks", "open questions", "oldest since")
    for row in found:
        tasks = ", ".join(f"{count} {status}" for status, count in sorted(row.tasks.items())) or "none"
        oldest = row.as_json()["oldest_open_at"] or ""
        add_row(shown, (row.name, str(row.keys), tasks, str(row.open_questions), oldest))
    console.print(shown)
