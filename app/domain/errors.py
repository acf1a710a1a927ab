"""Everything that can go wrong, as one tree.

    EngineError
    ├── Busy                  LockBusy, LockBusyAfterRetry, MaxHoldExceeded, StoreUnavailable, LoopPaused
    ├── Refused               BadSignature, TokenExpired, TokenNotFound, TokenRevoked, TokenUsesExhausted,
    │                         HandleMistyped, RoleViolation, TokenTaskMismatch, Unauthenticated, TooManyGuesses
    ├── Missing               TaskNotFound, AttemptNotFound, SessionNotFound, ResumeKeyNotFound,
    │                         ResourceNotFound, LateResultNotFound, KeyNotFound
    ├── Conflict              InvalidTransition, FinalConflict, AttemptSuperseded, Cancelled, NotStarted,
    │                         AlreadyAnswered, QuestionClosed, SpawnDepthExceeded
    ├── Unacceptable          AnswerInvalid, DispatchFailed, IdempotencyMismatch, InvalidRequest, PayloadTooLarge
    ├── PollTimeout
    └── Internal

Leaves hold typed fields and build their message from them; the message says what to do. No leaf knows a
status code: each edge (HTTP, WebSocket, command line) has one table that maps `code`.
"""

from __future__ import annotations

from typing import Any, ClassVar


