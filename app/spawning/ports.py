"""The contracts of spawners, workers and layers, and of what the engine offers them.

A spawner starts the worker of one attempt. A layer wraps spawners: it may shape the attempt before it is prepared,
wrap the spawn, decide what a Final means, and act after the attempt is settled. Decisions (`prepare`, `settle`,
`resolve`) are plain functions that run inside the engine's transaction, so they are durable by construction and may run
more than once; steps that wait (`spawn`, `after`) run outside any transaction, at least once, and begin again after a
restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from app.domain.attempts import DispatchOutcome, Phase
from app.domain.json import Json
from app.domain.namespaces import DEFAULT_ID
from app.domain.outputs import Final, OutputEvent
from app.domain.sessions import OperatorKind
from app.domain.tokens import CapToken


class Facts(NamedTuple):
    """The facts about an attempt that every step of its life can use.

    `spawner` is the kind of the dispatched spawner, `kind` the operator kind that the cascade chose, if any tier set
    one. `gates` are the spawn hooks that have to agree whatever the session says: those of an attempt that was prepared
    before, and those that the attempt of its dispatcher went through.
    """

    task_id: str
    attempt: int
    agent: str
    spawner: str
    layers: tuple[str, ...]
    session_id: str | None
    kind: OperatorKind | None
    hook_id: str | None
    bridge_id: str | None
    operator_backend_id: str | None
    namespace: int = DEFAULT_ID
    gates: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Draft:
    """An attempt about to be prepared; a layer returns a changed copy. `notes` are added to its started event.

    `may_look` tells whether the author of the prompt may read resources.
    """

    facts: Facts
    prompt: str
    may_look: bool = True
    system: str | None = None
    notes: tuple[tuple[str, Any], ...] = ()


Lookup = Callable[[str], Json | None]
"""Reads a named resource inside the transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalate:
    """A layer's decision to hold a Final back and ask a senior. The answer goes to the layer's `resolve`."""

    layer: str
    question: Json
    original: Final
    answer_schema: Json | None = None


class Job(NamedTuple):
    """One attempt as its spawner sees it. `process` is what an earlier server process recorded about the worker.

    `trace` is the context for the worker's own spans (`domain.traces`).
    """

    facts: Facts
    spec: Json
    prompt: str
    system: str | None
    base_url: str
    started_at: int
    timeout_at: int | None
    process: Json | None
    trace: str | None = None

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.facts.task_id

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        return self.facts.attempt

    @property
    def agent(self) -> str:
        """The agent that the task is for."""
        return self.facts.agent


class Control(Protocol):
    """Calls of a running attempt to the engine. They raise AttemptSuperseded or Cancelled when it is fenced off.

    While the store is away they wait for it; only `output` does not repeat a commit whose result is unknown.
    """

    async def let_through(self) -> None:
        """Let the worker act from now on: every layer has agreed. For the stack, before it calls the spawner."""
        ...

    async def mint_handle(self) -> str:
        """Return a fresh handle for this attempt; earlier ones stay valid."""
        ...

    async def worker_token(self) -> CapToken:
        """Return the attempt's worker token."""
        ...

    async def record_process(self, info: dict[str, Any]) -> None:
        """Store what is needed to find the worker again (a process group and its start time, say).

        Of a worker that is called again later, `next_try_at` (milliseconds), `tried` and `failure` are shown to those
        who ask why the task waits.
        """
        ...

    async def output(self, event: OutputEvent) -> None:
        """Append an output event (progress, partial, artifact, usage) in the worker's name.

        At the limits of an attempt's outputs one output more says so; the others are dropped, and the attempt goes on.
        Raises InvalidRequest for a Final, and StoreUnavailable when it is `unsure` whether the event was committed.
        """
        ...

    async def bake_system(self, system: str | None) -> None:
        """Set the system prompt that the worker fetches."""
        ...

    async def held_long(self, held_s: float) -> None:
        """Emit an event that the attempt outlived its limit. Once per attempt, however often it is called."""
        ...

    async def ended(self) -> None:
        """Wait until the attempt is no longer live, whatever ended it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a worker ended. `final` is what it returned, if it returned a result rather than submitted one.

    A worker that exits without `final` and has not submitted has failed; `detail` says why.
    """

    final: Final | None = None
    detail: str = "the worker ended without a result"


class Worker(Protocol):
    """A started worker that the server watches. One that dies with the server is joined or stopped to its end."""

    async def join(self) -> Exit:
        """Wait for its end. Cancelling this wait does not stop the worker, and it may be waited for again."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Ask it to stop, kill it after the grace period, and return when nothing of it is alive. Idempotent."""
        ...


class SpawnRefused(Exception):
    """Raised by a spawner or layer that refuses the attempt for a reason: the attempt is blocked with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SpawnFailed(Exception):
    """Raised by a spawner whose worker could not be started: the attempt fails with this detail."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@runtime_checkable
class SpawnerAdapter(Protocol):
    """Starts the worker of an attempt.

    Two optional attributes, False where they are missing, say more of its workers. `detached`: they need nothing of the
    server but its answers (nothing is watched, stopped or returned), so that the attempt is driven only if its layers
    need it. `hands_out_handle`: the dispatcher gets the handle and passes it on; such an attempt is not retried.
    """

    @property
    def kind(self) -> str:
        """The name of its kind, as specs spell it."""
        ...

    @property
    def spec(self) -> dict[str, Any]:
        """The spec recorded with the attempt, `{kind, …}`: enough to build an equal spawner again."""
        ...

    @property
    def first_phase(self) -> Phase:
        """`running` when nothing is started, `queued` when a queue holds it, else `spawning`."""
        ...

    @property
    def outlives_server(self) -> bool:
        """Whether its workers go on when the server dies; such attempts are re-joined, others are lost."""
        ...

    @property
    def leased(self) -> bool:
        """Whether its workers are under the engine's lease when the dispatch names none."""
        ...

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Start the worker. Raises SpawnRefused or SpawnFailed. Cancelling leaves nothing started."""
        ...

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Watch a worker that an earlier server process started. Raises SpawnFailed when it is gone.

        Also called, only to stop the worker, when the attempt ended and its worker was perhaps not stopped.
        """
        ...

    async def reap(self, job: Job, grace_s: float) -> None:
        """End what a dead server process left of this attempt's worker, going by `job.process`. Idempotent.

        Called before anything else is done with the attempt, whether it is still live or not.
        """
        ...


