"""Webhooks: create, list, pause, resume, replay, delete. Each call needs the root key."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from app.bus.port import HintBus
from app.domain.access import Role
from app.domain.clock import Clock, Instant, system_clock, to_rfc3339
from app.domain.errors import InvalidRequest, WebhookInvalid
from app.domain.handles import HandleMint
from app.domain.ids import IdSource, encode_base32, uuid_of
from app.domain.namespaces import DEFAULT
from app.domain.questions import SETTLED
from app.domain.tokens import KEY_PREFIX, ApiKey, TokenSigner
from app.domain.webhooks import Webhook, WebhookFormat, WebhookSign, WebhookSpec
from app.engine.api_keys import ApiKeys
from app.engine.chats import Chats
from app.engine.deliveries import Deliveries
from app.engine.feed import Feed
from app.engine.namespaces import Namespaces
from app.engine.ops import credentials, namespaces, pages, webhooks
from app.engine.ops.idempotency import Idempotency, known, once
from app.engine.ops.notices import NoticeParts
from app.engine.ops.pages import Page
from app.engine.ops.rules import EngineCfg
from app.engine.transactions import Transactions
from app.spawning.outbound.signing import PRIVATE_PREFIX, SECRET_PREFIX, public_key
from app.spawning.outbound.webhooks import DeliveryFailed, WebhookSender
from app.state.port import Store
from app.state.state import State
from app.state.tables import API_KEYS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

OLD_SECRET_PREFIX = "whs_"
"""Of the secrets of webhooks that earlier releases made."""
SIGNING_KEYS = 2
"""How many of the server's keys sign a delivery."""
NONCE_BYTES = 12
ROTATION = timedelta(days=1)
"""How long the secret before signs as well."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where an instance is notified, and the secret that its receiver keeps under the id of a registration."""

    url: str
    registration_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """An agent's API key with its text, and whether this call made it."""

    key: ApiKey
    text: str = field(repr=False)
    made: bool = field(kw_only=True)


