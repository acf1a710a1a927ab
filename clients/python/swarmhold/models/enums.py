"""Enumerations: every value that the API picks from a fixed list. Members are strings and compare equal to them."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "SETTLED",
    "Decision",
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
    "WebhookContent",
    "WebhookFormat",
    "WebhookSign",
    "WebhookStatus",
]


class Role(StrEnum):
    """The role of a credential."""

    OPERATOR = "operator"
    WORKER = "worker"
    OBSERVER = "observer"
    SENIOR = "senior"


class Verb(StrEnum):
    """A permission. Each role has some of them, and a token's scope may narrow them further."""

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
    """The status of a task."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    PASS = "pass"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


SETTLED = frozenset({Status.PASS, Status.BLOCKED, Status.CANCELLED})
"""A task in one of these is done; `blocked` may be dispatched again."""


class RetryOn(StrEnum):
    """Which endings of an attempt a retry policy covers."""

    BLOCKED = "blocked"
    FAILED = "failed"
    TIMEOUT = "timeout"
    LOST = "lost"


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


class Outcome(StrEnum):
    """The result of an attempt, or of waiting for one."""

    PASS = "pass"
    BLOCKED = "blocked"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


class OutputType(StrEnum):
    """The type of an output event."""

    PROGRESS = "progress"
    PARTIAL = "partial"
    ARTIFACT = "artifact"
    FINAL = "final"
    USAGE = "usage"


class QuestionStatus(StrEnum):
    """The state of a question."""

    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Decision(StrEnum):
    """A decision about an action."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    RESPOND = "respond"


class OnDeadline(StrEnum):
    """The policy at the deadline. Nothing is approved by itself: `default` uses an answer that the asker gave."""

    KEEP_WAITING = "keep_waiting"
    DEFAULT = "default"
    ESCALATE = "escalate"
    BLOCK = "block"


class OperatorKind(StrEnum):
    """How an operator's agents are run: by the server alone, with a main AI, or with both."""

    AUTOMATE = "automate"
    MAIN_AI = "main_ai"
    COMPOSITE = "composite"


class WebhookFormat(StrEnum):
    """The body of a delivery: a batch of events, one event by a standard, or a message for people."""

    SWARMHOLD = "swarmhold"
    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"
    SLACK = "slack"
    TEAMS = "teams"
    DISCORD = "discord"
    NTFY = "ntfy"
    TEMPLATE = "template"
    MAIL = "mail"
    APPRISE = "apprise"
    AAP = "aap"


class WebhookSign(StrEnum):
    """Signatures by a secret that the receiver shares, or by the server's key, whose public half it fetches."""

    SYMMETRIC = "symmetric"
    ASYMMETRIC = "asymmetric"


class WebhookContent(StrEnum):
    """How much of a question a message shows: nothing, its first 500 characters, or as much as the target takes."""

    NONE = "none"
    SUMMARY = "summary"
    FULL = "full"


class WebhookStatus(StrEnum):
    """An active webhook is delivered to; a paused one keeps its position in the feed."""

    ACTIVE = "active"
    PAUSED = "paused"
