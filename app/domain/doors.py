"""Doors: the ways by which calls come to the engine."""

from __future__ import annotations

from contextvars import ContextVar
from enum import StrEnum


class Door(StrEnum):
    """The way by which something was decided."""

    REST = "rest"
    WS = "ws"
    CLI = "cli"
    ENGINE = "engine"
    """Code of this process: the engine itself, and programs that embed it."""
    DEADLINE = "deadline"
    """Nobody decided: a question's deadline came."""


DOOR: ContextVar[Door] = ContextVar("door", default=Door.ENGINE)
"""The door of the request that is being served. The edges set it; each transaction takes it along as `State.door`."""
