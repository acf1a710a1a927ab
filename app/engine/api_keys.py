"""API keys: check, create, list, revoke, and the root key, which alone may manage the others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from app.domain.access import Role, RoleVerbGate, Verb
from app.domain.doors import Door
from app.domain.errors import RoleViolation
from app.domain.handles import HandleMint
from app.domain.namespaces import DEFAULT
from app.domain.tokens import ApiKey
from app.engine.batches import Batches
from app.engine.ops import audit, credentials, held_ids, namespaces, pages
from app.engine.ops.idempotency import Idempotency, once
from app.engine.ops.pages import Page
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.tables import API_KEYS


class ApiKeys:
    """Calls about API keys. `key_text` is the caller's own key."""

    def __init__(self, transactions: Transactions, *, batches: Batches, mint: HandleMint, gate: RoleVerbGate) -> None:
        self._transactions = transactions
        self._batches = batches
        self._mint = mint
        self._gate = gate

    def digest(self, key_text: str) -> str:
        """Return the keyed digest under which an API key is stored."""
        return self._mint.keyed_digest(key_text)

    async def check(self, key_text: str, role: Role) -> ApiKey:
        """Return the valid API key, which may act as the role. Raises Unauthenticated, RoleViolation."""
        key = await self.find(key_text)
        credentials.require_role(key, role)
        return key

    async def check_verb(self, key_text: str, verb: Verb) -> ApiKey:
        """Return the valid API key, one of whose roles may use the verb. Raises Unauthenticated, RoleViolation."""
        key = await self.find(key_text)
        if not any(self._gate.allows(role, verb) for role in key.role_set):
            raise RoleViolation("this API key", verb.value)
        return key

    async def check_root(self, key_text: str) -> ApiKey:
        """Return the root key. Raises Unauthenticated, RoleViolation."""
        key = await self.find(key_text)
        credentials.require_root(key)
        return key

    async def find(self, key_text: str) -> ApiKey:
        """Return the valid API key, whatever it may do. Raises Unauthenticated."""
        digest = self.digest(key_text)
        return await self._transactions.read(lambda state: credentials.find_key(state, digest))

    async def create(
        self,
        key_text: str,
        name: str,
        roles: frozenset[Role],
        ttl: timedelta | None,
        *,
        namespace: str = DEFAULT,
        person: bool = False,
        email: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> tuple[ApiKey, str]:
        """Create an API key; return it and its text, which is shown this once. Needs the root key.

        `person`: it is a person's, which no agent holds. The same idempotency key returns the same API key with a new
        text. Raises Unauthenticated, RoleViolation, InvalidName, NameTaken, InvalidRequest.
        """
        root = self.digest(key_text)
        text = credentials.new_key_text()
        digest = self.digest(text)

        def run(state: State) -> ApiKey:
            key = credentials.find_key(state, root)
            credentials.require_root(key)
            API_KEYS.lock(state.db, key.id)  # one after the other, since names are unique
            return once(
                state,
                f"key:{key.id}:key",
                idempotency,
                lambda: credentials.create_key(
                    state,
                    name=name,
                    roles=roles,
                    digest=digest,
                    ttl=ttl,
                    namespace=namespaces.use(state, namespace, by=key),
                    person=person,
                    email=email,
                    by=key,
                ),
                name=lambda made: made.id,
                again=lambda key_id: credentials.renew_key_secret(state, key_id, digest, by=key),
            )

        return await self._transactions.run("create_key", run), text

    async def page(
        self, key_text: str, *, namespace: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[ApiKey]:
        """Return a page of API keys (of one namespace), oldest first, without their texts. Needs the root key."""
        await self.check_root(key_text)
        limits = self._transactions.limits

        def run(state: State) -> Page[ApiKey]:
            place = namespaces.find_if_named(state, namespace)
            return pages.keys(state, limits, limit=limit, cursor=cursor, namespace=place)

        return await self._transactions.read(run)

    async def revoke(self, key_text: str, key_id: str) -> None:
        """Revoke an API key and everything that descends from it. Needs the root key. Raises KeyNotFound.

        Afterwards nothing of it can act. Cancelling the call does not stop what has begun.
        """
        root = await self.check_root(key_text)
        await self._transactions.run("revoke_key", lambda s: credentials.revoke_key(s, key_id, by=root))
        await self._batches.finish(key_id)

    async def record_command(self, key_text: str, action: str, about: Mapping[str, Any]) -> None:
        """Record what a command of this machine does beside the server. Needs the root key."""
        digest = self.digest(key_text)

        def run(state: State) -> None:
            key = credentials.find_key(state, digest)
            credentials.require_root(key)
            audit.record(state, key, action, door=Door.CLI, **about)

        await self._transactions.run("record_command", run)

    async def release_id(self, key_text: str, id: str, *, namespace: str) -> None:
        """Release an id of a bridge, hook or backend, and close its connection. Needs the root key.

        Raises HeldIdNotFound.
        """
        root = await self.check_root(key_text)
        await self._transactions.run("release_id", lambda state: held_ids.release(state, namespace, id, by=root))

    async def ensure_root(self, key_text: str) -> bool:
        """Make this text the root key; return whether that changed anything. For the server's own start.

        Afterwards nothing of another root key, nor of any that was being revoked, can act.
        """
        digest = self.digest(key_text)
        changed = await self._transactions.run("ensure_root_key", lambda state: credentials.ensure_root(state, digest))
        await self._batches.finish_revocations()
        return changed

    async def has_root(self) -> bool:
        """Return whether a valid root key exists."""
        return await self._transactions.read(credentials.has_root)
