"""Tasks and their state machine.

The table of transitions below is the only one; `engine.ops` checks it before every change.

    pending ──dispatch──▶ running ──final ok / mark / override──▶ pass      (terminal)
       │                   │  ▲  ╲
       │             query │  │ resume
       │                   ▼  │    ╲──final not ok, failure, timeout, lost──▶ blocked ──dispatch──▶ running
       └──query──────▶ suspended ──deadline with `block`──▶ blocked
    anything but pass ──cancel──▶ cancelled                               (terminal)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.domain.clock import Instant
from app.domain.errors import InvalidTransition
from app.domain.json import Json
from app.domain.namespaces import DEFAULT_ID
from app.domain.usage import Usage


class Status(StrEnum):
    """The status of a task."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    PASS = "pass"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """An input of the state machine."""

    DISPATCH = "dispatch"
    SUSPEND = "query_senior"
    RESUME = "resume"
    DEADLINE_BLOCK = "deadline_block"
    FINAL_OK = "final_ok"
    FINAL_FAILED = "final_failed"
    WORKER_FAILED = "worker_failed"
    SPAWN_FAILED = "spawn_failed"
    ATTEMPT_TIMEOUT = "attempt_timeout"
    LEASE_LOST = "lease_lost"
    CANCEL = "cancel_task"
    MARK_PASS = "mark_pass"
    MARK_BLOCKED = "mark_blocked"
    OVERRIDE_PASS = "override_verdict to pass"
    OVERRIDE_BLOCKED = "override_verdict to blocked"


_S, _P = Status, Step
_OPEN = (_S.PENDING, _S.RUNNING, _S.SUSPENDED, _S.BLOCKED)
_JUDGED = (_S.RUNNING, _S.SUSPENDED, _S.PASS, _S.BLOCKED)

TRANSITIONS: dict[tuple[Status, Step], Status] = {
    **{(s, _P.DISPATCH): _S.RUNNING for s in (_S.PENDING, _S.RUNNING, _S.BLOCKED)},
    **{(s, _P.SUSPEND): _S.SUSPENDED for s in (_S.PENDING, _S.RUNNING, _S.SUSPENDED)},
    (_S.SUSPENDED, _P.RESUME): _S.RUNNING,
    (_S.SUSPENDED, _P.DEADLINE_BLOCK): _S.BLOCKED,
    **{(s, _P.FINAL_OK): _S.PASS for s in (_S.RUNNING, _S.SUSPENDED)},
    **{(s, _P.FINAL_FAILED): _S.BLOCKED for s in (_S.RUNNING, _S.SUSPENDED)},
    **{(s, _P.WORKER_FAILED): _S.BLOCKED for s in (_S.RUNNING, _S.SUSPENDED)},
    (_S.RUNNING, _P.SPAWN_FAILED): _S.BLOCKED,
    (_S.RUNNING, _P.ATTEMPT_TIMEOUT): _S.BLOCKED,
    (_S.RUNNING, _P.LEASE_LOST): _S.BLOCKED,
    **{(s, _P.CANCEL): _S.CANCELLED for s in _OPEN},
    **{(s, _P.MARK_PASS): _S.PASS for s in _OPEN},
    **{(s, _P.MARK_BLOCKED): _S.BLOCKED for s in _OPEN},
    **{(s, _P.OVERRIDE_PASS): _S.PASS for s in _JUDGED},
    **{(s, _P.OVERRIDE_BLOCKED): _S.BLOCKED for s in _JUDGED},
}
"""Every legal transition. Any other raises InvalidTransition and changes nothing."""

TERMINAL = frozenset({Status.PASS, Status.CANCELLED})
SETTLED = frozenset({Status.PASS, Status.BLOCKED, Status.CANCELLED})
"""A task in one of these is done, and waiting callers return; `blocked` may be dispatched again."""

AWAITED = SETTLED | {Status.SUSPENDED}
"""`poll_task` returns once the task is in one of these."""


def step(task_id: str, status: Status, what: Step) -> Status:
    """Return the status after the step. Raises InvalidTransition."""
    after = TRANSITIONS.get((status, what))
    if after is None:
        raise InvalidTransition(task_id, status.value, what.value)
    return after


class RetryOn(StrEnum):
    """Which endings of an attempt a retry policy covers."""

    BLOCKED = "blocked"
    FAILED = "failed"
    TIMEOUT = "timeout"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When the engine dispatches a task again by itself. Durations in seconds; `max_attempts` counts the first one.

    The delay before attempt n + 1 is `backoff × multiplier^(n-1)`, at most `max_backoff`, varied by ± `jitter`
    (a fraction of it, 0 … 1).
    """

    max_attempts: int = 1
    backoff: float = 1.0
    multiplier: float = 2.0
    max_backoff: float = 300.0
    jitter: float = 0.1
    on: tuple[str, ...] = (RetryOn.FAILED.value, RetryOn.TIMEOUT.value, RetryOn.LOST.value)

    def delay_ms(self, attempt: int, deviation: float) -> int:
        """Return the delay after attempt number `attempt`, in ms; `deviation` in [-1, 1] is the injected randomness."""
        exponent = min(attempt - 1, 64)
        delay_s = min(self.backoff * self.multiplier**exponent, self.max_backoff)
        return max(0, round(1000 * delay_s * (1 + self.jitter * deviation)))

    def covers(self, attempt: int, ending: str) -> bool:
        """Return whether another attempt follows attempt number `attempt` after this ending."""
        return attempt < self.max_attempts and ending in self.on


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """The request for a task. `attempt_timeout_ms` bounds each attempt, not counting suspension."""

    agent: str
    initial_directive: str
    labels: dict[str, str] | None = None
    retry: RetryPolicy | None = None
    attempt_timeout_ms: int | None = None


class Task(NamedTuple):
    """One row of `tasks`; immutable: a change is a new row under a greater `version`.

    `live` says whether attempt number `attempt` is live. `asked` counts all questions ever asked, `open_questions`
    those that are open. `next_prompt` was injected for the next attempt. `retry_at` is set while the engine waits
    to dispatch again by the retry policy. `result_of` is the attempt whose Final is the `last_result`, which is then
    stored with the attempt alone. `trace` is the context of the call that created it (`domain.traces`).
    """

    id: str
    agent: str
    directive: Json
    status: Status
    attempt: int
    live: bool
    last_result: Json | None
    spawn_depth: int
    parent_task_id: str | None
    session_id: str | None
    creator_jti: str | None
    labels: Json
    retry: Json | None
    attempt_timeout_ms: int | None
    asked: int
    open_questions: int
    next_prompt: Json | None
    retry_at: Instant | None
    version: int
    created_at: Instant
    updated_at: Instant
    settled_at: Instant | None
    root_task_id: str | None = None
    namespace: int = DEFAULT_ID
    expands: bool = True
    result_of: int | None = None
    trace: str | None = None

    def retry_policy(self) -> RetryPolicy | None:
        """Return the decoded retry policy, None without one."""
        if self.retry is None:
            return None
        fields = dict(self.retry.value)
        fields["on"] = tuple(fields["on"])
        return RetryPolicy(**fields)


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task as callers see it: its row and the keys of its open questions, oldest first.

    In a list, `usage` is what its attempts used, where they reported any, and `started_at` when it was first
    dispatched.
    """

    task: Task
    suspended_on: tuple[str, ...]
    usage: Usage | None = None
    started_at: Instant | None = None

    @property
    def status(self) -> Status:
        """Return the status of the task."""
        return self.task.status
