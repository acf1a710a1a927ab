"""`swarmhold skill`: the instructions for agents that work on tasks, put where a coding agent finds them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from app.cli.agents import agent_of
from app.cli.endpoint import AsJson
from app.cli.exits import CommandFailed

NAME = "swarmhold-worker"

skill = typer.Typer(
    help="Install the instructions for agents that work on tasks.", rich_markup_mode=None, no_args_is_help=True
)


@skill.callback()
def _group() -> None:
    """Keep `install` a command of its own while it is the only one."""


@skill.command()
def install(
    agent: Annotated[str, typer.Argument(help="claude or codex.")],
    project: Annotated[bool, typer.Option("--project", help="For this directory's project alone.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the skill swarmhold-worker into the agent's folder of skills. Doing it again changes nothing."""
    home = Path.cwd() if project else Path.home()
    path = home / agent_of(agent).folder / "skills" / NAME / "SKILL.md"
    text = (files("swarmhold") / "skills" / NAME / "SKILL.md").read_text("utf-8")
    done = _written(path, text, force=force)
    print(json.dumps({"file": str(path), "done": done}) if as_json else f"{path} {done}")


def _written(path: Path, text: str, *, force: bool) -> str:
    """Write the file unless it has the text already; return what was done. Raises CommandFailed."""
    try:
        before = path.read_text("utf-8") if path.exists() else None
        if before == text:
            return "has the skill already; nothing was changed."
        if before is not None and not force:
            raise CommandFailed(f"{path} differs from the skill of this version. --force replaces it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path} cannot be written: {error}.") from error
    return "holds the skill now. Start the agent with SWARMHOLD_HANDLE and SWARMHOLD_BASE_URL set."
