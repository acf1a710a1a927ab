"""The settings that operations obey, handed to them with every call that needs one."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.state.port import HoldPolicy

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCfg:
    """Everything that can be set about the engine; defaults as engine.md section 11. Names tell the units.

    `handle_life_ms` is the life of a handle without a lease: longer than a lease's token life, since an `external`
    worker may rightly be silent for long. `recheck_ms` is how often a parked waiter reads again without a hint.
    """

    hold: HoldPolicy = field(default_factory=HoldPolicy)
    max_spawn_depth: int = 4
    worker_token_life_ms: int = 1800 * SECOND
    handle_life_ms: int = 7 * DAY
    lease_ms: int = 60 * SECOND
    attempt_timeout_ms: int | None = None
    default_hold_ms: int = HOUR
    longest_hold_ms: int = 48 * HOUR
    heartbeat_interval_ms: int = 300 * SECOND
    heartbeat_miss_threshold: int = 3
    keepalive_on_idle: bool = True
    stop_grace_ms: int = 5 * SECOND
    recheck_ms: int = 30 * SECOND
    strict_hints: bool = False
    most_late_results: int = 100
    most_outputs: int = 100_000
    worker_spawners: frozenset[str] = frozenset({"external", "in_process", "queue"})
    base_url: str = "http://127.0.0.1:7777"
