"""Enumerations: every value that the API picks from a fixed list. Members are strings and compare equal to them."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "SETTLED",
    "OnDeadline",
    "OperatorKind",
    "Outcome",
    "OutputType",
    "Phase",
    "QuestionStatus",
    "RetryOn",
    "Role",
    "Status",
    "Verb",
    "WebhookStatus",
]


class Role(StrEnum):
    """What a credential's holder is."""

    OPERATOR = "operator"
    WORKER = "worker"
    OBSERVER = "observer"
    SENIOR = "senior"


class Verb(StrEnum):
    """What can be asked of the server; a role permits some of them, and a token's scopes may narrow them further."""

    START_TASK = "start_task"
    DISPATCH_ATTEMPT = "dispatch_attempt"
    MINT_WORKER_TOKEN = "mint_worker_token"
    READ_TASK_STATE = "read_task_state"
    CANCEL_TASK = "cancel_task"
    QUERY_SENIOR = "query_senior"
    MARK_PASS = "mark_pass"
    MARK_BLOCKED = "mark_blocked"
    ATTACH_SESSION = "attach_session"
    DETACH_SESSION = "detach_session"
    HEARTBEAT = "heartbeat"
    POLL_TASK = "poll_task"
    POST_RESULT = "post_result"
    VERIFY_TOKEN = "verify_token"
    FETCH_PROMPT = "fetch_prompt"
    FETCH_DATA = "fetch_data"
    EMIT_OUTPUT = "emit_output"
    SUBSCRIBE_EVENTS = "subscribe_events"
    READ_TRACE = "read_trace"
    ANSWER_QUERY = "answer_query"
    OVERRIDE_VERDICT = "override_verdict"
    PAUSE_LOOP = "pause_loop"
    RESUME_LOOP = "resume_loop"
    INJECT_DIRECTIVE = "inject_directive"


class Status(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    PASS = "pass"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


SETTLED = frozenset({Status.PASS, Status.BLOCKED, Status.CANCELLED})
"""The statuses in which nothing is being done for a task; `blocked` may be dispatched again."""


class RetryOn(StrEnum):
    """Which endings of an attempt a retry policy covers."""

    BLOCKED = "blocked"
    FAILED = "failed"
    TIMEOUT = "timeout"
    LOST = "lost"


class Phase(StrEnum):
    """How far an attempt has come."""

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
    """Ended for its task; its worker is being stopped, or layers still have steps to do."""
    ENDED = "ended"


class Outcome(StrEnum):
    """What an attempt (or a wait for one) came to."""

    PASS = "pass"
    BLOCKED = "blocked"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


class OutputType(StrEnum):
    """Kinds of output."""

    PROGRESS = "progress"
    PARTIAL = "partial"
    ARTIFACT = "artifact"
    FINAL = "final"


class QuestionStatus(StrEnum):
    """The life of a question."""

    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class OnDeadline(StrEnum):
    """What happens to a question without an answer at its deadline. `default` gives an answer that the asker chose."""

    KEEP_WAITING = "keep_waiting"
    DEFAULT = "default"
    ESCALATE = "escalate"
    BLOCK = "block"


class OperatorKind(StrEnum):
    """How an operator's agents are run: by the server alone, by a main AI, or by both together."""

    AUTOMATE = "automate"
    MAIN_AI = "main_ai"
    COMPOSITE = "composite"


class WebhookStatus(StrEnum):
    """Active ones are delivered to; a paused one keeps its position in the feed."""

    ACTIVE = "active"
    PAUSED = "paused"