class EngineError(Exception):
    """Root of the tree. `code` is stable and kebab-case; `fields()` are safe to show to the caller."""

    code: ClassVar[str] = "engine-error"

    def fields(self) -> dict[str, Any]:
        """The typed fields of this error, JSON-ready, without secrets."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


class Busy(EngineError):
    """The state could not be used right now; the same call may succeed later."""


class Refused(EngineError):
    """The credential does not allow the call."""


class Missing(EngineError):
    """The thing named does not exist, or not for this caller."""


class Conflict(EngineError):
    """The call does not fit the present state of things; nothing was changed."""


class Unacceptable(EngineError):
    """The call is well-formed but its content cannot be accepted."""


class LockBusy(Busy):
    """`with_state` under `try_only` found the state in use."""

    code = "lock-busy"

    def __init__(self, op: str) -> None:
        super().__init__(op)
        self.op = op

    def __str__(self) -> str:
        return f"The state is in use by another operation, and {self.op} was asked not to wait. Try again."


class LockBusyAfterRetry(Busy):
    """Contention outlasted every retry."""

    code = "lock-busy"

    def __init__(self, op: str, retries: int) -> None:
        super().__init__(op, retries)
        self.op = op
        self.retries = retries

    def __str__(self) -> str:
        return f"The state stayed in use after {self.retries} retries of {self.op}. Try again a little later."


class MaxHoldExceeded(Busy):
    """A transaction function ran longer than `max_hold` while `max_hold_panic` is set; nothing of it was kept."""

    code = "max-hold-exceeded"

    def __init__(self, op: str, held_ms: float, max_hold_ms: float) -> None:
        super().__init__(op, held_ms, max_hold_ms)
        self.op = op
        self.held_ms = held_ms
        self.max_hold_ms = max_hold_ms

    def __str__(self) -> str:
        return (
            f"{self.op} held the state for {self.held_ms:.1f} ms, longer than the allowed {self.max_hold_ms:.1f} ms; "
            "nothing of it was kept. Do less in one operation, or raise max_hold."
        )


class StoreUnavailable(Busy):
    """The database cannot be reached or written.

    Nothing of the operation was kept; but when `unsure`, the connection broke during the commit and nobody knows.
    """

    code = "store-unavailable"

    def __init__(self, reason: str, *, unsure: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unsure = unsure

    def __str__(self) -> str:
        if self.unsure:
            return f"The store broke while it was committing ({self.reason}). Look whether the change was kept."
        return f"The store cannot be used right now ({self.reason}). Nothing was changed; try again."


class LoopPaused(Busy):
    """A senior paused the loop: no new attempt starts until it is resumed."""

    code = "loop-paused"

    def __init__(self, by: str | None, since: int | None) -> None:
        super().__init__(by, since)
        self.by = by
        self.since = since

    def __str__(self) -> str:
        who = f" by {self.by}" if self.by else ""
        return f"The loop is paused{who}: no new attempt starts. Dispatch again after it is resumed, or with wait."


class Unauthenticated(Refused):
    """No credential, or one that is of no use. The edge never says which of these it was."""

    code = "unauthenticated"

    def __init__(self, reason: str = "missing") -> None:
        super().__init__(reason)
        self._reason = reason

    @property
    def reason(self) -> str:
        """Why, for the audit log only."""
        return self._reason

    def __str__(self) -> str:
        return "A valid credential is needed: send it as 'Authorization: Bearer …'."


class BadSignature(Refused):
    """The token was not signed by a key of this server, or is not a token at all."""

    code = "bad-signature"

    def __str__(self) -> str:
        return "The token's signature is not of this server."


class TokenExpired(Refused):
    """The token's or handle's life is over."""

    code = "token-expired"

    def __str__(self) -> str:
        return "The credential has expired. Attach or mint again."


class TokenNotFound(Refused):
    """No record of this token, key or handle."""

    code = "token-not-found"

    def __str__(self) -> str:
        return "The credential is not known to this server."


class TokenRevoked(Refused):
    """The token, or one above it, was revoked."""

    code = "token-revoked"

    def __str__(self) -> str:
        return "The credential was revoked."


class TokenUsesExhausted(Refused):
    """Every use that the token had is spent."""

    code = "token-uses-exhausted"

    def __str__(self) -> str:
        return "The token has no use left. Mint a new one."


class HandleMistyped(Refused):
    """The text after `wh-` is not a handle: its length, letters or check character are wrong."""

    code = "handle-mistyped"

    def __str__(self) -> str:
        return "The worker handle is mistyped (its check character does not fit). Copy it again, whole."


class TooManyGuesses(Refused):
    """Too many failed credentials from one source, or in all."""

    code = "too-many-guesses"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"Too many failed credentials. Wait {self.retry_after_s:.0f} s, then send a valid one."


class RoleViolation(Refused):
    """The role (or the token's narrower scope) does not include the verb."""

    code = "role-violation"

    def __init__(self, role: str, verb: str) -> None:
        super().__init__(role, verb)
        self.role = role
        self.verb = verb

    def __str__(self) -> str:
        return f"A credential with role {self.role} may not {self.verb}."


class TokenTaskMismatch(Refused):
    """The worker's credential is bound to another task or attempt."""

    code = "token-task-mismatch"

    def __init__(self, task_id: str | None) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        if self.task_id is None:
            return "This worker credential is bound to no task. Use one that was minted for the task."
        return f"This worker credential does not reach {self.task_id}. Use the one of that task."


class TaskNotFound(Missing):
    """No such task."""

    code = "task-not-found"

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        return f"There is no task {self.task_id}."


class AttemptNotFound(Missing):
    """The task has no such attempt."""

    code = "attempt-not-found"

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(task_id, attempt)
        self.task_id = task_id
        self.attempt = attempt

    def __str__(self) -> str:
        return f"Task {self.task_id} has no attempt {self.attempt}."


class SessionNotFound(Missing):
    """No session of this id, or none bound to this token."""

    code = "session-not-found"

    def __init__(self, session_id: str | None = None) -> None:
        super().__init__(session_id)
        self.session_id = session_id

    def __str__(self) -> str:
        return f"There is no session {self.session_id}." if self.session_id else "This credential has no session."


class ResumeKeyNotFound(Missing):
    """No question of this key, or not for this caller."""

    code = "resume-key-not-found"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"There is no question {self.key}."


class ResourceNotFound(Missing):
    """No resource of this name."""

    code = "resource-not-found"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"There is no resource named {self.key!r}."


class LateResultNotFound(Missing):
    """The attempt has no such late result."""

    code = "late-result-not-found"

    def __init__(self, task_id: str, attempt: int, index: int) -> None:
        super().__init__(task_id, attempt, index)
        self.task_id = task_id
        self.attempt = attempt
        self.index = index

    def __str__(self) -> str:
        return f"Attempt {self.attempt} of {self.task_id} has no late result {self.index}."


class KeyNotFound(Missing):
    """No API key (or token record) of this id."""

    code = "key-not-found"

    def __init__(self, key_id: str) -> None:
        super().__init__(key_id)
        self.key_id = key_id

    def __str__(self) -> str:
        return f"There is no key or token {self.key_id}."


class InvalidTransition(Conflict):
    """The table of states has no such step. Nothing was changed."""

    code = "invalid-transition"

    def __init__(self, task_id: str, status: str, operation: str, detail: str = "") -> None:
        super().__init__(task_id, status, operation, detail)
        self.task_id = task_id
        self.status = status
        self.operation = operation
        self._detail = detail

    def __str__(self) -> str:
        why = f": {self._detail}" if self._detail else ""
        return f"Task {self.task_id} is {self.status}; {self.operation} is not possible now{why}."


class FinalConflict(Conflict):
    """The attempt already has another Final; the first one stands."""

    code = "final-conflict"

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(task_id, attempt)
        self.task_id = task_id
        self.attempt = attempt

    def __str__(self) -> str:
        return f"Attempt {self.attempt} of {self.task_id} already has another final result. The first one stands."


class AttemptSuperseded(Conflict):
    """The attempt is over (replaced, lost, timed out or settled): its credential is spent."""

    code = "attempt-superseded"

    def __init__(self, task_id: str, attempt: int, reason: str, *, kept: bool = False) -> None:
        super().__init__(task_id, attempt, reason)
        self.task_id = task_id
        self.attempt = attempt
        self.reason = reason
        self.kept = kept

    def __str__(self) -> str:
        kept = " What it sent was kept as a late result, which an operator may adopt." if self.kept else ""
        return f"Attempt {self.attempt} of {self.task_id} is over ({self.reason}); its credential is spent.{kept}"


class Cancelled(Conflict):
    """The task was cancelled: stop working on it."""

    code = "cancelled"

    def __init__(self, task_id: str, *, kept: bool = False) -> None:
        super().__init__(task_id)
        self.task_id = task_id
        self.kept = kept

    def __str__(self) -> str:
        kept = " What it sent was kept as a late result." if self.kept else ""
        return f"Task {self.task_id} was cancelled. Stop working on it.{kept}"


class NotStarted(Conflict):
    """The attempt's spawn hook has not agreed yet."""

    code = "not-started"

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(task_id, attempt)
        self.task_id = task_id
        self.attempt = attempt

    def __str__(self) -> str:
        return f"Attempt {self.attempt} of {self.task_id} has not started yet: its spawn hook has to agree first."


class AlreadyAnswered(Conflict):
    """Another answer came first and stands."""

    code = "already-answered"

    def __init__(self, key: str, answered_by: str | None) -> None:
        super().__init__(key, answered_by)
        self.key = key
        self.answered_by = answered_by

    def __str__(self) -> str:
        who = f" by {self.answered_by}" if self.answered_by else ""
        return f"Question {self.key} was already answered{who} with another value. The first answer stands."


class QuestionClosed(Conflict):
    """The question was withdrawn or its deadline passed."""

    code = "question-closed"

    def __init__(self, key: str, status: str) -> None:
        super().__init__(key, status)
        self.key = key
        self.status = status

    def __str__(self) -> str:
        return f"Question {self.key} is {self.status}; it takes no answer any more."


class SpawnDepthExceeded(Conflict):
    """The tree of tasks is as deep as it may be."""

    code = "spawn-depth-exceeded"

    def __init__(self, depth: int, max_spawn_depth: int) -> None:
        super().__init__(depth, max_spawn_depth)
        self.depth = depth
        self.max_spawn_depth = max_spawn_depth

    def __str__(self) -> str:
        return f"A task at depth {self.depth} is too deep: the deepest allowed is {self.max_spawn_depth}."


class AnswerInvalid(Unacceptable):
    """The answer breaks the question's schema or choices; the question stays open."""

    code = "answer-invalid"

    def __init__(self, key: str, reason: str, path: str = "") -> None:
        super().__init__(key, reason, path)
        self.key = key
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"The answer does not fit the question's schema{where}: {self.reason}. The question is still open."


class DispatchFailed(Unacceptable):
    """The spawner cannot be built or used as asked."""

    code = "dispatch-failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"The attempt cannot be dispatched: {self.reason}."


class IdempotencyMismatch(Unacceptable):
    """The idempotency key was used before with another body."""

    code = "idempotency-mismatch"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"The idempotency key {self.key!r} was used before with another request. Use a new key."


class InvalidRequest(Unacceptable):
    """A parameter or id is malformed."""

    code = "invalid-request"

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason, field)
        self.reason = reason
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class PayloadTooLarge(Unacceptable):
    """The body or frame is larger than the limit."""

    code = "payload-too-large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"The body is larger than the limit of {self.limit_bytes} bytes. Send less, or a file_ref."


class PollTimeout(EngineError):
    """The hold ended and what was waited for has not happened; nothing is wrong, ask again."""

    code = "poll-timeout"

    def __init__(self, what: str, hold_s: float) -> None:
        super().__init__(what, hold_s)
        self.what = what
        self.hold_s = hold_s

    def __str__(self) -> str:
        return f"{self.what} did not settle within {self.hold_s:g} s. Ask again."


class Internal(EngineError):
    """A fault of the server itself. `reference` finds it in the server's log."""

    code = "internal"

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference

    def __str__(self) -> str:
        return f"The server failed. Its log has the details under {self.reference}."
