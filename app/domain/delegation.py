"""Rules of delegation: an attempt that a worker dispatches has the worker's own rights, or less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from app.domain.access import Caller, Role, Verb
from app.domain.clock import Instant
from app.domain.errors import DispatchFailed, TokenExpired

ALWAYS = frozenset({Verb.FETCH_PROMPT, Verb.EMIT_OUTPUT, Verb.POST_RESULT, Verb.VERIFY_TOKEN})
"""What every worker may do in its own attempt. It reads its own task as well (`OWN_TASK`)."""

OWN_TASK = frozenset({Verb.READ_TASK_STATE, Verb.POLL_TASK})
"""What every worker may do to its own task; to tasks below it only if its scope has the verb."""

HANDED_DOWN = OWN_TASK | {
    Verb.FETCH_DATA,
    Verb.QUERY_SENIOR,
    Verb.START_TASK,
    Verb.DISPATCH_ATTEMPT,
    Verb.CANCEL_TASK,
}
"""What a child has only if its dispatcher's scope has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRules:
    """Limits of what workers may dispatch. Operators may dispatch anything."""

    spawners: frozenset[str] = frozenset({"external", "in_process", "queue"})
    """Spawners that may carry attempts that workers dispatch, whatever they asked for: a layer may put another one in
    place of the dispatched spawner."""
    layers: frozenset[str] = frozenset({"input_inject", "long_hold", "senior_escalation"})
    """Layers that workers may request."""
    functions: frozenset[str] = frozenset()
    """Functions of the `in_process` spawner that workers may dispatch to."""

    def check(self, asked: Asked) -> None:
        """Raise DispatchFailed, saying what is allowed, unless a worker may dispatch this."""
        self._check_layers(asked)
        if asked.spawner not in self.spawners:
            raise DispatchFailed(
                f"a worker may not use the spawner {asked.spawner!r}; it may use {_list(self.spawners)}"
            )
        if asked.spawner == "in_process" and asked.function not in self.functions:
            raise DispatchFailed(
                f"a worker may not call the function {asked.function!r}; it may call {_list(self.functions)}"
            )

    def _check_layers(self, asked: Asked) -> None:
        if closed := asked.layers - self.layers:
            raise DispatchFailed(
                f"a worker may not request the layer {_list(closed)}; it may request {_list(self.layers)}"
            )


class Asked(NamedTuple):
    """The request of a dispatch: the spawner that will carry the attempt, after layers, and the layers by name."""

    spawner: str
    function: str | None = None
    layers: frozenset[str] = frozenset()


class Rights(NamedTuple):
    """The rights of an attempt's credential.

    `scope` is None for an attempt that no worker dispatched: it has all verbs of its role. `ends_at` is the end of its
    life at the latest, `gates` are the spawn hooks that have to agree before the attempt starts.
    """

    scope: frozenset[Verb] | None = None
    ends_at: Instant | None = None
    gates: tuple[str, ...] = ()


def rights_of_child(dispatcher: Caller, gates: tuple[str, ...], asked: Asked, rules: WorkerRules) -> Rights:
    """Return the rights of an attempt that this caller dispatches. The one place that decides them.

    `gates` are the spawn hooks that the dispatcher's own attempt went through. Raises DispatchFailed for a worker that
    asks for more than the rules allow.
    """
    if dispatcher.role is not Role.WORKER and dispatcher.scope is None:
        return Rights(ends_at=_end_of_minted(dispatcher))
    if dispatcher.role is Role.WORKER:
        rules.check(asked)
    inherited = HANDED_DOWN if dispatcher.scope is None else HANDED_DOWN & dispatcher.scope
    return Rights(scope=ALWAYS | inherited, ends_at=_end_of_minted(dispatcher), gates=gates)


def require_alive(rights: Rights, now: Instant) -> None:
    """Raise TokenExpired when the life of the rights is over: nothing starts with them any more."""
    if rights.ends_at is not None and rights.ends_at <= now:
        raise TokenExpired


def _end_of_minted(dispatcher: Caller) -> Instant | None:
    """Return when the dispatcher's token ends, if it was minted with a fixed life or descends from one that was.

    What a session dispatches may outlive the session.
    """
    return dispatcher.expires_at if dispatcher.attempt is not None or dispatcher.session_id is None else None


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