class Webhooks:
    """Calls about webhooks. `sender` is None when the settings allow no webhooks."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        keys: ApiKeys,
        namespaces: Namespaces,
        mint: HandleMint,
        sender: WebhookSender | None,
        signer: TokenSigner,
    ) -> None:
        self._transactions = transactions
        self._keys = keys
        self._namespaces = namespaces
        self._mint = mint
        self._sender = sender
        self._signer = signer

    def deliveries(
        self, *, store: Store, events: Feed, bus: HintBus, clock: Clock, node: Callable[[], str], cfg: EngineCfg
    ) -> Deliveries | None:
        """Return what delivers events, for the engine to run; None when the settings allow no webhooks."""
        sender, names = self._sender, self._namespaces.name
        if sender is None:
            return None
        parts = NoticeParts(cfg=cfg, names=names)
        return Deliveries(
            store=store,
            events=events,
            bus=bus,
            webhook_sender=sender,
            secrets_of=self.secrets,
            names=names,
            chats=Chats(parts, store=store, webhook_sender=sender, mint=self._mint),
            clock=clock,
            poll_interval_s=cfg.poll_interval_ms / 1000,
            node=node,
        )

    def secrets(self, row: Webhook, now: Instant) -> list[str]:
        """Return what signs a webhook's deliveries, the current one first: for a day after a rotation, two secrets.

        With the server's keys the one before always signs as well, since receivers may have read the keys before.
        """
        if row.sealed_secret is not None:
            return [self._unsealed(row.instance or "", row.sealed_secret)]
        if row.sign is WebhookSign.ASYMMETRIC:
            return [PRIVATE_PREFIX + base64.b64encode(seed).decode() for _, seed in self._seeds()[:SIGNING_KEYS]]
        rotated = row.rotated_at
        both = rotated is not None and now - rotated < ROTATION // timedelta(milliseconds=1)
        numbers = (row.secret_number, row.secret_number - 1) if both else (row.secret_number,)
        return [self._secret(row.id, number) for number in numbers]

    def public_keys(self) -> list[tuple[str, bytes]]:
        """Return the ids and the Ed25519 public keys of the server, the newest first."""
        return [(kid, public_key(seed)) for kid, seed in self._seeds()]

    def _seeds(self) -> list[tuple[str, bytes]]:
        return self._signer.derived("webhook signatures")

    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # loaded with the first such webhook

        return AESGCM(bytes.fromhex(self._mint.keyed_digest("webhook secrets from outside")))

    def _sealed(self, instance: str, secret: str) -> str:
        nonce = os.urandom(NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher().encrypt(nonce, secret.encode(), instance.encode())).decode()

    def _unsealed(self, instance: str, sealed: str) -> str:
        content = base64.b64decode(sealed)
        return self._cipher().decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], instance.encode()).decode()

    def _shown_secret(self, row: Webhook) -> str | None:
        return self._secret(row.id, row.secret_number) if row.has_secret else None

    def _secret(self, webhook_id: str, number: int) -> str:
        """Return a webhook's secret of this number: derived from the server's own key, so no table holds it."""
        if number == 0:
            return OLD_SECRET_PREFIX + self._mint.keyed_digest(f"webhook\0{webhook_id}")
        digest = bytes.fromhex(self._mint.keyed_digest(f"webhook\0{webhook_id}\0{number}"))
        return SECRET_PREFIX.decode() + base64.b64encode(digest).decode()

    async def create(
        self,
        key_text: str,
        spec: WebhookSpec,
        *,
        namespace: str = DEFAULT,
        idempotency: Idempotency | None = None,
    ) -> tuple[Webhook, str | None]:
        """Create a webhook; return it and its secret, None where the server's key signs.

        Raises InvalidRequest for a URL that is not allowed, WebhookInvalid for fields that contradict each other.
        """
        digest = self._keys.digest(key_text)
        await self._keys.check_root(key_text)
        if self._sender is None:
            raise InvalidRequest("the settings allow no URL (setting webhooks.allow)", "url")
        spec.check()
        await self._sender.check(spec.format, spec.url)
        if spec.links is not None and not self._sender.answer_links:
            raise WebhookInvalid("the settings have no answer links (setting doors.link.enabled)", "links")

        def run(state: State) -> Webhook:
            key = credentials.find_key(state, digest)
            return once(
                state,
                f"key:{key.id}:webhook",
                idempotency,
                lambda: webhooks.create(state, spec, namespace=namespaces.use(state, namespace, by=key), by=key),
                name=lambda made: made.id,
                again=lambda webhook_id: webhooks.find(state, webhook_id),
            )

        row = await self._transactions.run("create_webhook", run)
        return row, self._shown_secret(row)

    async def provision(
        self, key_text: str, name: str | None, delivery: Delivery | None, *, idempotency: Idempotency
    ) -> Instance:
        """Make an API key with the role operator for an agent, and a webhook about the questions that it asks.

        The receiver has to repeat a challenge that the secret signs, before anything is made. The same idempotency key
        returns the same API key, whose text follows from its id. Needs the root key.

        Raises IdempotencyMismatch, InvalidName, NameTaken, InvalidRequest for a URL that is not allowed, WebhookInvalid
        for a receiver that was not verified, and KeyNotFound when the API key was revoked since.
        """
        root = await self._keys.check_root(key_text)
        scope = f"key:{root.id}:instance"
        before = await self._transactions.read(lambda state: known(state, scope, idempotency))
        id = IdSource().new("K") if before is None else str(before.value)
        spec = None if delivery is None else self._instance_webhook(id, name or _name_of(id), delivery)
        if delivery is not None and before is None:
            await self._verify(id, delivery)

        def make(state: State) -> tuple[ApiKey, bool]:
            place = namespaces.use(state, DEFAULT, by=root)
            key = credentials.create_key(
                state,
                id=id,
                name=name or _name_of(id),
                roles=frozenset({Role.OPERATOR}),
                digest=self._keys.digest(self._instance_text(id)),
                ttl=None,
                namespace=place,
                by=root,
            )
            if spec is not None:
                webhooks.create(state, spec, namespace=place, by=root)
            return key, True

        def run(state: State) -> tuple[ApiKey, bool]:
            credentials.require_root(credentials.find_key(state, self._keys.digest(key_text)))
            API_KEYS.lock(state.db, root.id)  # one after the other, since names are unique
            return once(
                state,
                scope,
                idempotency,
                lambda: make(state),
                name=lambda made: made[0].id,
                again=lambda key_id: (credentials.living_key(state, key_id), False),
            )

        key, made = await self._transactions.run("create_instance", run)
        return Instance(key, self._instance_text(key.id), made=made)

    def _instance_webhook(self, id: str, name: str, delivery: Delivery) -> WebhookSpec:
        return WebhookSpec(
            name=name,
            url=delivery.url,
            kinds=tuple(SETTLED),
            format=WebhookFormat.AAP,
            instance=id,
            sealed_secret=self._sealed(id, delivery.secret),
        )

    async def _verify(self, id: str, delivery: Delivery) -> None:
        if self._sender is None:
            raise InvalidRequest("the settings allow no URL (setting webhooks.allow)", "url")
        try:
            await self._sender.verify(
                delivery.url,
                delivery.secret,
                secrets.token_urlsafe(),
                id=str(uuid4()),
                type="webhook.verification",
                registration_id=delivery.registration_id,
                instance_id=str(uuid_of(id)),
                created_at=to_rfc3339(system_clock()),
            )
        except DeliveryFailed as failure:
            raise WebhookInvalid(f"the receiver was not verified: {failure}", "url") from failure

    def _instance_text(self, key_id: str) -> str:
        """Return the text of an instance's key: derived from the server's own key, so no table holds it."""
        number = int(self._mint.keyed_digest(f"instance\0{key_id}"), 16)
        return KEY_PREFIX + encode_base32(number >> 56, 40)

    async def rotate(
        self, key_text: str, webhook_id: str, *, idempotency: Idempotency | None = None
    ) -> tuple[Webhook, str | None]:
        """Give a webhook a new secret; return it and the secret. Raises WebhookNotFound, WebhookInvalid.

        For a day the secret before signs as well, so that receivers may change theirs at any time.
        """
        by = await self._keys.check_root(key_text)

        def run(state: State) -> Webhook:
            return once(
                state,
                f"key:{by.id}:rotate:{webhook_id}",
                idempotency,
                lambda: webhooks.rotate(state, webhook_id, by=by),
                name=lambda row: row.id,
                again=lambda id: webhooks.find(state, id),
            )

        row = await self._transactions.run("rotate_webhook", run)
        return row, self._shown_secret(row)

    async def page(
        self, key_text: str, *, namespace: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Webhook]:
        """Return a page of webhooks (of one namespace), oldest first. Needs the root key."""
        await self._keys.check_root(key_text)
        limits = self._transactions.limits

        def run(state: State) -> Page[Webhook]:
            place = namespaces.find_if_named(state, namespace)
            return pages.webhooks(state, limits, limit=limit, cursor=cursor, namespace=place)

        return await self._transactions.read(run)

    async def read(self, key_text: str, webhook_id: str) -> Webhook:
        """Return one webhook. Raises WebhookNotFound."""
        await self._keys.check_root(key_text)
        return await self._transactions.read(lambda state: webhooks.find(state, webhook_id))

    async def delete(self, key_text: str, webhook_id: str) -> None:
        """Delete a webhook. A delivery that is under way may still arrive. Raises WebhookNotFound."""
        by = await self._keys.check_root(key_text)
        await self._transactions.run("delete_webhook", lambda state: webhooks.delete(state, webhook_id, by=by))

    async def replay(self, key_text: str, webhook_id: str, after: int) -> Webhook:
        """Deliver the events after a cursor of the feed again. Raises WebhookNotFound, InvalidRequest."""
        by = await self._keys.check_root(key_text)
        return await self._transactions.run(
            "replay_webhook", lambda state: webhooks.replay(state, webhook_id, after, by=by)
        )

    async def pause(self, key_text: str, webhook_id: str) -> Webhook:
        """Pause deliveries until the webhook is resumed; its cursor is kept. Raises WebhookNotFound."""
        by = await self._keys.check_root(key_text)
        return await self._transactions.run("pause_webhook", lambda state: webhooks.pause(state, webhook_id, by=by))

    async def resume(self, key_text: str, webhook_id: str) -> Webhook:
        """Resume deliveries from its cursor, at once. Raises WebhookNotFound."""
        by = await self._keys.check_root(key_text)
        return await self._transactions.run("resume_webhook", lambda state: webhooks.resume(state, webhook_id, by=by))


def _name_of(key_id: str) -> str:
    """Return the name of an instance that was given none."""
    return f"instance {key_id}"
