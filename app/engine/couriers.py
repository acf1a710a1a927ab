"""Couriers: deliver questions to senior bridges that are Python objects. WebSocket consoles read the feed themselves.

A courier shows its bridge the open questions, then each new one, until the bridge's id is unregistered or registered
again. Delivery is at least once: a bridge that registers again is shown every question that is still open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import structlog

from app.domain.events import Event
from app.domain.limits import Limits
from app.domain.namespaces import DEFAULT_ID
from app.domain.questions import ASKED, SETTLED, Question, QuestionStatus
from app.domain.redaction import describe
from app.engine.feed import Feed
from app.engine.ops import questions
from app.engine.ops.pages import addressed_questions
from app.engine.retrying import retry_while_busy
from app.spawning.backends.protocols import BackendGone, SeniorBridge
from app.spawning.backends.registry import Registration, Registry
from app.state.port import Store
from app.state.tables import QUESTIONS

_log = structlog.get_logger(__name__)

AFTER_FAULT_S = 1.0
PAGE = 200


Held = Registration[SeniorBridge]


class Couriers:
    """The registered bridges, and one courier for each while the engine runs."""

    def __init__(self, store: Store, feed: Feed, bridges: Registry[SeniorBridge], limits: Limits) -> None:
        self._store = store
        self._feed = feed
        self._bridges = bridges
        self._limits = limits
        self._running = False
        self._held: list[Held] = []
        self._tasks: dict[Held, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def register(self, id: str, bridge: SeniorBridge, *, namespace: int = DEFAULT_ID, carried: bool = True) -> Held:
        """Register a bridge under an id; it is shown every question that is addressed to it, or to any bridge.

        Delivery is at least once, first the open questions, then new ones, while the engine runs and the bridge holds
        the id. A bridge that is not `carried` gets no courier: it reads the feed itself.
        """
        registration = self._bridges.register(id, bridge, namespace=namespace)
        if carried:
            self._held.append(registration)
        self._refresh()
        return registration

    def unregister(self, id: str, registration: Held | None = None, *, namespace: int = DEFAULT_ID) -> None:
        """Remove a bridge; with its registration, only if that is still the current one. A missing id is a no-op."""
        self._bridges.unregister(id, registration, namespace=namespace)
        self._refresh()

    def _refresh(self) -> None:
        """Stop the couriers of bridges that lost their id, and start those of new ones."""
        self._held = [held for held in self._held if held.current]
        for held in [held for held in self._tasks if not held.current]:
            self._let_go(self._tasks.pop(held))
        if not self._running:
            return
        for held in self._held:
            if held not in self._tasks:
                courier = _Courier(self._store, self._feed, held, self._limits)
                self._tasks[held] = asyncio.get_running_loop().create_task(courier.run(), name=f"courier {held.id}")

    def _let_go(self, task: asyncio.Task[None]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        task.cancel()

    def start(self) -> None:
        """Start a courier for each registered bridge."""
        self._running = True
        self._refresh()

    async def stop(self) -> None:
        """Stop every courier. Bridges stay registered, and get a courier again at the next start."""
        self._running = False
        for task in self._tasks.values():
            self._let_go(task)
        self._tasks.clear()
        await asyncio.gather(*self._leaving, return_exceptions=True)


class _Courier:
    """Delivers questions from the feed to one bridge."""

    def __init__(self, store: Store, feed: Feed, registration: Held, limits: Limits) -> None:
        self._limits = limits
        self._store = store
        self._feed = feed
        self._id = registration.id
        self._namespace = registration.namespace
        self._bridge = registration.value
        self._shown: set[str] = set()

    async def run(self) -> None:
        """Serve the bridge until cancelled, or until it raises BackendGone."""
        while True:
            try:
                return await retry_while_busy(self._serve, doing="deliver_questions", bridge_id=self._id)
            except BackendGone:
                _log.info("bridge_gone", bridge_id=self._id)
                return None
            except Exception:  # noqa: BLE001 - after any error, the bridge's questions must still be delivered
                _log.exception("courier_failed", bridge_id=self._id)
            await asyncio.sleep(AFTER_FAULT_S)

    async def _serve(self) -> None:
        """Show the open questions, then new ones. The stream starts first, so that no question is missed in between."""
        async with self._feed.follow(after=None, kinds=ASKED | SETTLED.keys(), namespace=self._namespace) as stream:
            await stream.open()
            await self._show_open()
            async for item in stream:
                if isinstance(item, Event):
                    await self._happened(item)

    async def _show_open(self) -> None:
        after = ""
        while True:
            rows = await self._store.read(
                lambda state, after=after: addressed_questions(
                    state, self._limits, self._namespace, self._id, after=after, limit=PAGE
                )
            )
            for row in rows:
                await self._show(row)
            if not rows:
                return
            after = rows[-1].key

    async def _happened(self, event: Event) -> None:
        data: dict[str, Any] = event.data.value if event.data is not None else {}
        key = str(data.get("key"))
        if event.kind in ASKED:
            if data.get("to", data.get("bridge_id")) in (None, self._id):
                row = await self._store.read(lambda state: QUESTIONS.get(state.db, key))
                if row is not None and row.status is QuestionStatus.OPEN:
                    await self._show(row)
        elif key in self._shown:
            self._shown.discard(key)
            await self._notify(self._bridge.withdrawn(key, SETTLED[event.kind]), key)

    async def _show(self, row: Question) -> None:
        if row.key in self._shown or not await self._notify(self._bridge.ask(row), row.key):
            return
        self._shown.add(row.key)
        await self._store.transact("mark_delivered", lambda state: questions.mark_delivered(state, [row.key], self._id))

    async def _notify(self, call: Awaitable[None], key: str) -> bool:
        """Await the bridge's call; return whether it succeeded. Raises BackendGone."""
        try:
            await call
        except BackendGone:
            raise
        except Exception as error:  # noqa: BLE001 - a question that makes a bridge fail must not block the others
            _log.warning("senior_bridge_failed", bridge_id=self._id, key=key, error=describe(error))
            return False
        return True
