"""Attempts: one dispatch of a task, and how it can end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.domain.clock import Instant
from app.domain.json import Json


class Phase(StrEnum):
    """How far the dispatch machine has come with an attempt. All but `ended` and `finishing` are live."""

    WAITING = "waiting"
    """Prepared; a spawn hook has to agree before workers may act."""
    QUEUED = "queued"
    """Prepared; waits in a named queue for a claim."""
    SPAWNING = "spawning"
    """Prepared; the spawner is being called."""
    RUNNING = "running"
    """A worker has it."""
    HELD = "held"
    """A Final came; a layer holds it back until a question is answered."""
    FINISHING = "finishing"
    """Settled; what is left of its worker is being stopped, or layers still have steps to do."""
    ENDED = "ended"


DETACHED = frozenset({"external", "queue"})
"""Kinds of spawners whose workers need nothing of the server but its answers."""

LIVE = frozenset({Phase.WAITING, Phase.QUEUED, Phase.SPAWNING, Phase.RUNNING, Phase.HELD})


class Outcome(StrEnum):
    """What an attempt (or a wait for one) came to."""

    PASS = "pass"
    BLOCKED = "blocked"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


class Reason(StrEnum):
    """Why an attempt ended."""

    FINAL = "final"
    SPAWN_FAILED = "spawn-failed"
    REFUSED = "refused"
    WORKER_FAILED = "worker-failed"
    TIMEOUT = "timeout"
    LOST = "lost"
    CANCELLED = "cancelled"
    VERDICT = "verdict"
    REVOKED = "revoked"
    DEADLINE = "deadline"


class Attempt(NamedTuple):
    """One row of `attempts`.

    `agent` is the task's. `prompt` is None when the task's own directive is the prompt. `steps` tells that layers have
    steps of their own around it, `repeatable` that a server process can start it again by itself. `due_at` is the next
    instant at which the engine must look at this attempt (lease, timeout or handle running out), None while its clocks
    stand still (`paused_at` is set) and after the end. `jti` is the attempt's worker token. `epoch` fences off an
    earlier owner: it grows whenever a server process takes the attempt over. `turn` is its place in its queue: of equal
    priority the lowest is claimed first. `held_by` is the key of the layer that holds the Final back, `warned_at` when
    it was said that the attempt is held long.
    """

    task_id: str
    attempt: int
    agent: str
    phase: Phase
    prompt: Json | None
    system: Json | None
    kind: str
    spawner: Json
    layers: Json
    steps: bool
    repeatable: bool
    session_id: str | None
    jti: str
    parent_jti: str | None
    worker_id: str | None
    process: Json | None
    lease_ms: int | None
    lease_expires_at: Instant | None
    timeout_at: Instant | None
    handle_expires_at: Instant
    paused_at: Instant | None
    due_at: Instant | None
    queue: str | None
    priority: int
    turn: int
    owner: str | None
    epoch: int
    last_seen_at: Instant | None
    final: Json | None
    final_ok: bool | None
    outcome: Outcome | None
    reason: Reason | None
    detail: str | None
    held_by: str | None
    warned_at: Instant | None
    outputs: int
    late: int
    started_at: Instant
    ended_at: Instant | None

    @property
    def is_live(self) -> bool:
        """Whether a worker may still act on it."""
        return self.phase in LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchOutcome:
    """How a dispatch came out. `value` with pass and blocked, `key` with suspended."""

    outcome: Outcome
    value: Json | None = None
    key: str | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """A prepared attempt. `handle` is the only place where the handle's text exists outside its worker."""

    task_id: str
    attempt: int
    handle: str | None
    expires_at: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPayload:
    """All that a worker needs to begin."""

    task_id: str
    attempt: int
    agent: str
    prompt: str
    system: str | None
    answers: list[dict[str, object]]
