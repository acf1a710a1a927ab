"""Settings of the doors besides REST and WebSocket."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class McpSettings:
    """Settings of the MCP door."""

    enabled: bool = True
    """Whether `/mcp` serves MCP clients."""
    concurrency: int = 64
    """Calls of tools that are carried out at a time, those that wait aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookDoorSettings:
    """Settings of the door for the hooks of coding agents."""

    enabled: bool = True
    """Whether `/v1/doors/claude-code/hook` and `/v1/doors/codex/hook` answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AapSettings:
    """Settings of the approval provider."""

    enabled: bool = False
    """Whether `/aap/v1` serves clients of the Agent Approval Protocol; see [connect](connect/approval-protocol.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDoorSettings:
    """Settings of answer links."""

    enabled: bool = True
    """Whether answer links are made, shown at `/a` and taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSettings:
    """Settings of the doors besides REST and WebSocket."""

    hold: timedelta = timedelta(seconds=25)
    """How long a call of a door waits for an answer or a result where it does not say; 50 seconds at most."""
    mcp: McpSettings = field(default_factory=McpSettings)
    hooks: HookDoorSettings = field(default_factory=HookDoorSettings)
    aap: AapSettings = field(default_factory=AapSettings)
    link: LinkDoorSettings = field(default_factory=LinkDoorSettings)
