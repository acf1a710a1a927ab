"""The compose file, read as its client reads it: profiles, variables and their defaults."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.sources import ROOT

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file, with the values of variables where they are given and their defaults elsewhere."""
    given = variables or {}
    text = (ROOT / "docker-compose.yml").read_text()
    return yaml.safe_load(_VARIABLE.sub(lambda found: given.get(found[1], found[2]), text))


def services(profile: str) -> dict[str, Any]:
    """What one profile starts: its own services, and those without any."""
    return {
        name: service
        for name, service in compose()["services"].items()
        if profile in service.get("profiles", [profile])
    }


def manual_lines(about: str, *, document: str = "operations.md") -> str:
    """The shell lines of a manual that contain this text."""
    manual = (ROOT / "docs" / document).read_text()
    [found] = [
        block for block in re.findall(r"^```(?:text)?\n(.*?)^```$", manual, re.MULTILINE | re.DOTALL) if about in block
    ]
    return found


def default_profile() -> str:
    """What starts where no profile is named."""
    [found] = re.findall(r"^COMPOSE_PROFILES=(\w+)$", (ROOT / ".env").read_text(), re.MULTILINE)
    return found
