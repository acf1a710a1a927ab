"""Objects by namespace and id: the last registration wins, and a late unregister never removes a newer one.

An id outlives its objects: a caller that needs one may wait until the next is registered, again and again, unless
another node has it: then the caller's attempt is left to that node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

from app.domain.namespaces import DEFAULT_ID
from app.spawning.backends.protocols import BackendGone, HeldElsewhere, OperatorBackend, SeniorBridge, SpawnHook

T = TypeVar("T")
R = TypeVar("R")

Held = tuple[int, str]
"""Namespace and id."""


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

    @property
    def kind(self) -> str:
        """The kind of what is registered."""
        return self._registry.kind

    def unregister(self) -> None:
        """Give the id up. Does nothing once a newer registration holds it."""
        self._registry.unregister(self.id, self, namespace=self.namespace)


class Registry(Generic[T]):
    """Names to objects; an id in two namespaces is two ids. No method but `wait_for` and `run` waits.

    Belongs to one event loop. `kind` names what is registered, `elsewhere` returns whether another node has an id that
    nobody has here, and `changed` is called when something was registered or unregistered.
    """

    def __init__(self, kind: str = "") -> None:
        self.kind = kind
        self.elsewhere: Callable[[str, Held], Awaitable[bool]] | None = None
        self.changed: Callable[[], None] = _nobody_listens
        self._held: dict[Held, Registration[T]] = {}
        self._waiting: dict[Held, set[asyncio.Future[None]]] = {}
        self._number = 0

    def register(self, id: str, value: T, *, namespace: int = DEFAULT_ID) -> Registration[T]:
        """Put `value` under `id`, in place of whatever is there, and wake the waiters for the id."""
        self._number += 1
        key = namespace, id
        registration = self._held[key] = Registration(self, namespace, id, value, self._number)
        for waiter in self._waiting.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)
        self.changed()
        return registration

    def unregister(self, id: str, registration: Registration[T] | None = None, *, namespace: int = DEFAULT_ID) -> None:
        """Remove what is under `id`; with a registration, only if that still holds it. A missing id is a no-op."""
        if registration is None or self._held.get((namespace, id)) is registration:
            self._held.pop((namespace, id), None)
            self.changed()

    def ids(self, *, namespace: int = DEFAULT_ID) -> list[str]:
        """The ids that are held now in a namespace, sorted."""
        return sorted(id for found, id in self._held if found == namespace)

    def registrations(self) -> list[Registration[T]]:
        """Return what is registered now."""
        return list(self._held.values())

    @property
    def awaited(self) -> frozenset[Held]:
        """The ids that callers wait for now."""
        return frozenset(self._waiting)

    def hand_over(self, held: Held) -> None:
        """Let those who wait for an id know that another node has it."""
        for waiter in self._waiting.pop(held, ()):
            if not waiter.done():
                waiter.set_exception(HeldElsewhere(f"{self.kind}:{held[1]}"))

    def current(self, id: str, *, namespace: int = DEFAULT_ID) -> Registration[T] | None:
        """Return the registration that holds `id`, or None."""
        return self._held.get((namespace, id))

    async def wait_for(
        self, id: str, newer_than: Registration[T] | None = None, *, namespace: int = DEFAULT_ID
    ) -> Registration[T]:
        """Wait until somebody holds `id`, or somebody newer than `newer_than`. Cancelling is safe.

        Raises HeldElsewhere when that is another node.
        """
        oldest = 0 if newer_than is None else newer_than.number + 1
        key = namespace, id
        while (registration := self._held.get(key)) is None or registration.number < oldest:
            await self._next(key)
        return registration

    async def run(self, id: str, step: Callable[[T], Awaitable[R]], *, namespace: int = DEFAULT_ID) -> R:
        """Run `step` on the holder of `id`. Each time it raises BackendGone, wait for the next holder and run it again.

        So `step` runs at least once. Cancelling goes through to it. Raises HeldElsewhere when another node has it.
        """
        registration = await self.wait_for(id, namespace=namespace)
        while True:
            try:
                return await step(registration.value)
            except BackendGone:
                registration = await self.wait_for(id, newer_than=registration, namespace=namespace)

    async def _next(self, key: Held) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(waiter)
        try:
            if self.elsewhere is not None and await self.elsewhere(self.kind, key) and not waiter.done():
                raise HeldElsewhere(f"{self.kind}:{key[1]}")
            await waiter
        finally:
            waiting.discard(waiter)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]


def _nobody_listens() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Registries:
    """Live objects of one engine by id: senior bridges, spawn hooks, operator backends."""

    bridges: Registry[SeniorBridge] = field(default_factory=lambda: Registry[SeniorBridge]("bridge"))
    hooks: Registry[SpawnHook] = field(default_factory=lambda: Registry[SpawnHook]("hook"))
    operators: Registry[OperatorBackend] = field(default_factory=lambda: Registry[OperatorBackend]("operator"))

    @property
    def all(self) -> tuple[Registry[Any], ...]:
        """The three of them."""
        return self.bridges, self.hooks, self.operators


@runtime_checkable
class UsesRegistries(Protocol):
    """A layer or a spawner's builder that looks registered objects up. Each engine binds it to its own registries."""

    def bound_to(self, registries: Registries) -> Self:
        """Return one that looks up in these registries."""
        ...


def bind(value: T, registries: Registries) -> T:
    """Return the value, bound to the registries if it looks objects up in any."""
    return value.bound_to(registries) if isinstance(value, UsesRegistries) else value
