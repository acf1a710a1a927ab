"""Attempts: the single dispatches of a task, and how each can end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.domain.access import read_scope
from app.domain.clock import Instant
from app.domain.delegation import Rights
from app.domain.json import Json
from app.domain.namespaces import DEFAULT_ID


class Phase(StrEnum):
    """The phase of an attempt. All phases but `finishing` and `ended` are live."""

    WAITING = "waiting"
    """Prepared; the spawn hook has to approve before workers may act."""
    QUEUED = "queued"
    """Prepared; waits in a named queue until a worker claims it."""
    SPAWNING = "spawning"
    """Prepared; the spawner is being called."""
    RUNNING = "running"
    """A worker is working on it."""
    HELD = "held"
    """A Final was submitted; a layer holds it back until a question is answered."""
    FINISHING = "finishing"
    """Settled; its worker is still being stopped, or layers still have work to do."""
    ENDED = "ended"


LIVE = frozenset({Phase.WAITING, Phase.QUEUED, Phase.SPAWNING, Phase.RUNNING, Phase.HELD})


class Outcome(StrEnum):
    """The result of an attempt, or of waiting for one."""

    PASS = "pass"
    BLOCKED = "blocked"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


class Reason(StrEnum):
    """Why an attempt ended."""

    FINAL = "final"
    """Its worker submitted or returned a Final, good or not."""
    SPAWN_FAILED = "spawn-failed"
    """Its worker could not be started."""
    REFUSED = "refused"
    """A layer refused to let it start."""
    WORKER_FAILED = "worker-failed"
    """Its worker ended without a Final, or its program failed and the Final says how."""
    TIMEOUT = "timeout"
    """The task's attempt timeout passed."""
    LOST = "lost"
    """Its lease or handle ran out without a heartbeat, or its worker died with the server that ran it."""
    CANCELLED = "cancelled"
    """Its task, or an ancestor of it, was cancelled."""
    VERDICT = "verdict"
    """An operator or senior marked its task while it was live."""
    REVOKED = "revoked"
    """The token that it was dispatched with was revoked."""
    DEADLINE = "deadline"
    """A question of its task was not answered in time, and its deadline blocks the task."""


class Attempt(NamedTuple):
    """One row of `attempts`.

    `agent` is the task's. `prompt` is None when the task's own directive is the prompt. `steps` says whether layers
    have work to do before and after it, `repeatable` whether a server process can restart it without help. `due_at` is
    the next instant at which the engine must check this attempt (lease, timeout or handle expiring), None while its
    clocks are stopped (`paused_at` is set) and after its end. `jti` names the attempt's worker token. `epoch` is the
    fencing token: it grows whenever a server process takes the attempt over. `turn` is its position in its queue: of
    equal priorities the lowest is claimed first. `held_by` is the key of the layer that holds back the Final,
    `warned_at` the instant of the warning that it has been held for long. `detached` says whether its worker needs
    nothing of the server but its answers, `hands_out_handle` whether its dispatcher was given the handle; both come
    from its spawner. `output_bytes` and `late_bytes` are the sizes of its outputs, the Final aside, and late results.
    `final_seq` is the number of its Final among its outputs if the Final is stored here alone.
    `key_id` is the API key that its dispatcher descends from, `claimed_key_id` the one with which it was claimed.
    `scope` lists the verbs that its worker may use, None all of its role; its credential ends at `credential_ends_at`
    whatever is renewed. `gates` lists the spawn hooks that have to agree to it. `further_keys` are the API keys with
    which attempts above its own were claimed.
    `waits_for` names what its next step needs, registered on some node, while it has no owner.
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
    detached: bool
    hands_out_handle: bool
    output_bytes: int = 0
    late_bytes: int = 0
    namespace: int = DEFAULT_ID
    key_id: str | None = None
    claimed_key_id: str | None = None
    scope: str | None = None
    credential_ends_at: Instant | None = None
    gates: Json | None = None
    further_keys: str | None = None
    final_seq: int | None = None
    waits_for: str | None = None

    @property
    def keys(self) -> frozenset[str]:
        """All API keys that its credential descends from."""
        known = (self.key_id, self.claimed_key_id, *(self.further_keys or "").split())
        return frozenset(key for key in known if key is not None)

    @property
    def rights(self) -> Rights:
        """The rights of its credential."""
        gates: list[str] = [] if self.gates is None else self.gates.value
        return Rights(scope=read_scope(self.scope), ends_at=self.credential_ends_at, gates=tuple(gates))

    @property
    def is_live(self) -> bool:
        """Return whether a worker may still act on it."""
        return self.phase in LIVE

    @property
    def needs_driver(self) -> bool:
        """Whether a server process has to drive it: for its worker, or for its layers' steps."""
        return self.steps or not self.detached


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchOutcome:
    """The result of a dispatch: `value` with pass and blocked, `key` of the question with suspended."""

    outcome: Outcome
    value: Json | None = None
    key: str | None = None
    reason: Reason | None = None


class Dispatched(NamedTuple):
    """A prepared attempt. `handle` is the only copy of the worker handle's text; the state has its digest alone."""

    task_id: str
    attempt: int
    handle: str | None
    expires_at: Instant | None


class WorkerPayload(NamedTuple):
    """The data with which a worker begins: the prompt, the answers that its task received so far, its trace."""

    task_id: str
    attempt: int
    agent: str
    prompt: str
    system: str | None
    answers: list[dict[str, object]]
    trace: str | None = None
