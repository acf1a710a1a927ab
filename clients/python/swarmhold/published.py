"""Published skills: agents behind queues that MCP clients know as tools."""

from __future__ import annotations

from swarmhold.calls import Calls, read
from swarmhold.models.admin import Skill, SkillRequest
from swarmhold.models.shapes import Page
from swarmhold.transport import segment

_PATH = "/v1/admin/skills"


class SkillCalls(Calls):
    """Calls that publish, list and delete skills."""

    async def create_skill(self, skill: SkillRequest, *, idempotency_key: str | None = None) -> Skill:
        """Publish a skill: from now on it is an MCP tool of its name in its namespace.

        Raises:
            ApiProblem: `name-taken` while the namespace has another of this name; a schema that cannot be used.
        """
        return read(Skill, await self._transport.create(_PATH, skill, key=idempotency_key))

    async def skills(self, *, namespace: str | None = None) -> list[Skill]:
        """Return every skill (of one namespace), oldest first."""
        return await self._all(_PATH, Page[Skill], {"namespace": namespace})

    async def skill(self, skill_id: str) -> Skill:
        """Return one skill."""
        return read(Skill, await self._transport.get(f"{_PATH}/{segment(skill_id)}"))

    async def delete_skill(self, skill_id: str) -> None:
        """Delete a skill. What its calls started goes on."""
        await self._transport.delete(f"{_PATH}/{segment(skill_id)}")
