"""The rows of what is registered on this node, and what other nodes take over.

Registering is a matter of this process first; the row follows at once. By it other nodes hand over the attempts that
need what is registered here, and the connection that had the id before, on whichever node, learns that it was replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import structlog

from app.bus.port import HintBus
from app.engine.ops import registrations
from app.engine.ops.registrations import Place
from app.engine.retrying import repeat_on_hints, retry_while_busy
from app.engine.transactions import Transactions
from app.spawning.backends.registry import Held, Registration, Registries
from app.state.state import State

LOOK_EVERY_S = 5.0

_log = structlog.get_logger(__name__)


@runtime_checkable
class Replaceable(Protocol):
    """A registered object that wants to know when another node has its id."""

    def replaced(self) -> None:
        """Take note that a newer registration took the id over."""
        ...


class Registrations:
    """Keeps the rows of this node's registrations. `node` returns the node's id."""

    def __init__(
        self, transactions: Transactions, *, registries: Registries, bus: HintBus, node: Callable[[], str]
    ) -> None:
        self._transactions = transactions
        self._registries = registries
        self._bus = bus
        self._node = node
        self._epochs: dict[Registration[Any], tuple[str, int]] = {}
        for registry in registries.all:
            registry.elsewhere = self._is_elsewhere
            registry.changed = partial(bus.publish, (registrations.TOPIC,))

    async def run(self) -> None:
        """Keep rows and registrations together. Runs until cancelled."""
        await repeat_on_hints(
            self._bus,
            registrations.TOPIC,
            self.reconcile,
            every_s=LOOK_EVERY_S,
            doing="reconcile_registrations",
            failure="registrations_failed",
        )

    async def reconcile(self) -> None:
        """Write what was registered here or no more, and give way to what was registered elsewhere. Raises Busy."""
        node = self._node()
        here = [held for registry in self._registries.all for held in registry.registrations()]
        new = [held for held in here if self._epochs.get(held, ("", 0))[0] != node]
        gone = {held: self._epochs[held] for held in self._epochs.keys() - set(here)}
        # Of a node that was declared dead and joined again others may have taken over what it had.
        known = {place_of(held) for held in new if held in self._epochs}

        def write(state: State) -> dict[Place, int | None]:
            places = {place_of(held) for held in new}
            for held, (owner, epoch) in gone.items():
                if place_of(held) not in places:
                    registrations.give_up(state, owner, place_of(held), epoch)
            return {place: registrations.hold(state, node, place, unless_taken=place in known) for place in places}

        if new or gone:
            epochs = await self._transactions.run("register", write)
            self._epochs = {held: found for held, found in self._epochs.items() if held not in gone}
            self._epochs |= {held: (node, epochs[place_of(held)] or 0) for held in new}
        await self._give_way(node)

    async def _give_way(self, node: str) -> None:
        awaited = {
            (key[0], f"{registry.kind}:{key[1]}"): (registry, key)
            for registry in self._registries.all
            for key in registry.awaited
        }
        if not self._epochs and not awaited:
            return
        own, elsewhere = await self._transactions.read(
            lambda state: (registrations.of_node(state, node), registrations.elsewhere(state, node, awaited))
        )
        for held, (_, epoch) in list(self._epochs.items()):
            if own.get(place_of(held)) != epoch and held.current:
                self._lose(held)
        for place in elsewhere:
            registry, key = awaited[place]
            registry.hand_over(key)

    def _lose(self, held: Registration[Any]) -> None:
        _log.info("registration_replaced", name=place_of(held)[1])
        held.unregister()
        if isinstance(held.value, Replaceable):
            held.value.replaced()

    async def _is_elsewhere(self, kind: str, held: Held) -> bool:
        place, node = (held[0], f"{kind}:{held[1]}"), self._node()
        look = partial(registrations.elsewhere, node=node, places=[place])
        found = await retry_while_busy(lambda: self._transactions.read(look), doing="find_registration")
        return bool(found)


def place_of(held: Registration[Any]) -> Place:
    """Return where the row of a registration stands."""
    return held.namespace, f"{held.kind}:{held.id}"
