"""Objects by namespace and id: the last registration wins, and a late unregister never removes a newer one.

An id outlives its objects: a caller that needs one may wait until the next is registered, again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

from app.domain.namespaces import DEFAULT_ID
from app.spawning.backends.protocols import BackendGone, OperatorBackend, SeniorBridge, SpawnHook

T = TypeVar("T")
R = TypeVar("R")


class Registration(Generic[T]):
    """One holder of an id. `number` grows with every registration of its registry."""

    __slots__ = ("_registry", "id", "namespace", "number", "value")

    def __init__(self, registry: Registry[T], namespace: int, id: str, value: T, number: int) -> None:
        self._registry = registry
        self.namespace = namespace
        self.id = id
        self.value = value
        self.number = number

    @property
    def current(self) -> bool:
        """Whether nobody has taken the id over, and it was not unregistered."""
        return self._registry.current(self.id, namespace=self.namespace) is self

    def unregister(self) -> None:
        """Give the id up. Does nothing once a newer registration holds it."""
        self._registry.unregister(self.id, self, namespace=self.namespace)


class Registry(Generic[T]):
    """Names to objects; an id in two namespaces is two ids. No method but `wait_for` and `run` waits.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, str], Registration[T]] = {}
        self._waiting: dict[tuple[int, str], set[asyncio.Future[None]]] = {}
        self._number = 0

    def register(self, id: str, value: T, *, namespace: int = DEFAULT_ID) -> Registration[T]:
        """Put `value` under `id`, in place of whatever is there, and wake the waiters for the id."""
        self._number += 1
        key = namespace, id
        registration = self._held[key] = Registration(self, namespace, id, value, self._number)
        for waiter in self._waiting.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)
        return registration

    def unregister(self, id: str, registration: Registration[T] | None = None, *, namespace: int = DEFAULT_ID) -> None:
        """Remove what is under `id`; with a registration, only if that still holds it. A missing id is a no-op."""
        if registration is None or self._held.get((namespace, id)) is registration:
            self._held.pop((namespace, id), None)

    def ids(self, *, namespace: int = DEFAULT_ID) -> list[str]:
        """The ids that are held now in a namespace, sorted."""
        return sorted(id for found, id in self._held if found == namespace)

    def current(self, id: str, *, namespace: int = DEFAULT_ID) -> Registration[T] | None:
        """Return the registration that holds `id`, or None."""
        return self._held.get((namespace, id))

    async def wait_for(
        self, id: str, newer_than: Registration[T] | None = None, *, namespace: int = DEFAULT_ID
    ) -> Registration[T]:
        """Wait until somebody holds `id`, or somebody newer than `newer_than`. Cancelling is safe."""
        oldest = 0 if newer_than is None else newer_than.number + 1
        key = namespace, id
        while (registration := self._held.get(key)) is None or registration.number < oldest:
            await self._next(key)
        return registration

    async def run(self, id: str, step: Callable[[T], Awaitable[R]], *, namespace: int = DEFAULT_ID) -> R:
        """Run `step` on the holder of `id`. Each time it raises BackendGone, wait for the next holder and run it again.

        So `step` runs at least once. Cancelling goes through to it.
        """
        registration = await self.wait_for(id, namespace=namespace)
        while True:
            try:
                return await step(registration.value)
            except BackendGone:
                registration = await self.wait_for(id, newer_than=registration, namespace=namespace)

    async def _next(self, key: tuple[int, str]) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(waiter)
        try:
            await waiter
        finally:
            waiting.discard(waiter)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]


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
