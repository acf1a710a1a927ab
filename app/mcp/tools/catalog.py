"""All tools, and those that a client has."""

from __future__ import annotations

from app.domain.access import Role
from app.mcp.clients import Client
from app.mcp.tools.asking import ASKING
from app.mcp.tools.deciding import DECIDING
from app.mcp.tools.tasks import TASKS
from app.mcp.tools.tool import Tool
from app.mcp.tools.working import WORKING

TOOLS = (*ASKING, *TASKS, *WORKING, *DECIDING)
"""All tools, in the order of their listing."""


def tools_for(client: Client) -> list[tuple[Tool, Role]]:
    """Return the tools of a client and the role in which it uses each; its credential alone decides."""
    return [(tool, role) for tool in TOOLS if (role := tool.role_for(client)) is not None]
