"""Events: the rows of the durable feed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.clock import Instant, to_rfc3339
from app.domain.json import Json


class EventKind(StrEnum):
    """The kind of an event. Names are past tense and stable."""

    SESSION_ATTACHED = "session_attached"
    SESSION_DETACHED = "session_detached"
    TASK_CREATED = "task_created"
    TASK_ATTEMPT_STARTED = "task_attempt_started"
    TASK_ATTEMPT_COMPLETED = "task_attempt_completed"
    TASK_RETRY_SCHEDULED = "task_retry_scheduled"
    WORKER_OUTPUT = "worker_output"
    WORKER_CLAIMED = "worker_claimed"
    RESULT_POSTED = "result_posted"
    TASK_PASS = "task_pass"
    TASK_BLOCKED = "task_blocked"
    TASK_SUSPENDED = "task_suspended"
    TASK_RESUMED = "task_resumed"
    TASK_CANCELLED = "task_cancelled"
    SENIOR_QUERIED = "senior_queried"
    SENIOR_ANSWERED = "senior_answered"
    QUESTION_CLAIMED = "question_claimed"
    QUESTION_RELEASED = "question_released"
    QUESTION_REMINDED = "question_reminded"
    """An open question's deadline is an hour off."""
    QUESTION_ESCALATED = "question_escalated"
    QUESTION_EXPIRED = "question_expired"
    QUESTION_WITHDRAWN = "question_withdrawn"
    APPROVAL_CONSUMED = "approval_consumed"
    APPROVAL_OUTCOME = "approval_outcome"
    DIRECTIVE_INJECTED = "directive_injected"
    VERDICT_OVERRIDDEN = "verdict_overridden"
    LATE_RESULT = "late_result"
    LATE_RESULT_ADOPTED = "late_result_adopted"
    LEASE_LOST = "lease_lost"
    ATTEMPT_TIMED_OUT = "attempt_timed_out"
    ATTEMPT_HELD_LONG = "attempt_held_long"
    LOOP_PAUSED = "loop_paused"
    LOOP_RESUMED = "loop_resumed"
    TOKEN_REVOKED = "token_revoked"
    ID_RELEASED = "id_released"
    WEBHOOK_PAUSED = "webhook_paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the feed. `cursor` grows in commit order; `data` holds the fields that depend on the kind."""

    cursor: int
    kind: str
    at: Instant
    task_id: str | None
    session_id: str | None
    attempt: int | None
    data: Json | None
    namespace: int

    def document(self, namespace: str | None) -> dict[str, Any]:
        """Return the event as every consumer gets it: the fields of its kind beside the common ones that apply.

        `namespace` is the name of its namespace, None for an event that everybody sees.
        """
        named = {
            "namespace": namespace,
            "task_id": self.task_id,
            "session_id": self.session_id,
            "attempt": self.attempt,
        }
        return {
            **({} if self.data is None else self.data.written),
            "cursor": self.cursor,
            "kind": self.kind,
            "at": to_rfc3339(self.at),
            **{name: value for name, value in named.items() if value is not None},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lagged:
    """Sent to a subscriber that fell behind, or whose cursor lies ahead of the feed, as after a restore.

    `cursor` is where it goes on; what follows is read from the store.
    """

    cursor: int
