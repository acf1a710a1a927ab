"""Sessions: attach, heartbeat, detach, read; and the loop that detaches those that missed their heartbeats."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.domain.access import Caller, Role, Verb
from app.domain.errors import SessionNotFound
from app.domain.namespaces import DEFAULT
from app.domain.sessions import OperatorKind, Session, SessionOptions
from app.domain.tokens import CapToken, TokenSigner
from app.engine.api_keys import ApiKeys
from app.engine.couriers import Couriers
from app.engine.gaps import GapMonitor
from app.engine.namespaces import Namespaces
from app.engine.ops import credentials, held_ids, namespaces, pages, sessions
from app.engine.ops.idempotency import Idempotency, once
from app.engine.ops.pages import Page
from app.engine.ops.queries import reaches
from app.engine.ops.rules import EngineCfg
from app.engine.ops.sessions import Attach
from app.engine.retrying import try_step
from app.engine.transactions import Transactions
from app.spawning.backends.protocols import OperatorBackend, SeniorBridge, SpawnHook
from app.spawning.backends.registry import Registries, Registry
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


READERS = (Verb.READ_TRACE, Verb.ATTACH_SESSION)
"""Verbs of which one is enough to read about all sessions."""

HOLDERS = (Verb.ANSWER_QUERY, Verb.DISPATCH_ATTEMPT)
"""Verbs of which one is enough to connect under an id."""

_BATCH = 200


class Sessions:
    """Calls about sessions."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        keys: ApiKeys,
        namespaces: Namespaces,
        signer: TokenSigner,
        registries: Registries,
        couriers: Couriers,
        gaps: GapMonitor,
        cfg: EngineCfg,
    ) -> None:
        self._transactions = transactions
        self._keys = keys
        self._namespaces = namespaces
        self._signer = signer
        self._registries = registries
        self._couriers = couriers
        self._gaps = gaps
        self._cfg = cfg

    # Attaching

    async def attach(
        self, operator_id: str, role: Role, ttl: timedelta, options: SessionOptions, *, namespace: str = DEFAULT
    ) -> CapToken:
        """Attach a session, for code of this process; return its token. Raises InvalidRequest."""
        found = await self._namespaces.use(namespace)
        asked = Attach(operator_id=operator_id, role=role, ttl=ttl, options=options, namespace=found)
        _, record = await self._transactions.run("attach", lambda state: sessions.attach(state, asked))
        return self._signer.sign(record.claims())

    async def attach_inline(
        self, operator_id: str, role: Role, ttl: timedelta, info: OperatorInfo, *, namespace: str = DEFAULT
    ) -> CapToken:
        """Attach with inline objects, registered under synthetic ids `br-`, `hk-`, `op-`. Raises InvalidRequest."""
        found = await self._namespaces.use(namespace)
        options = SessionOptions(
            kind=info.kind,
            bridge_id=self._inline_bridge(info.bridge, found),
            hook_id=_inline(self._registries.hooks, "hk", info.hook, found),
            operator_backend_id=_inline(self._registries.operators, "op", info.operator, found),
            rebuildable=info.bridge is None and info.hook is None and info.operator is None,
        )
        return await self.attach(operator_id, role, ttl, options, namespace=namespace)

    def _inline_bridge(self, bridge: SeniorBridge | None, namespace: int) -> str | None:
        return None if bridge is None else self._couriers.register(_synthetic("br"), bridge, namespace=namespace).id

    async def attach_by_key(
        self,
        key_text: str,
        operator_id: str | None,
        role: Role,
        ttl: timedelta,
        options: SessionOptions,
        *,
        namespace: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> Attached:
        """Attach a session by an API key, whose revocation ends it too. Its label is the key's name by default.

        The same idempotency key returns the same session. Raises Unauthenticated, RoleViolation, InvalidName,
        InvalidRequest.
        """
        digest = self._keys.digest(key_text)

        def run(state: State) -> Any:
            key = credentials.find_key(state, digest)
            credentials.require_role(key, role)
            credentials.lock_key(state, key)
            asked = Attach(
                operator_id=key.name if operator_id is None else operator_id,
                root=key.root,
                role=role,
                ttl=ttl,
                options=options,
                namespace=namespaces.of_key(state, key, namespace),
                key_id=key.id,
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

        session, record = await self._transactions.run("attach", run)
        return Attached(self._signer.sign(record.claims()), session)

    # The session of a token

    async def detach(self, token: CapToken) -> None:
        """Mark the token's session detached; its tasks stay. Raises SessionNotFound."""
        await self._transactions.call("detach", token, Verb.DETACH_SESSION, sessions.detach)

    async def heartbeat(self, token: CapToken) -> None:
        """Record a heartbeat; a detached session is attached again. Raises SessionNotFound."""
        await self._transactions.call("heartbeat", token, Verb.HEARTBEAT, sessions.heartbeat)

    async def detach_left(self, caller: Caller) -> None:
        """Mark the caller's session detached after its client left, if it is a quiet one, which only looks."""
        if caller.session_id is not None:
            await self._transactions.run("detach_left", lambda state: sessions.detach_left(state, caller))

    async def read_own(self, token: CapToken) -> Session:
        """Return the caller's own session. Raises SessionNotFound."""

        def run(state: State, caller: Caller) -> Session:
            session = SESSIONS.get(state.db, caller.session_id) if caller.session_id else None
            if session is None or caller.attempt is not None:
                raise SessionNotFound
            return session

        return await self._transactions.read_as(token, (), run)

    async def hold_id(self, token: CapToken, id: str) -> None:
        """Let the caller's API key hold the id of a bridge, hook or backend. Raises IdTaken."""
        await self._transactions.call(
            "hold_id", token, HOLDERS, lambda s, c: held_ids.hold(s, c.namespace, id, c.key_id)
        )

    # All sessions

    async def page(
        self, token: CapToken, *, attached: bool | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Session]:
        """Return a page of sessions, newest first: those that are attached now, those that ended, or all."""
        limits = self._transactions.limits

        def run(state: State, caller: Caller) -> Page[Session]:
            return pages.sessions(state, limits, caller.namespace, limit=limit, cursor=cursor, attached=attached)

        return await self._transactions.read_as(token, READERS, run)

    async def read(self, token: CapToken, session_id: str) -> Session:
        """Return one session. Raises SessionNotFound."""

        def run(state: State, caller: Caller) -> Session:
            session = SESSIONS.get(state.db, session_id)
            if session is None or not reaches(caller, session.namespace):
                raise SessionNotFound(session_id)
            return session

        return await self._transactions.read_as(token, READERS, run)

    # Sessions that missed their heartbeats

    async def keep_detaching(self) -> None:
        """Run `detach_unresponsive` every heartbeat interval, for ever."""
        while True:
            await asyncio.sleep(self._cfg.heartbeat_interval_ms / 1000)
            await try_step(self.detach_unresponsive, doing="detach_unresponsive", failure="detaching_failed")

    async def detach_unresponsive(self) -> None:
        """Mark sessions detached that missed `heartbeat_miss_threshold` intervals."""
        await self._gaps.catch_up()
        allowed = self._cfg.heartbeat_interval_ms * self._cfg.heartbeat_miss_threshold
        keep = self._cfg.keepalive_on_idle
        batch = _BATCH if keep else 1

        def run(state: State) -> int:
            if not self._gaps.is_current():
                return 0
            return sessions.detach_unresponsive(state, state.now - allowed, batch, keep_tasks=keep)

        while await self._transactions.run("detach_unresponsive", run) == batch:
            pass


def _inline(registry: Registry[Any], prefix: str, value: object | None, namespace: int) -> str | None:
    if value is None:
        return None
    return registry.register(_synthetic(prefix), value, namespace=namespace).id


def _synthetic(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(8)}"
