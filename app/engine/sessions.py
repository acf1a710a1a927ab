"""The engine's calls about sessions and live registries."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.domain.access import Caller, Role, Verb
from app.domain.errors import SessionNotFound
from app.domain.sessions import OperatorKind, Session, SessionOptions
from app.domain.tokens import CapToken
from app.engine.core import Core
from app.engine.ops import credentials, pages, reports, sessions
from app.engine.ops.idempotency import Idempotency, once
from app.engine.ops.pages import Page
from app.engine.ops.sessions import Attach
from app.spawning.backends.protocols import OperatorBackend, SeniorBridge, SpawnHook
from app.spawning.backends.registry import Registration, Registry
from app.state.state import State
from app.state.tables import SESSIONS


@dataclass(frozen=True, slots=True)
class Attached:
    """A session and the token that is bound to it."""

    token: CapToken
    session: Session


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorInfo:
    """Inline objects of an in-process operator; a restart cannot bring them back (use registered ids for that)."""

    kind: OperatorKind | None = None
    bridge: SeniorBridge | None = None
    hook: SpawnHook | None = None
    operator: OperatorBackend | None = None


_READERS = (Verb.READ_TRACE, Verb.ATTACH_SESSION)


class SessionCalls(Core):
    """Sessions and registries."""

    async def attach(self, operator_id: str, role: Role, ttl: timedelta) -> CapToken:
        """Attach with nothing said of kinds, bridges, hooks. Raises InvalidRequest."""
        return await self._attach(Attach(operator_id=operator_id, role=role, ttl=ttl, options=SessionOptions()))

    async def attach_with(self, operator_id: str, role: Role, ttl: timedelta, info: OperatorInfo) -> CapToken:
        """Attach with inline objects, registered under synthetic ids `br-`, `hk-`, `op-`. Raises InvalidRequest."""
        options = SessionOptions(
            kind=info.kind,
            bridge_id=self._inline_bridge(info.bridge),
            hook_id=_inline(self.registries.hooks, "hk", info.hook),
            operator_backend_id=_inline(self.registries.operators, "op", info.operator),
            rebuildable=info.bridge is None and info.hook is None and info.operator is None,
        )
        return await self._attach(Attach(operator_id=operator_id, role=role, ttl=ttl, options=options))

    def _inline_bridge(self, bridge: SeniorBridge | None) -> str | None:
        if bridge is None:
            return None
        registration = self.registries.bridges.register(_synthetic("br"), bridge)
        self._couriers.carry(registration)
        return registration.id

    async def attach_with_ids(
        self,
        operator_id: str,
        role: Role,
        ttl: timedelta,
        kind: OperatorKind | None = None,
        bridge_id: str | None = None,
        hook_id: str | None = None,
        operator_backend_id: str | None = None,
        operator_kind_overrides: Mapping[str, OperatorKind] | None = None,
        bp_agent_kinds: Mapping[str, OperatorKind] | None = None,
        bp_global_kind: OperatorKind | None = None,
    ) -> CapToken:
        """Attach with ids of objects that are registered now or later, so that a restart can rebuild the session."""
        options = SessionOptions(
            kind=kind,
            bridge_id=bridge_id,
            hook_id=hook_id,
            operator_backend_id=operator_backend_id,
            operator_kind_overrides=operator_kind_overrides,
            bp_agent_kinds=bp_agent_kinds,
            bp_global_kind=bp_global_kind,
        )
        return await self._attach(Attach(operator_id=operator_id, role=role, ttl=ttl, options=options))

    async def _attach(self, asked: Attach) -> CapToken:
        _, record = await self._do("attach", lambda state: sessions.attach(state, asked))
        return self.signer.sign(record.claims())

    async def attach_session(
        self,
        key_text: str,
        operator_id: str,
        role: Role,
        ttl: timedelta,
        options: SessionOptions,
        *,
        idempotency: Idempotency | None = None,
    ) -> Attached:
        """Attach by API key. Revoking the key later revokes the session. Raises Unauthenticated, RoleViolation."""
        digest = self._parts.mint.keyed_digest(key_text)

        def run(state: State) -> Any:
            key = credentials.find_key(state, digest)
            credentials.require_role(key, role)
            credentials.hold_key(state, key)
            asked = Attach(
                operator_id=operator_id,
                role=role,
                ttl=ttl,
                options=options,
                parent=key.id,
                expires_at=key.expires_at,
            )
            return once(
                state,
                f"key:{key.id}:session",
                idempotency,
                lambda: sessions.attach(state, asked),
                name=lambda made: made[0].id,
                again=lambda session_id: sessions.attached(state, session_id),
            )

        session, record = await self._do("attach", run)
        return Attached(self.signer.sign(record.claims()), session)

    async def detach(self, token: CapToken) -> None:
        """Mark the token's session detached; its tasks stay. Raises SessionNotFound."""
        await self._call("detach", token, Verb.DETACH_SESSION, sessions.detach)

    async def heartbeat(self, token: CapToken) -> None:
        """A sign of life; a detached session is attached again. Raises SessionNotFound."""
        await self._call("heartbeat", token, Verb.HEARTBEAT, sessions.heartbeat)

    async def own_session(self, token: CapToken) -> Session:
        """The caller's own session. Raises SessionNotFound."""

        def run(state: State, caller: Caller) -> Session:
            session = SESSIONS.get(state.db, caller.session_id) if caller.session_id else None
            if session is None or caller.attempt is not None:
                raise SessionNotFound
            return session

        return await self._look(token, (), run)

    async def list_sessions(self, token: CapToken, *, limit: int = 50, cursor: str | None = None) -> Page[Session]:
        """Sessions, newest first."""
        return await self._look(token, _READERS, lambda s, _: pages.sessions(s, limit=limit, cursor=cursor))

    async def read_session(self, token: CapToken, session_id: str) -> Session:
        """One session. Raises SessionNotFound."""

        def run(state: State, _: Caller) -> Session:
            session = SESSIONS.get(state.db, session_id)
            if session is None:
                raise SessionNotFound(session_id)
            return session

        return await self._look(token, _READERS, run)

    async def registry(self, token: CapToken) -> dict[str, list[str]]:
        """Ids of everything that is registered in this process, and the names of spawners and layers."""
        await self._look(token, _READERS, lambda _, caller: caller)
        return {
            "senior_bridges": self.registries.bridges.ids(),
            "spawn_hooks": self.registries.hooks.ids(),
            "operators": self.registries.operators.ids(),
            "spawners": self._parts.catalog.kinds(),
            "layers": self.layer_registry.keys(),
        }

    async def stats(self, token: CapToken) -> dict[str, Any]:
        """Counts of everything that lives. Reads much, so it reads beside the loop."""
        await self._look(token, _READERS, lambda _, caller: caller)
        return await self._store.read(reports.stats, bulk=True)

    # Registries of live objects: the last registration wins; a late unregister never removes a newer one.

    async def register_senior_bridge(
        self, id: str, bridge: SeniorBridge, *, carried: bool = True
    ) -> Registration[SeniorBridge]:
        """Put a bridge under a name; it is shown every question that is addressed to it, or to nobody in particular.

        At least once: what is open now, then what comes, as long as the engine runs and the name is its own. One that
        is not `carried` shows itself what it wants.
        """
        registration = self.registries.bridges.register(id, bridge)
        if carried:
            self._couriers.carry(registration)
        else:
            self._couriers.look_again()
        return registration

    async def register_spawn_hook(self, id: str, hook: SpawnHook) -> Registration[SpawnHook]:
        """Put a spawn hook under a name; attempts that wait for it go on."""
        return self.registries.hooks.register(id, hook)

    async def register_operator(self, id: str, operator: OperatorBackend) -> Registration[OperatorBackend]:
        """Put an operator backend under a name; attempts that wait for it go on."""
        return self.registries.operators.register(id, operator)

    async def unregister_senior_bridge(self, id: str, registration: Registration[SeniorBridge] | None = None) -> None:
        """Remove a bridge; with its registration, only if that is still the one. A missing id is a no-op."""
        _unregister(self.registries.bridges, id, registration)
        self._couriers.look_again()

    async def unregister_spawn_hook(self, id: str, registration: Registration[SpawnHook] | None = None) -> None:
        """Remove a spawn hook, as above."""
        _unregister(self.registries.hooks, id, registration)

    async def unregister_operator(self, id: str, registration: Registration[OperatorBackend] | None = None) -> None:
        """Remove an operator backend, as above."""
        _unregister(self.registries.operators, id, registration)

    async def list_senior_bridge_ids(self) -> list[str]:
        """Ids of registered senior bridges."""
        return self.registries.bridges.ids()

    async def list_spawn_hook_ids(self) -> list[str]:
        """Ids of registered spawn hooks."""
        return self.registries.hooks.ids()

    async def list_operator_ids(self) -> list[str]:
        """Ids of registered operator backends."""
        return self.registries.operators.ids()


def _inline(registry: Registry[Any], prefix: str, value: object | None) -> str | None:
    if value is None:
        return None
    return registry.register(_synthetic(prefix), value).id


def _synthetic(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(8)}"


def _unregister(registry: Registry[Any], id: str, registration: Registration[Any] | None) -> None:
    if registration is None:
        registry.unregister(id)
    else:
        registration.unregister()
