"""`swarmhold mcp`: the server's MCP door on standard input and output, and the configuration of MCP clients."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from app.cli.credential import AgentUrl, credential
from app.cli.endpoint import AsJson
from app.cli.exits import EXIT_MISUSED, CommandFailed

_DEFAULT_URL = "http://127.0.0.1:7777"
_FILES = {
    "claude": ".mcp.json of the project",
    "codex": "~/.codex/config.toml",
    "cursor": "~/.cursor/mcp.json",
    "desktop": "claude_desktop_config.json",
}
_ENVIRONMENT = "Start the client with SWARMHOLD_KEY set to a key with the role operator."
_IN_FILE = "Put a key with the role operator in the place of …, and let nobody else read the file."

mcp = typer.Typer(
    help="Serve MCP on standard input and output, for clients that start a program.",
    rich_markup_mode=None,
    invoke_without_command=True,
)


@mcp.callback()
def serve(context: typer.Context, url: AgentUrl = _DEFAULT_URL) -> None:
    """Serve MCP on standard input and output, for clients that start a program.

    Every message goes to the server's /mcp, with the credential of SWARMHOLD_KEY or SWARMHOLD_HANDLE; what a lost
    connection cut off is sent again. `swarmhold mcp config` prints what clients need to start it.
    """
    context.obj = url.rstrip("/")
    if context.invoked_subcommand is None:
        from app.cli.mcp_bridge import run

        run(f"{context.obj}/mcp", credential())


@mcp.command()
def config(
    context: typer.Context,
    client: Annotated[str, typer.Argument(help="claude, codex, cursor or desktop.")],
    as_json: AsJson = False,
) -> None:
    """Print the lines that connect Claude Code, Codex, Cursor or Claude Desktop, and say where they go."""
    if client not in _FILES:
        raise CommandFailed(f"There is no client {client!r} here: name {', '.join(_FILES)}.", status=EXIT_MISUSED)
    text, file = _text(client, context.obj), _FILES[client]
    if as_json:
        print(json.dumps({"file": file, "text": text}))
        return
    print(text)
    advice = _ENVIRONMENT if client in ("claude", "codex") else _IN_FILE
    print(f"These lines belong into {file}. {advice}", file=sys.stderr)


def _text(client: str, url: str) -> str:
    at = f"{url}/mcp"
    if client == "codex":
        return (
            f"[mcp_servers.swarmhold]\nurl = {json.dumps(at)}\n"
            'bearer_token_env_var = "SWARMHOLD_KEY"\ntool_timeout_sec = 60'
        )
    if client == "claude":
        server = {"type": "http", "url": at, "headers": {"Authorization": "Bearer ${SWARMHOLD_KEY}"}}
    else:
        options = [] if url == _DEFAULT_URL else ["--url", url]
        server = {"command": "swarmhold", "args": ["mcp", *options], "env": {"SWARMHOLD_KEY": "…"}}
    return json.dumps({"mcpServers": {"swarmhold": server}}, indent=2, ensure_ascii=False)
