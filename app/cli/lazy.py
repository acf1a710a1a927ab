"""Commands that are imported when they are called: listing, help and completion of the rest cost nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

COMMANDS = {
    "serve": ("app.cli.serve:serve", "Serve until SIGTERM or SIGINT."),
    "dev": (
        "app.cli.dev:dev",
        "Start a server and a demo worker, and open the console, for trying things, until Ctrl-C.",
    ),
    "demo": (
        "app.cli.demo.command:demo",
        "Let a swarm work on real files, kill its server half-way, and check every result.",
    ),
    "run": ("app.cli.run:run", "Start a task, dispatch it and wait."),
    "tasks": (
        "app.cli.tasks:tasks",
        "List, show, retry and cancel tasks, and say why one does not move.",
    ),
    "events": ("app.cli.events:events", "Show the latest events, and with -f those to come."),
    "questions": ("app.cli.questions:questions", "Ask, list, show, answer and withdraw questions."),
    "senior": ("app.cli.senior:senior", "Answer questions as they arrive, until Ctrl-C or :q."),
    "hook": ("app.cli.hook:hook", "Let Claude Code or Codex ask before it uses a tool, by its hooks."),
    "mcp": ("app.cli.mcp:mcp", "Serve MCP on standard input and output, for clients that start a program."),
    "resume": (
        "app.cli.resume:resume",
        "Start a command for each answer to a question that an agent asked by its hook, until Ctrl-C.",
    ),
    "skill": ("app.cli.skill:skill", "Install the instructions for agents that work on tasks."),
    "loop": ("app.cli.loop:loop", "Pause dispatching, resume it, and show whether it is paused."),
    "sessions": ("app.cli.session_list:sessions", "List the sessions that are attached, newest first."),
    "workers": (
        "app.cli.workers:workers",
        "List the workers of queues with what they hold, and the queues with what waits in them.",
    ),
    "keys": ("app.cli.keys:keys", "Make, list and revoke API keys; rotate the key that signs tokens."),
    "namespaces": ("app.cli.namespaces:namespaces", "List all namespaces: their keys, tasks and open questions."),
    "nodes": ("app.cli.nodes:nodes", "List the server processes that share the database."),
    "skills": ("app.cli.skills:skills", "Publish agents behind queues as MCP tools: make, list and delete them."),
    "webhooks": (
        "app.cli.webhooks:webhooks",
        "Send events to other systems: make, watch, pause and move webhooks.",
    ),
    "config": ("app.cli.config:config", "Check the settings, and show them with where each comes from."),
    "doctor": (
        "app.cli.doctor:doctor",
        "Check settings, files, database and server; fail when something is wrong.",
    ),
    "migrate": ("app.cli.migrate:migrate", "Migrate the database to this version, while no server uses it."),
    "backup": (
        "app.cli.backup:backup",
        "Copy the database and the keys to a new file, whether the server runs or not.",
    ),
    "restore": (
        "app.cli.backup:restore",
        "Put a backup into an empty data directory (and an empty PostgreSQL database), before the server is started.",
    ),
    "audit": ("app.cli.audit:audit", "Export the audit log, or verify that nothing in it was changed."),
    "openapi": ("app.cli.documents:openapi", "Write openapi/openapi.json and openapi/frames.json."),
    "configuration": ("app.cli.documents:configuration", "Write docs/configuration.md."),
}
"""Where each command is, `module:name`, and the first sentence of its help."""


class LazyGroup(TyperGroup):
    """The commands of COMMANDS; the one that is called, or whose own words are completed, is imported."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the imported command and the other arguments. Raises UsageError for an unknown name."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and loaded(name or ""), rest


def loaded(name: str) -> Any:
    """Import a command and return it."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    holder = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    return get_group(holder).commands[name]
