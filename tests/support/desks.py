"""A question, a person who may answer it by a link, and links."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from app.domain.access import Role
from app.domain.doors import DOOR, Door
from app.domain.json import Json
from app.domain.questions import Ask, Question
from app.domain.sessions import SessionOptions
from app.domain.tokens import CapToken
from app.engine.ops.links import LinkWish
from tests.support.swarms import DAY, Swarm

HOUR_MS = 3_600_000
YES, NO = Json('"yes"'), Json('"no"')


@dataclass(slots=True)
class Desk:
    """An open question, the key of the person Pat, and links."""

    swarm: Swarm
    ids: dict[str, str]
    texts: dict[str, str]
    question: Question

    async def key(self, name: str, *roles: Role, person: bool = True, **more: Any) -> str:
        """The id of a new key."""
        root = await self.swarm.root_key()
        made, self.texts[name] = await self.swarm.engine.keys.create(
            root, name, frozenset(roles or Role), None, person=person, **more
        )
        self.ids[name] = made.id
        return made.id

    async def attach(self, name: str, role: Role) -> CapToken:
        """The token of a session of this key."""
        key = self.texts[name]
        return (await self.swarm.engine.sessions.attach_by_key(key, None, role, DAY, SessionOptions())).token

    async def ask(self, bearer: CapToken | None = None, **parts: Any) -> Question:
        """A new question without a task."""
        ask = replace(Ask(question=Json.of("May I?")), **parts)
        return await self.swarm.engine.questions.ask_alone(bearer or self.swarm.operator, ask)

    async def link(self, question: Question | None = None, **wish: Any) -> str:
        """The secret of a new link for Pat."""
        wanted = replace(LinkWish(person="pat", ttl_ms=HOUR_MS), **wish)
        key = (question or self.question).key
        return (await self.swarm.engine.links.make(self.swarm.senior, key, wanted))[1]

    async def answer(self, secret: str, value: Json = YES) -> Question:
        """Answer by a link."""
        door = DOOR.set(Door.LINK)
        try:
            return await self.swarm.engine.links.answer(secret, value, address="192.0.2.7")
        finally:
            DOOR.reset(door)
