"""All errors of the engine, as one tree.

    EngineError
    ├── Busy                  LockBusy, LockBusyAfterRetry, MaxHoldExceeded, StoreUnavailable, LoopPaused,
    │                         QuotaExceeded, Overloaded
    ├── AccessDenied          BadSignature, TokenExpired, TokenNotFound, TokenRevoked, TokenUsesExhausted,
    │                         HandleMistyped, RoleViolation, TokenTaskMismatch, Unauthenticated, AuthRateLimited,
    │                         AskerCannotAnswer, IdTaken
    ├── NotFound              TaskNotFound, AttemptNotFound, SessionNotFound, ResumeKeyNotFound,
    │                         ResourceNotFound, LateResultNotFound, OutputNotFound,
    │                         KeyNotFound, WebhookNotFound, HeldIdNotFound
    ├── Conflict              InvalidTransition, FinalConflict, AttemptSuperseded, Cancelled, NotStarted,
    │                         AlreadyAnswered, QuestionClosed, SpawnDepthExceeded, NameTaken
    ├── InvalidInput          AnswerInvalid, DefaultRefused, DispatchFailed, IdempotencyMismatch, InvalidName,
    │                         InvalidRequest, PayloadTooLarge
    ├── PollTimeout
    └── Internal

Leaves hold typed fields and build their message from them; the message says what to do. No leaf knows a
status code: each edge (HTTP, WebSocket, command line) has one table that maps `code`.
"""

from __future__ import annotations

from app.domain.errors.access import (
    AskerCannotAnswer,
    AuthRateLimited,
    BadSignature,
    HandleMistyped,
    IdTaken,
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
    NameTaken,
    NotStarted,
    QuestionClosed,
    SpawnDepthExceeded,
)
from app.domain.errors.requests import (
    AnswerInvalid,
    AttemptNotFound,
    DefaultRefused,
    DispatchFailed,
    HeldIdNotFound,
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
    "AskerCannotAnswer",
    "AttemptNotFound",
    "AttemptSuperseded",
    "AuthRateLimited",
    "BadSignature",
    "Busy",
    "Cancelled",
    "Conflict",
    "DefaultRefused",
    "DispatchFailed",
    "EngineError",
    "FinalConflict",
    "HandleMistyped",
    "HeldIdNotFound",
    "IdTaken",
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
    "NameTaken",
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
