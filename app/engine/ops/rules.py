"""The settings of the engine, handed to operations that need one."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.domain.delegation import WorkerRules
from app.domain.limits import Limits
from app.domain.questions import QuestionRules
from app.state.policies import HoldPolicy

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BESIDE_THE_LOOP_BYTES = 256 * 1024
"""Size of a value beyond which it is read beside the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRules:
    """How nodes that share a database know of each other."""

    heartbeat_ms: int = 5 * SECOND
    """How often a node renews its lease in the database."""
    lease_ms: int = 15 * SECOND
    """How long a node counts as alive after its last heartbeat, by the database's clock: at least twice the heartbeat
    interval."""
    drain_ms: int = 5 * SECOND
    """For how long a node that is stopped serves on, while `/readyz` says 503, before it ends waiting requests and
    connections; only where there are other nodes."""
    node_url: str | None = None
    """URL of this node itself, shown by `swarmhold nodes`; by default the URL under which workers reach the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCfg:
    """Settings of an engine; their units are in their names."""

    hold: HoldPolicy = field(default_factory=HoldPolicy)
    """Preset of the five that follow, which replace its values. `strict` never waits and holds for 0.01 at most;
    `relaxed` makes 10 retries with a step of 0.05 and holds for 0.2."""
    max_spawn_depth: int = 4
    """How many levels of child tasks workers may start."""
    worker_token_life_ms: int = 1800 * SECOND
    """How long the credentials of a worker with a lease stay valid without a heartbeat."""
    handle_life_ms: int = 7 * DAY
    """How long a handle without a lease stays valid after its last request; `external` workers may
    send none for long."""
    lease_ms: int = 60 * SECOND
    """Lease of attempts by queue and in-process workers."""
    attempt_timeout_ms: int | None = None
    """How long one attempt may take, for tasks that name no limit of their own."""
    default_hold_ms: int = HOUR
    """How long a wait inside the server's process lasts unless it says otherwise."""
    longest_hold_ms: int = 48 * HOUR
    """How long any wait may last, long polls included."""
    heartbeat_interval_ms: int = 300 * SECOND
    """How often a session has to send a heartbeat."""
    heartbeat_miss_threshold: int = 3
    """Missed heartbeats after which a session is detached."""
    keepalive_on_idle: bool = True
    """Whether tasks outlive the session that started them."""
    stop_grace_ms: int = 5 * SECOND
    """How long a child process has between SIGTERM and SIGKILL of its process group."""
    poll_interval_ms: int = 30 * SECOND
    """How often a waiting call reads the state again without a hint that it changed."""
    strict_hints: bool = False
    """Whether a dispatch with unknown layers is refused; otherwise they are skipped."""
    long_hold_ms: int = HOUR
    """How long an attempt may last before the `long_hold` layer logs a warning."""
    base_url: str = "http://127.0.0.1:7777"
    """Base URL under which workers reach the server; not a setting of its own."""
    writes_spans: bool = False
    """Whether workers are handed the context of their attempt's span; not a setting of its own."""
    limits: Limits = field(default_factory=Limits)
    """The server's limits; set as a section of their own."""
    workers: WorkerRules = field(default_factory=WorkerRules)
    """What workers may dispatch; set in the section `spawn`."""
    questions: QuestionRules = field(default_factory=QuestionRules)
    """Who may answer questions, and how; set as a section of their own."""
    cluster: ClusterRules = field(default_factory=ClusterRules)
    """How nodes know of each other; set as a section of their own."""
