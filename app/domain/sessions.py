"""Sessions: attached operators, seniors and observers; and how their agents are run (the OperatorKind cascade)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.domain.access import Role
from app.domain.clock import Instant
from app.domain.json import Json


class OperatorKind(StrEnum):
    """How an operator's agents are run: by the server alone, with a main AI, or with both."""

    AUTOMATE = "automate"
    MAIN_AI = "main_ai"
    COMPOSITE = "composite"


def collapse_operator_kind(
    agent: str,
    *,
    runtime_agents: Mapping[str, OperatorKind],
    runtime_global: OperatorKind | None,
    blueprint_agents: Mapping[str, OperatorKind],
    blueprint_global: OperatorKind | None,
) -> OperatorKind | None:
    """Return the first kind that is set: runtime per agent, runtime global, blueprint per agent, blueprint global.

    None when none is set: the session then runs as `automate`, except that a layer requested by name is active.
    """
    return runtime_agents.get(agent) or runtime_global or blueprint_agents.get(agent) or blueprint_global


class Session(NamedTuple):
    """One row of `sessions`. `rebuildable` is false with inline objects, which are lost at a restart.

    `key_id` is the API key that it was attached with, None for one that code of this process attached. A `quiet` one
    leaves no events: it only looks.
    """

    id: str
    operator_id: str
    role: Role
    jti: str
    kind: OperatorKind | None
    bridge_id: str | None
    hook_id: str | None
    operator_backend_id: str | None
    operator_kind_overrides: Json
    bp_agent_kinds: Json
    bp_global_kind: OperatorKind | None
    rebuildable: bool
    attached: bool
    attached_at: Instant
    detached_at: Instant | None
    last_seen: Instant
    expires_at: Instant
    namespace: int
    key_id: str | None
    quiet: bool

    @property
    def backend_ids(self) -> frozenset[str]:
        """Return the ids under which the session's backend is connected."""
        return frozenset(id for id in (self.bridge_id, self.operator_backend_id, self.hook_id) if id is not None)

    def kind_for(self, agent: str) -> OperatorKind | None:
        """Return the kind for one agent by the cascade, None when no tier sets it."""
        return kind_for(agent, self.kind, self.operator_kind_overrides, self.bp_agent_kinds, self.bp_global_kind)


def kind_for(
    agent: str,
    kind: OperatorKind | None,
    operator_kind_overrides: Json,
    bp_agent_kinds: Json,
    bp_global_kind: OperatorKind | None,
) -> OperatorKind | None:
    """Return the kind for one agent by the cascade over these columns of a session, None when no tier sets it."""
    return collapse_operator_kind(
        agent,
        runtime_agents=_kinds(operator_kind_overrides),
        runtime_global=kind,
        blueprint_agents=_kinds(bp_agent_kinds),
        blueprint_global=bp_global_kind,
    )


def _kinds(by_agent: Json) -> Mapping[str, OperatorKind]:
    """Return the kinds of agents; few sessions set any."""
    return {k: OperatorKind(v) for k, v in by_agent.value.items()} if by_agent.text != "{}" else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """The options of an attach. Ids name objects that are registered now or will be later."""

    kind: OperatorKind | None = None
    bridge_id: str | None = None
    hook_id: str | None = None
    operator_backend_id: str | None = None
    operator_kind_overrides: Mapping[str, OperatorKind] | None = None
    bp_agent_kinds: Mapping[str, OperatorKind] | None = None
    bp_global_kind: OperatorKind | None = None
    rebuildable: bool = True
    quiet: bool = False
