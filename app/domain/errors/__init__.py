"""Everything that can go wrong, as one tree.

    EngineError
    ├── Busy                  LockBusy, LockBusyAfterRetry, MaxHoldExceeded, StoreUnavailable, LoopPaused
    ├── Refused               BadSignature, TokenExpired, TokenNotFound, TokenRevoked, TokenUsesExhausted,
    │                         HandleMistyped, RoleViolation, TokenTaskMismatch, Unauthenticated, TooManyGuesses
    ├── Missing               TaskNotFound, AttemptNotFound, SessionNotFound, ResumeKeyNotFound,
    │                         ResourceNotFound, LateResultNotFound, KeyNotFound, WebhookNotFound
    ├── Conflict              InvalidTransition, FinalConflict, AttemptSuperseded, Cancelled, NotStarted,
    │                         AlreadyAnswered, QuestionClosed, SpawnDepthExceeded
    ├── Unacceptable          AnswerInvalid, DispatchFailed, IdempotencyMismatch, InvalidRequest, PayloadTooLarge
    ├── PollTimeout
    └── Internal

Leaves hold typed fields and build their message from them; the message says what to do. No leaf knows a
status code: each edge (HTTP, WebSocket, command line) has one table that maps `code`.
"""

from __future__ import annotations

from app.domain.errors.busy import (
    LockBusy,
    LockBusyAfterRetry,
    LoopPaused,
    MaxHoldExceeded,
    StoreUnavailable,
)
from app.domain.errors.conflict import (
    AlreadyAnswered,
    AttemptSuperseded,
    Cancelled,
    FinalConflict,
    InvalidTransition,
    NotStarted,
    QuestionClosed,
    SpawnDepthExceeded,
)
from app.domain.errors.missing import (
    AttemptNotFound,
    KeyNotFound,
    LateResultNotFound,
    ResourceNotFound,
    ResumeKeyNotFound,
    SessionNotFound,
    TaskNotFound,
    WebhookNotFound,
)
from app.domain.errors.plain import (
    Internal,
    PollTimeout,
)
from app.domain.errors.refused import (
    BadSignature,
    HandleMistyped,
    RoleViolation,
    TokenExpired,
    TokenNotFound,
    TokenRevoked,
    TokenTaskMismatch,
    TokenUsesExhausted,
    TooManyGuesses,
    Unauthenticated,
)
from app.domain.errors.root import (
    Busy,
    Conflict,
    EngineError,
    Missing,
    Refused,
    Unacceptable,
)
from app.domain.errors.unacceptable import (
    AnswerInvalid,
    DispatchFailed,
    IdempotencyMismatch,
    InvalidRequest,
    PayloadTooLarge,
)

__all__ = [
    "AlreadyAnswered",
    "AnswerInvalid",
    "AttemptNotFound",
    "AttemptSuperseded",
    "BadSignature",
    "Busy",
    "Cancelled",
    "Conflict",
    "DispatchFailed",
    "EngineError",
    "FinalConflict",
    "HandleMistyped",
    "IdempotencyMismatch",
    "Internal",
    "InvalidRequest",
    "InvalidTransition",
    "KeyNotFound",
    "LateResultNotFound",
    "LockBusy",
    "LockBusyAfterRetry",
    "LoopPaused",
    "MaxHoldExceeded",
    "Missing",
    "NotStarted",
    "PayloadTooLarge",
    "PollTimeout",
    "QuestionClosed",
    "Refused",
    "ResourceNotFound",
    "ResumeKeyNotFound",
    "RoleViolation",
    "SessionNotFound",
    "SpawnDepthExceeded",
    "StoreUnavailable",
    "TaskNotFound",
    "TokenExpired",
    "TokenNotFound",
    "TokenRevoked",
    "TokenTaskMismatch",
    "TokenUsesExhausted",
    "TooManyGuesses",
    "Unacceptable",
    "Unauthenticated",
    "WebhookNotFound",
]
