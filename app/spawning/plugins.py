"""Load spawners and layers of installed packages, by their entry points."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import structlog

from app.domain.redaction import describe

SPAWNERS = "swarmhold.spawners"
"""Entry points named after a kind; each is a function from a spec, `{kind, …}`, to a SpawnerAdapter."""

LAYERS = "swarmhold.layers"
"""Entry points named after a layer's key; each is a Layer class without arguments, or a function that makes a layer."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginProblem:
    """An entry point that could not be used, and why."""

    group: str
    name: str
    reason: str


def load(group: str) -> tuple[dict[str, Any], list[PluginProblem]]:
    """Return what could be loaded, by name, and what could not. A broken package never raises."""
    loaded: dict[str, Any] = {}
    problems: list[PluginProblem] = []
    for point in entry_points(group=group):
        try:
            thing = point.load()
            if not callable(thing):
                raise TypeError(f"{point.value} is not callable")
        except Exception as error:  # noqa: BLE001 - a package's import may raise anything, and must not end the server
            problems.append(PluginProblem(group=group, name=point.name, reason=describe(error)))
            _log.warning("plugin_not_loaded", group=group, plugin=point.name, error=describe(error))
        else:
            loaded[point.name] = thing
    return loaded, problems
