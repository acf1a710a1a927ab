"""The coding agents that commands know: Claude Code and Codex."""

from __future__ import annotations

from dataclasses import dataclass

from app.cli.exits import EXIT_MISUSED, CommandFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A coding agent: its name on the command line, and where it asks."""

    name: str
    title: str
    harness: str
    folder: str
    file: str
    event: str
    matcher: str

    @property
    def path(self) -> str:
        """The server's route for its hooks."""
        return f"/v1/doors/{self.harness}/hook"


AGENTS = {
    agent.name: agent
    for agent in (
        Agent(
            name="claude",
            title="Claude Code",
            harness="claude-code",
            folder=".claude",
            file="settings.json",
            event="PreToolUse",
            matcher="Bash|Write|Edit|MultiEdit|NotebookEdit|WebFetch|AskUserQuestion|mcp__.*",
        ),
        Agent(
            name="codex",
            title="Codex",
            harness="codex",
            folder=".codex",
            file="hooks.json",
            event="PermissionRequest",
            matcher="*",
        ),
    )
}


def agent_of(name: str) -> Agent:
    """Return the agent of this name. Raises CommandFailed."""
    if name not in AGENTS:
        raise CommandFailed(f"There is no agent {name!r} here: name {' or '.join(AGENTS)}.", status=EXIT_MISUSED)
    return AGENTS[name]
