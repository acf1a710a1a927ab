"""Sessions: attaching to the engine, and what is attached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from swarmhold.models.enums import OperatorKind, Role
from swarmhold.models.instants import Instant, SessionTtl
from swarmhold.models.names import NamespaceName, NewName, OnlyTheseKeys
from swarmhold.models.shapes import Request, Shape, null_as

__all__ = ["AttachRequest", "Attached", "Registry", "Session"]

SessionRole = Literal[Role.OPERATOR, Role.OBSERVER, Role.SENIOR]

Kinds = Annotated[dict[NewName, OperatorKind], Field(max_length=1000), OnlyTheseKeys()]


class AttachRequest(Request):
    """Attach for `ttl` seconds under the label `operator_id`, by default the key's name.

    `namespace` is for the root key, which belongs to none: `default` without one. For other keys it is their own.

    A `quiet` session leaves no events when it comes and goes: for those who only look. It is detached when its client
    closes its last event stream or WebSocket, and attached again by a heartbeat.

    `kind` and `operator_kind_overrides` are the runtime tiers of the kind cascade and win
    over the `bp_` ones; an explicit `automate` counts.
    """

    operator_id: NewName | None = None
    namespace: NamespaceName | None = None
    role: Annotated[SessionRole, null_as(Role.OPERATOR)] = Role.OPERATOR
    ttl: SessionTtl
    kind: OperatorKind | None = None
    bridge_id: NewName | None = None
    hook_id: NewName | None = None
    operator_backend_id: NewName | None = None
    operator_kind_overrides: Annotated[Kinds, null_as({})] = Field(default_factory=dict)
    bp_agent_kinds: Annotated[Kinds, null_as({})] = Field(default_factory=dict)
    bp_global_kind: OperatorKind | None = None
    quiet: Annotated[StrictBool, null_as(False)] = False


class Session(Shape):
    """One attached operator, senior or observer; never with its token.

    One that is not `rebuildable` holds inline objects, which a restart loses.
    """

    id: str
    namespace: str | None = None
    operator_id: str
    role: SessionRole
    kind: OperatorKind | None
    attached: bool
    attached_at: Instant
    last_seen: Instant
    bridge_id: str | None
    hook_id: str | None = None
    operator_backend_id: str | None = None
    operator_kind_overrides: dict[str, OperatorKind] | None = None
    bp_agent_kinds: dict[str, OperatorKind] | None = None
    bp_global_kind: OperatorKind | None = None
    rebuildable: bool | None = None
    detached_at: Instant | None = None
    expires_at: Instant | None = None
    quiet: bool | None = None


class Attached(Shape):
    """The only reply that shows a session's token."""

    token: str = Field(repr=False)
    session: Session


class Registry(Shape):
    """The ids of what is registered and may be named in a session, a question or a dispatch."""

    senior_bridges: list[str]
    spawn_hooks: list[str]
    operators: list[str]
    spawners: list[str]
    layers: list[str]
