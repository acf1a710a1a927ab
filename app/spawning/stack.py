"""A spawner with its layers around it: as it was dispatched, and what of it acts on one attempt.

`link` builds the stack of a dispatch. `SpawnerStack.resolve` decides once per attempt which spawner serves it and which
layers act on it; the resulting `ActiveStack` is used in every step of the attempt's life.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.domain.attempts import DispatchOutcome, Phase
from app.domain.errors import DispatchFailed, EngineError
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

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ActiveLayers:
    """The layers that act on one attempt, innermost first, and their decisions: plain functions, repeatable."""

    facts: Facts
    layers: tuple[Layer, ...]

    @property
    def drives(self) -> bool:
        """Whether a layer has steps of its own, so that the server has to drive the attempt."""
        return any(layer.drives for layer in self.layers)

    @property
    def gates(self) -> bool:
        """Whether the worker must wait until every layer's `spawn` has let the attempt through."""
        return any(layer.gates for layer in self.layers)

    @property
    def hooks(self) -> tuple[str, ...]:
        """The spawn hooks that have to agree before the attempt starts."""
        return tuple(dict.fromkeys(hook for layer in self.layers for hook in layer.hooks(self.facts)))

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Return the draft as every layer has shaped it."""
        for layer in self.layers:
            draft = layer.prepare(draft, look)
        return draft

    def settle(self, final: Final) -> Final | Escalate:
        """Return what the Final means to the layers; the first layer that holds it back decides."""
        return self._settle(self.layers, final)

    def resolve(self, layer_key: str, original: Final, answer: Json) -> Final | Escalate:
        """Return what the answer makes of a Final that `layer_key` held back, settled by the layers outside it."""
        keys = [layer.key for layer in self.layers]
        if layer_key not in keys:
            return original
        at = keys.index(layer_key)
        return self._settle(self.layers[at + 1 :], self.layers[at].resolve(original, answer, self.facts))

    def _settle(self, layers: tuple[Layer, ...], final: Final) -> Final | Escalate:
        for layer in layers:
            if layer.settles:
                decision = layer.settle(final, self.facts)
                if isinstance(decision, Escalate):
                    return decision
                final = decision
        return final


@dataclass(frozen=True, slots=True)
class ActiveStack(ActiveLayers):
    """The spawner that serves one attempt, and the layers around it.

    The spawner is the outermost layer's stand-in, else the dispatched one. Phase, lease, rejoining and reaping of the
    attempt go by it.
    """

    spawner: SpawnerAdapter

    @property
    def detached(self) -> bool:
        """Whether the spawner's workers need nothing of the server but its answers."""
        return is_detached(self.spawner)

    @property
    def hands_out_handle(self) -> bool:
        """Whether the dispatcher gets the handle, to pass it to a worker."""
        return bool(getattr(self.spawner, "hands_out_handle", False))

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Start the worker through all layers. Raises SpawnRefused or SpawnFailed."""
        gated = self.gates and self.spawner.first_phase is Phase.SPAWNING
        spawn: Spawn = _let_through(self.spawner.spawn) if gated else self.spawner.spawn
        for layer in self.layers:
            spawn = _around(layer, spawn)
        return self._watched(await spawn(job, control), job, control)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Watch, with all layers, a worker that was started before. Raises SpawnFailed when it is gone."""
        return self._watched(await self.spawner.rejoin(job, control), job, control)

    async def reap(self, job: Job, grace_s: float) -> None:
        """End what a dead server process left of the attempt's worker."""
        await self.spawner.reap(job, grace_s)

    async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
        """Run the layers' steps after the end, innermost first. What one raises is logged and stops no other."""
        for layer in self.layers:
            try:
                await layer.after(job, control, outcome)
            except EngineError as error:
                _log.info("after_step_fenced_off", layer=layer.key, reason=str(error))
            except Exception:  # noqa: BLE001 - one layer's fault must not keep the others and the row from finishing
                _log.warning("after_step_raised", layer=layer.key, exc_info=True)

    def _watched(self, worker: Worker, job: Job, control: Control) -> Worker:
        for layer in self.layers:
            worker = layer.watch(job, control, worker)
        return worker


class SpawnerStack:
    """The stack of a dispatch: `router` innermost, base layers around it, hint layers outermost."""

    __slots__ = ("hints", "layers", "router")

    def __init__(self, router: SpawnerAdapter, layers: tuple[Layer, ...], hints: tuple[str, ...]) -> None:
        self.router = router
        self.layers = layers
        self.hints = hints

    @property
    def may_drive(self) -> bool:
        """Whether an attempt through this stack may have to be driven by the server, inherited gates aside."""
        if not is_detached(self.router):
            return True
        return any(layer.drives and (not layer.standing or layer.key in self.hints) for layer in self.layers)

    def hooks(self, facts: Facts) -> tuple[str, ...]:
        """Return the spawn hooks that its layers ask about an attempt with these facts."""
        return tuple(dict.fromkeys(hook for layer in self.layers for hook in layer.hooks(facts)))

    def resolve(self, facts: Facts) -> ActiveStack:
        """Return what of the stack acts on this attempt."""
        layers = [layer for layer in self.layers if layer.applies(facts)]
        spawner = self.router
        for layer in layers:
            if layer.drives and (stand_in := layer.stand_in(facts)) is not None:
                spawner = stand_in
        return ActiveStack(facts, _acting_on(layers, detached=is_detached(spawner)), spawner)


def is_detached(spawner: SpawnerAdapter) -> bool:
    """Whether the spawner's workers need nothing of the server but its answers; False unless it says so."""
    return bool(getattr(spawner, "detached", False))


def active_layers(registry: LayerRegistry, facts: Facts, *, detached: bool, holding: str | None = None) -> ActiveLayers:
    """Return the layers that act on an attempt whose spawner is (not) detached, for their decisions alone.

    The layer with the key `holding` is among them even if it does not apply any more: it has to resolve what it held.
    """
    layers = [layer for layer in registry.stack(facts.layers) if layer.key == holding or layer.applies(facts)]
    return ActiveLayers(facts, _acting_on(layers, detached=detached))


def link(router: SpawnerAdapter, hints: Sequence[str], engine: HasLayers) -> SpawnerStack:
    """Build the stack for one dispatch.

    Unknown hints are skipped, or refused with DispatchFailed when the engine is strict.
    """
    registry = engine.layer_registry
    if not hints:
        return SpawnerStack(router, registry.stack(()), ())
    unknown = registry.unknown(hints)
    if unknown and engine.strict_hints:
        raise DispatchFailed(
            f"there is no layer {', '.join(map(repr, unknown))}; there are {', '.join(registry.keys())}"
        )
    known = tuple(dict.fromkeys(key for key in hints if key not in unknown))
    return SpawnerStack(router, registry.stack(known), known)


def _acting_on(layers: list[Layer], *, detached: bool) -> tuple[Layer, ...]:
    return tuple([layer for layer in layers if not (detached and layer.skips_detached)])


def _let_through(inner: Spawn) -> Spawn:
    """Let the worker act before it is started: every layer has agreed, and it may be quicker than this process."""

    async def spawn(job: Job, control: Control) -> Worker:
        await control.let_through()
        return await inner(job, control)

    return spawn


def _around(layer: Layer, inner: Spawn) -> Spawn:
    async def spawn(job: Job, control: Control) -> Worker:
        return await layer.spawn(job, control, inner)

    return spawn