Spawn = Callable[[Job, Control], Awaitable[Worker]]


class Layer:
    """Wraps spawners. Subclass and override what the layer does; each default does nothing."""

    key: ClassVar[str]
    """The name by which dispatches request it."""

    gates: ClassVar[bool] = False
    """Whether workers must wait (NotStarted) until its `spawn` has let the attempt through."""

    skips_detached: ClassVar[bool] = False
    """Whether it leaves attempts of detached spawners alone, whose workers submit instead of returning."""

    standing: ClassVar[bool] = False
    """Whether it belongs to every stack, asked for or not, so that `applies` alone decides whether it acts."""

    drives: ClassVar[bool] = False
    """Whether it has steps of its own, so that the server drives the attempt. Derived from what is overridden."""

    settles: ClassVar[bool] = False
    """Whether it has a say in what a Final means. Derived from what is overridden."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.drives = _overrides(cls, "spawn", "stand_in", "watch", "after")
        cls.settles = _overrides(cls, "settle", "resolve")

    def applies(self, facts: Facts) -> bool:
        """Whether the layer acts on this attempt at all. Plain, repeatable."""
        del facts
        return True

    def hooks(self, facts: Facts) -> tuple[str, ...]:
        """Return the ids of the spawn hooks that have to agree to this attempt."""
        del facts
        return ()

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Shape the attempt inside the prepare transaction. Plain, repeatable."""
        del look
        return draft

    async def spawn(self, job: Job, control: Control, inner: Spawn) -> Worker:
        """Wrap the spawn; call `inner` to go on. Raises SpawnRefused to block the attempt with a reason."""
        return await inner(job, control)

    def stand_in(self, facts: Facts) -> SpawnerAdapter | None:
        """Return the spawner that replaces the dispatched one in every step of the attempt's life; None for none.

        Phase, lease, rejoining and reaping go by it too.
        """
        del facts
        return None

    def watch(self, job: Job, control: Control, worker: Worker) -> Worker:
        """Wrap a worker that was started or re-joined. Plain; starts nothing by itself."""
        del job, control
        return worker

    def settle(self, final: Final, facts: Facts) -> Final | Escalate:
        """Return what the Final means, inside the settling transaction. Plain, repeatable."""
        del facts
        return final

    def resolve(self, original: Final, answer: Json, facts: Facts) -> Final:
        """Return what the answer to this layer's Escalate makes of the Final. Plain, repeatable."""
        del answer, facts
        return original

    async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
        """Act after the end of the attempt, at least once, also after a restart."""


def _overrides(layer: type[Layer], *methods: str) -> bool:
    return any(getattr(layer, method) is not getattr(Layer, method) for method in methods)


class HasLayers(Protocol):
    """The part of an engine that `link` needs."""

    @property
    def layer_registry(self) -> LayerRegistry:
        """The layers that exist."""
        ...

    @property
    def strict_hints(self) -> bool:
        """Whether an unknown hint is refused rather than skipped."""
        ...


class LayerRegistry:
    """Base layers, always there and in order, and hint layers, requested by key."""

    def __init__(self, *, base: Sequence[Layer] = (), hints: Sequence[Layer] = ()) -> None:
        self._base = tuple(base)
        self._hints = {layer.key: layer for layer in hints}
        self._standing = tuple(layer for layer in hints if layer.standing)
        self._unasked = self._base + self._standing
        self._settling = any(layer.settles for layer in self._base)
        self._settling_detached = any(layer.settles and not layer.skips_detached for layer in self._base)

    def base_settles(self, *, detached: bool) -> bool:
        """Whether a base layer has a say in what a Final of a (not) detached spawner means."""
        return self._settling_detached if detached else self._settling

    def mapped(self, change: Callable[[Layer], Layer]) -> LayerRegistry:
        """Return a registry of the changed layers, or this one when none changes."""
        base = [change(layer) for layer in self._base]
        hints = [change(layer) for layer in self._hints.values()]
        same = all(new is old for new, old in zip((*base, *hints), (*self._base, *self._hints.values()), strict=True))
        return self if same else LayerRegistry(base=base, hints=hints)

    def keys(self) -> list[str]:
        """Every key: base layers first, then hints by name."""
        return [layer.key for layer in self._base] + sorted(self._hints)

    def unknown(self, keys: Sequence[str]) -> list[str]:
        """The keys that name no layer."""
        base = {layer.key for layer in self._base}
        return [key for key in keys if key not in self._hints and key not in base]

    def stack(self, keys: Sequence[str]) -> tuple[Layer, ...]:
        """Base layers, then the hint layers in the order asked, outermost last; each once, unknown ones skipped.

        Standing layers that were not asked for are outermost.
        """
        if not keys:
            return self._unasked
        asked = dict.fromkeys(key for key in keys if key in self._hints)
        standing = tuple(layer for layer in self._standing if layer.key not in asked)
        return self._base + tuple(self._hints[key] for key in asked) + standing
