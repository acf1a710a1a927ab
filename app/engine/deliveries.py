"""Delivery of events to webhooks: one task for each active webhook, in the order of the feed, at least once.

A delivery is done when the receiver said so and the new cursor is committed; a server that dies in between sends the
same events again. A receiver that fails holds up nobody but itself. Of several nodes the one whose turn it is delivers;
when it stops or dies another one takes the turn from the webhook's row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from app.bus.port import HintBus
from app.domain.clock import Clock, Instant, to_rfc3339
from app.domain.events import Event
from app.domain.redaction import describe
from app.domain.webhooks import Webhook, WebhookStatus
from app.engine import feed
from app.engine.chats import Chats
from app.engine.feed import Feed
from app.engine.ops import webhooks
from app.engine.ops.webhooks import Failure
from app.engine.retrying import repeat_on_hints, retry_while_busy
from app.spawning.outbound.formats import Names
from app.spawning.outbound.webhooks import DeliveryFailed, WebhookSender
from app.state.port import Store
from app.state.state import State
from app.state.tables import WEBHOOKS

_log = structlog.get_logger(__name__)

AFTER_FAULT_S = 1.0
TURNS_EVERY_S = 5.0
"""How often a node looks without a hint for webhooks whose node has left."""
LONGEST_RUN = feed.PAGE
"""How many unwanted events are skipped before the cursor of the last one is recorded."""


class Deliveries:
    """One delivering task for each active webhook, while `run` runs."""

    def __init__(
        self,
        *,
        store: Store,
        events: Feed,
        bus: HintBus,
        webhook_sender: WebhookSender,
        secrets_of: Callable[[Webhook, Instant], list[str]],
        names: Names,
        chats: Chats,
        clock: Clock,
        poll_interval_s: float,
        node: Callable[[], str],
    ) -> None:
        self._node = node
        self._store = store
        self._events = events
        self._bus = bus
        self._webhook_sender = webhook_sender
        self._secrets_of = secrets_of
        self._names = names
        self._chats = chats
        self._clock = clock
        self._poll_interval_s = poll_interval_s
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep one task running for every active webhook. Runs until cancelled."""
        try:
            await repeat_on_hints(
                self._bus,
                webhooks.TOPIC,
                self._begin,
                every_s=min(self._poll_interval_s, TURNS_EVERY_S),
                doing="read_webhooks",
                failure="webhooks_not_read",
            )
        finally:
            await self._end()

    async def _begin(self) -> None:
        """Begin to serve what this node delivers to, or may, and does not serve yet."""
        node = self._node()
        active = await self._store.read(lambda state: webhooks.to_serve(state, node))
        self._tasks = {id: task for id, task in self._tasks.items() if not task.done()}
        for row in active:
            if row.id not in self._tasks:
                self._tasks[row.id] = asyncio.get_running_loop().create_task(self._serve(row.id), name=row.id)

    async def _end(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _serve(self, webhook_id: str) -> None:
        """Deliver to one webhook until it is paused or gone, or another node does."""
        passed = _Passed()
        take = partial(webhooks.take_turn, node=self._node(), webhook_id=webhook_id)
        take_turn = partial(self._store.transact, "webhook_turn", take)
        if not await retry_while_busy(take_turn, doing="take_webhooks_turn", webhook_id=webhook_id):
            return
        await retry_while_busy(partial(self._rewind, webhook_id), doing="rewind_webhook", webhook_id=webhook_id)
        while True:
            try:
                step = partial(self._step, webhook_id, passed)
                if not await retry_while_busy(step, doing="deliver_events", webhook_id=webhook_id):
                    return
                continue
            except Exception as error:  # noqa: BLE001 - one webhook's fault must end neither it nor the others
                _log.exception("webhook_delivery_failed", webhook_id=webhook_id, reason=describe(error))
            await asyncio.sleep(AFTER_FAULT_S)

    async def _rewind(self, webhook_id: str) -> None:
        """Move a cursor that lies ahead of the feed back to its head, since nothing would be delivered until then."""
        if await self._store.read(lambda state: webhooks.is_ahead(state, webhook_id)):
            row = await self._store.transact("rewind_webhook", lambda state: webhooks.rewind(state, webhook_id))
            if row is not None:
                _log.warning("webhook_rewound", webhook_id=webhook_id, cursor=row.cursor)

    async def _step(self, webhook_id: str, passed: _Passed) -> bool:
        """Send new events, or wait until there may be some. False when it is not this node's any more."""
        subscription = self._bus.subscribe(feed.TOPIC, webhooks.topic_of(webhook_id))
        try:
            row = await self._store.read(lambda state: WEBHOOKS.get(state.db, webhook_id))
            if row is None or row.status is not WebhookStatus.ACTIVE or row.node != self._node():
                return False
            if row.next_at is not None and row.next_at > self._clock():
                await self._rest(row, row.next_at)
                return True
            page = await self._events.page(passed.position(row))
            if page:
                await self._deliver(row, page, passed)
            else:
                await subscription.wait(self._poll_interval_s)
            return True
        finally:
            subscription.close()

    async def _rest(self, row: Webhook, until: int) -> None:
        """Wait for the next try, or until the webhook is paused, resumed, replayed or deleted."""
        subscription = self._bus.subscribe(webhooks.topic_of(row.id))
        try:
            await subscription.wait(min(self._poll_interval_s, max(0.0, (until - self._clock()) / 1000)))
        finally:
            subscription.close()

    async def _deliver(self, row: Webhook, page: list[Event], passed: _Passed) -> None:
        longest = self._webhook_sender.longest_batch(row)
        wanted = [event for event in page if row.wants(event)][:longest]
        # What failed is sent again as it was: its id stands for these events and no others.
        if again := [event for event in wanted if event.cursor <= (row.retry_to or 0)]:
            wanted, longest = again, len(again)
        cut = len(wanted) == longest
        end = wanted[-1].cursor if cut else page[-1].cursor
        record = None
        if wanted:
            try:
                record = await self._send(row, wanted)
            except DeliveryFailed as error:
                await self._failed(row, wanted, error)
                return
        elif passed.over(row, end, len(page)) < LONGEST_RUN:
            return
        delivered = len(wanted) if record is not None else 0
        await self._store.transact(
            "webhook_advance", lambda state: webhooks.advance(state, row, end, delivered, record=record)
        )
        passed.clear()

    async def _send(self, row: Webhook, events: list[Event]) -> Callable[[State], None] | None:
        """Send the events; return what records it, or None when there was nothing to say of them."""
        secrets = self._secrets_of(row, self._clock())
        if row.format.is_chat:
            return await self._chats.send(row, secrets, events[0])
        if row.instance is not None and not await self._store.read(lambda s: webhooks.reports(s, row, events[0])):
            return None
        await self._webhook_sender.send(row, secrets, events, self._names)
        return _record_nothing

    async def _failed(self, row: Webhook, events: list[Event], error: DeliveryFailed) -> None:
        failure = Failure(
            detail=str(error), pause_ms=self._pause_ms(row, error), final=error.final, retry_to=events[-1].cursor
        )
        limit_ms = round(self._webhook_sender.settings.pause_after_s * 1000)
        next_at = await self._store.transact(
            "webhook_failed", lambda state: webhooks.failed(state, row, failure, pause_after_ms=limit_ms)
        )
        next_try = to_rfc3339(next_at) if next_at is not None else "none"
        _log.warning(
            "webhook_failed", webhook_id=row.id, failures=row.failures + 1, reason=error.detail, next_try=next_try
        )

    def _pause_ms(self, row: Webhook, error: DeliveryFailed) -> int:
        settings = self._webhook_sender.settings
        grown_s = settings.backoff_s * 2.0 ** min(row.failures, 30)
        return round(min(max(grown_s, error.retry_after_s), settings.max_backoff_s) * 1000)


def _record_nothing(state: State) -> None:
    """Record nothing but the new cursor."""


class _Passed:
    """How far one webhook has read beyond its recorded cursor without finding an event that it wants."""

    __slots__ = ("_count", "_cursor", "_epoch")

    def __init__(self) -> None:
        self._epoch, self._cursor, self._count = -1, 0, 0

    def position(self, row: Webhook) -> int:
        """Return the cursor after which to read on."""
        return max(row.cursor, self._cursor) if row.epoch == self._epoch else row.cursor

    def over(self, row: Webhook, cursor: int, count: int) -> int:
        """Skip `count` more events up to `cursor`; return how many were skipped since the recorded cursor."""
        if row.epoch != self._epoch:
            self.clear()
        self._epoch, self._cursor, self._count = row.epoch, cursor, self._count + count
        return self._count

    def clear(self) -> None:
        """Start over from the recorded cursor."""
        self._epoch, self._cursor, self._count = -1, 0, 0
