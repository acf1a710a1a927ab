"""The settings files of coding agents, into which a hook is merged."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from app.cli.agents import Agent
from app.cli.exits import CommandFailed

TIMEOUT_S = 60
"""How long the agent waits for the hook: longer than the command does, whose own timeout denies."""


def install(agent: Agent, project: Path | None) -> str:
    """Merge the hook into the settings of the user, or of the project; return what was done. Raises CommandFailed."""
    path = (project or Path.home()) / agent.folder / agent.file
    before = _read(path)
    # Any status but 2 would let the tool be used: also that of a shell which does not find the command.
    command = f"swarmhold hook {agent.name} || exit 2"
    groups = _groups(path, before, agent.event)
    if any(command == one.get("command") for group in groups for one in _hooks(group)):
        return f"{path} has the hook of {agent.event} already; nothing was changed."
    groups.append({"matcher": agent.matcher, "hooks": [{"type": "command", "command": command, "timeout": TIMEOUT_S}]})
    _write(path, before)
    return (
        f"{path} now runs `{command}` at {agent.event} of {agent.matcher}. Start {agent.title} with SWARMHOLD_KEY set "
        "to a key with the role operator, and keep those tools off its allow list."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{path} cannot be read as JSON, so nothing was changed: {error}.") from error
    if not isinstance(found, dict):
        raise CommandFailed(f"{path} is no JSON object, so nothing was changed.")
    return cast("dict[str, Any]", found)


def _groups(path: Path, settings: dict[str, Any], event: str) -> list[dict[str, Any]]:
    hooks = settings.setdefault("hooks", {})
    groups: Any = cast("dict[str, Any]", hooks).setdefault(event, []) if isinstance(hooks, dict) else None
    if not isinstance(groups, list):
        raise CommandFailed(f"{path} has hooks in a form that is not known, so nothing was changed.")
    return cast("list[dict[str, Any]]", groups)


def _hooks(group: Any) -> list[dict[str, Any]]:
    found = cast("dict[str, Any]", group).get("hooks") if isinstance(group, dict) else None
    return [one for one in cast("list[Any]", found) if isinstance(one, dict)] if isinstance(found, list) else []


def _write(path: Path, settings: dict[str, Any]) -> None:
    """Replace the file at once, so that no reader sees half of it; its mode stays. A link's target is replaced."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    Path(name).chmod(mode)
    Path(name).replace(target)
