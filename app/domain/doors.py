"""Doors: the ways by which calls come to the engine."""

from __future__ import annotations

from contextvars import ContextVar
from enum import StrEnum


class Door(StrEnum):
    """The way by which something was decided."""

    REST = "rest"
    WS = "ws"
    MCP = "mcp"
    HOOK = "hook"
    """The hook of a coding agent."""
    AAP = "aap"
    """The Agent Approval Protocol, by which programs ask."""
    LINK = "link"
    """An answer link: its holder is taken for the person that it was made for."""
    CLI = "cli"
    ENGINE = "engine"
    """Code of this process: the engine itself, and programs that embed it."""
    DEADLINE = "deadline"
    """Nobody decided: a question's deadline came."""


ANSWERING = frozenset(Door) - {Door.AAP, Door.ENGINE, Door.CLI, Door.DEADLINE}
"""Doors of requests, which a question may close to answers."""
CONSOLE = "console"
"""What a question calls the doors `rest` and `ws` together, by which the console answers."""

MEASURED = "swarmhold.door.measured"
"""Where the scope of a door's request has its method, as metrics count it."""

DOOR: ContextVar[Door] = ContextVar("door", default=Door.ENGINE)
"""The door of the request that is being served. The edges set it; each transaction takes it along as `State.door`."""
