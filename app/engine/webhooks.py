"""Webhooks: create, list, pause, resume, replay, delete. Each call needs the root key."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta

from app.bus.port import HintBus
from app.domain.clock import Clock, Instant
from app.domain.errors import InvalidRequest, WebhookInvalid
from app.domain.handles import HandleMint
from app.domain.namespaces import DEFAULT
from app.domain.tokens import TokenSigner
from app.domain.webhooks import Webhook, WebhookSign, WebhookSpec
from app.engine.api_keys import ApiKeys
from app.engine.chats import Chats
from app.engine.deliveries import Deliveries
from app.engine.feed import Feed
from app.engine.namespaces import Namespaces
from app.engine.ops import credentials, namespaces, pages, webhooks
from app.engine.ops.idempotency import Idempotency, once
from app.engine.ops.notices import NoticeParts
from app.engine.ops.pages import Page
from app.engine.ops.rules import EngineCfg
from app.engine.transactions import Transactions
from app.spawning.outbound.signing import PRIVATE_PREFIX, SECRET_PREFIX, public_key
from app.spawning.outbound.webhooks import WebhookSender
from app.state.port import Store
from app.state.state import State

OLD_SECRET_PREFIX = "whs_"
"""Of the secrets of webhooks that earlier releases made."""
SIGNING_KEYS = 2
"""How many of the server's keys sign a delivery."""
ROTATION = timedelta(days=1)
"""How long the secret before signs as well."""


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
        await self._namespaces.learn(row.namespace)
        return row, self._shown_secret(row)

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
