"""A spawner with its layers around it, as one dispatch uses it."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.errors import DispatchFailed
from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.ports import (
    Control,
    Draft,
    Escalate,
    Facts,
    HasLayers,
    Job,
    Layer,
    LayerRegistry,
    Lookup,
    Spawn,
    SpawnerAdapter,
    Worker,
)


class LinkedSpawner:
    """The stack of one dispatch: `router` innermost, base layers around it, hint layers outermost."""

    __slots__ = ("hints", "layers", "router")

    def __init__(self, router: SpawnerAdapter, layers: tuple[Layer, ...], hints: tuple[str, ...]) -> None:
        self.router = router
        self.layers = layers
        self.hints = hints

    def acting(self, facts: Facts) -> tuple[Layer, ...]:
        """The layers that act on this attempt, innermost first."""
        return tuple(layer for layer in self.layers if layer.applies(facts))

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Let each layer shape the attempt, innermost first."""
        for layer in self.acting(draft.facts):
            draft = layer.prepare(draft, look)
        return draft

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Start the worker through all layers. Raises SpawnRefused or SpawnFailed."""
        return await self._through(self.router.spawn, job)(job, control)

    def _through(self, innermost: Spawn, job: Job) -> Spawn:
        spawn = innermost
        for layer in self.acting(job.facts):
            spawn = _around(layer, spawn)
        return spawn


def _around(layer: Layer, inner: Spawn) -> Spawn:
    async def spawn(job: Job, control: Control) -> Worker:
        return await layer.spawn(job, control, inner)

    return spawn


def link(router: SpawnerAdapter, hints: Sequence[str], engine: HasLayers) -> LinkedSpawner:
    """Build the stack for one dispatch.

    Unknown hints are skipped, or refused with DispatchFailed when the engine is strict.
    """
    registry = engine.layer_registry
    unknown = registry.unknown(hints)
    if unknown and engine.strict_hints:
        raise DispatchFailed(
            f"there is no layer {', '.join(map(repr, unknown))}; there are {', '.join(registry.keys())}"
        )
    known = tuple(dict.fromkeys(key for key in hints if key not in unknown))
    return LinkedSpawner(router, registry.stack(known), known)


def settle(registry: LayerRegistry, facts: Facts, final: Final) -> Final | Escalate:
    """What the attempt's layers make of a Final, innermost first; the first that holds it back decides."""
    for layer in registry.stack(facts.layers):
        if layer.applies(facts):
            decision = layer.settle(final, facts)
            if isinstance(decision, Escalate):
                return decision
            final = decision
    return final


def resolve(registry: LayerRegistry, facts: Facts, layer_key: str, original: Final, answer: Json) -> Final | Escalate:
    """What the answer makes of a Final that `layer_key` held back; the layers outside it then have their say."""
    final, reached = original, False
    for layer in registry.stack(facts.layers):
        if reached and layer.applies(facts):
            decision = layer.settle(final, facts)
            if isinstance(decision, Escalate):
                return decision
            final = decision
        elif layer.key == layer_key:
            final, reached = layer.resolve(original, answer, facts), True
    return final
