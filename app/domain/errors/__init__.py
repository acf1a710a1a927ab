"""All errors of the engine, as one tree.

    EngineError
    ├── Busy                  LockBusy, LockBusyAfterRetry, MaxHoldExceeded, StoreUnavailable, LoopPaused,
    │                         QuotaExceeded, Overloaded
    ├── AccessDenied          BadSignature, TokenExpired, TokenNotFound, TokenRevoked, TokenUsesExhausted,
    │                         HandleMistyped, RoleViolation, TokenTaskMismatch, Unauthenticated, AuthRateLimited
    ├── NotFound              TaskNotFound, AttemptNotFound, SessionNotFound, ResumeKeyNotFound,
    │                         ResourceNotFound, LateResultNotFound, OutputNotFound,
    │                         KeyNotFound, WebhookNotFound
    ├── Conflict              InvalidTransition, FinalConflict, AttemptSuperseded, Cancelled, NotStarted,
    │                         AlreadyAnswered, QuestionClosed, SpawnDepthExceeded
    ├── InvalidInput          AnswerInvalid, DispatchFailed, IdempotencyMismatch, InvalidName, InvalidRequest,
    │                         PayloadTooLarge
    ├── PollTimeout
    └── Internal

Leaves hold typed fields and build their message from them; the message says what to do. No leaf knows a
status code: each edge (HTTP, WebSocket, command line) has one table that maps `code`.
"""

from __future__ import annotations

from app.domain.errors.access import (
    AuthRateLimited,
    BadSignature,
    HandleMistyped,
    RoleViolation,
    TokenExpired,
    TokenNotFound,
    TokenRevoked,
    TokenTaskMismatch,
    TokenUsesExhausted,
    Unauthenticated,
)
from app.domain.errors.availability import (
    LockBusy,
    LockBusyAfterRetry,
    LoopPaused,
    MaxHoldExceeded,
    Overloaded,
    QuotaExceeded,
    StoreUnavailable,
)
from app.domain.errors.base import (
    AccessDenied,
    Busy,
    Conflict,
    EngineError,
    Internal,
    InvalidInput,
    NotFound,
    PollTimeout,
)
from app.domain.errors.conflicts import (
    AlreadyAnswered,
    AttemptSuperseded,
    Cancelled,
    FinalConflict,
    InvalidTransition,
    NotStarted,
    QuestionClosed,
    SpawnDepthExceeded,
)
from app.domain.errors.requests import (
    AnswerInvalid,
    AttemptNotFound,
    DispatchFailed,
    IdempotencyMismatch,
    InvalidName,
    InvalidRequest,
    KeyNotFound,
    LateResultNotFound,
    OutputNotFound,
    PayloadTooLarge,
    ResourceNotFound,
    ResumeKeyNotFound,
    SessionNotFound,
    TaskNotFound,
    WebhookNotFound,
)

__all__ = [
    "AccessDenied",
    "AlreadyAnswered",
    "AnswerInvalid",
    "AttemptNotFound",
    "AttemptSuperseded",
    "AuthRateLimited",
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
    "InvalidInput",
    "InvalidName",
    "InvalidRequest",
    "InvalidTransition",
    "KeyNotFound",
    "LateResultNotFound",
    "LockBusy",
    "LockBusyAfterRetry",
    "LoopPaused",
    "MaxHoldExceeded",
    "NotFound",
    "NotStarted",
    "OutputNotFound",
    "Overloaded",
    "PayloadTooLarge",
    "PollTimeout",
    "QuestionClosed",
    "QuotaExceeded",
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
    "Unauthenticated",
    "WebhookNotFound",
]
