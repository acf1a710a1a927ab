"""Objects by id: the last registration wins, and a late unregister never removes a newer one.

An id outlives its objects: a caller that needs one may wait until the next is registered, again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

from app.spawning.backends.protocols import BackendGone, OperatorBackend, SeniorBridge, SpawnHook

T = TypeVar("T")
R = TypeVar("R")


class Registration(Generic[T]):
    """One holder of an id. `number` grows with every registration of its registry."""

    __slots__ = ("_registry", "id", "number", "value")

    def __init__(self, registry: Registry[T], id: str, value: T, number: int) -> None:
        self._registry = registry
        self.id = id
        self.value = value
        self.number = number

    @property
    def current(self) -> bool:
        """Whether nobody has taken the id over, and it was not unregistered."""
        return self._registry.current(self.id) is self

    def unregister(self) -> None:
        """Give the id up. Does nothing once a newer registration holds it."""
        self._registry.unregister(self.id, self)


class Registry(Generic[T]):
    """Names to objects. Belongs to one event loop; no method but `wait_for` and `run` waits."""

    def __init__(self) -> None:
        self._held: dict[str, Registration[T]] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._number = 0

    def register(self, id: str, value: T) -> Registration[T]:
        """Register `value` under `id` in place of any other, and wake the callers that wait for the id."""
        self._number += 1
        registration = self._held[id] = Registration(self, id, value, self._number)
        for waiter in self._waiting.pop(id, ()):
            if not waiter.done():
                waiter.set_result(None)
        return registration

    def unregister(self, id: str, registration: Registration[T] | None = None) -> None:
        """Remove what is under `id`; with a registration, only if that still holds it. A missing id is a no-op."""
        if registration is None or self._held.get(id) is registration:
            self._held.pop(id, None)

    def ids(self) -> list[str]:
        """The ids that are held now, sorted."""
        return sorted(self._held)

    def current(self, id: str) -> Registration[T] | None:
        """Return the registration that holds `id`, or None."""
        return self._held.get(id)

    async def wait_for(self, id: str, newer_than: Registration[T] | None = None) -> Registration[T]:
        """Wait until somebody holds `id`, or somebody newer than `newer_than`. Cancelling is safe."""
        oldest = 0 if newer_than is None else newer_than.number + 1
        while (registration := self._held.get(id)) is None or registration.number < oldest:
            await self._next(id)
        return registration

    async def run(self, id: str, step: Callable[[T], Awaitable[R]]) -> R:
        """Run `step` on the holder of `id`. Each time it raises BackendGone, wait for the next holder and run it again.

        So `step` runs at least once. Cancelling goes through to it.
        """
        registration = await self.wait_for(id)
        while True:
            try:
                return await step(registration.value)
            except BackendGone:
                registration = await self.wait_for(id, newer_than=registration)

    async def _next(self, id: str) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(id, set())
        waiting.add(waiter)
        try:
            await waiter
        finally:
            waiting.discard(waiter)
            if not waiting and self._waiting.get(id) is waiting:
                del self._waiting[id]


@dataclass(frozen=True, slots=True)
class Registries:
    """Live objects of one engine by id: senior bridges, spawn hooks, operator backends."""

    bridges: Registry[SeniorBridge] = field(default_factory=Registry[SeniorBridge])
    hooks: Registry[SpawnHook] = field(default_factory=Registry[SpawnHook])
    operators: Registry[OperatorBackend] = field(default_factory=Registry[OperatorBackend])


@runtime_checkable
class UsesRegistries(Protocol):
    """A layer or a spawner's builder that looks registered objects up. Each engine binds it to its own registries."""

    def bound_to(self, registries: Registries) -> Self:
        """Return one that looks up in these registries."""
        ...


def bind(value: T, registries: Registries) -> T:
    """Return the value, bound to the registries if it looks objects up in any."""
    return value.bound_to(registries) if isinstance(value, UsesRegistries) else value
