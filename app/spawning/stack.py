"""A spawner with its layers around it, as one dispatch uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.attempts import Phase
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


@dataclass(frozen=True, slots=True)
class Acting:
    """What acts on one attempt: the spawner that serves it, and the layers around it, innermost first.

    The spawner is the outermost layer's stand-in, else the one that was asked for. Phase, lease, rejoining and reaping
    of the attempt go by it.
    """

    adapter: SpawnerAdapter
    layers: tuple[Layer, ...]

    @property
    def drives(self) -> bool:
        """Whether the server itself must walk the attempt through spawn, join and the steps after."""
        return any(layer.drives for layer in self.layers)

    @property
    def gates(self) -> bool:
        """Whether workers must wait until `spawn` let the attempt through."""
        return any(layer.gates for layer in self.layers)

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Let each layer shape the attempt."""
        for layer in self.layers:
            draft = layer.prepare(draft, look)
        return draft


class LinkedSpawner:
    """The stack of one dispatch: `router` innermost, base layers around it, hint layers outermost."""

    __slots__ = ("hints", "layers", "router")

    def __init__(self, router: SpawnerAdapter, layers: tuple[Layer, ...], hints: tuple[str, ...]) -> None:
        self.router = router
        self.layers = layers
        self.hints = hints

    def acting(self, facts: Facts) -> Acting:
        """What of the stack acts on this attempt."""
        layers = tuple([layer for layer in self.layers if layer.applies(facts)])
        for layer in reversed(layers):
            adapter = layer.stand_in(facts)
            if adapter is not None:
                return Acting(adapter, layers)
        return Acting(self.router, layers)

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Start the worker through all layers. Raises SpawnRefused or SpawnFailed."""
        acting = self.acting(job.facts)
        gated = acting.gates and acting.adapter.first_phase is Phase.SPAWNING
        spawn: Spawn = _let_through(acting.adapter.spawn) if gated else acting.adapter.spawn
        for layer in acting.layers:
            spawn = _around(layer, spawn)
        return self._watched(await spawn(job, control), job, control)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Watch, with all layers, a worker that was started before. Raises SpawnFailed when it is gone."""
        return self._watched(await self.acting(job.facts).adapter.rejoin(job, control), job, control)

    async def reap(self, job: Job, grace_s: float) -> None:
        """End what a dead server process left of the attempt's worker."""
        await self.acting(job.facts).adapter.reap(job, grace_s)

    def _watched(self, worker: Worker, job: Job, control: Control) -> Worker:
        for layer in self.acting(job.facts).layers:
            worker = layer.watch(job, control, worker)
        return worker


def _let_through(inner: Spawn) -> Spawn:
    """Every layer has agreed: the worker may act as soon as it is started, also before that is known here."""

    async def spawn(job: Job, control: Control) -> Worker:
        await control.let_through()
        return await inner(job, control)

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
