"""The Python client of swarmhold: typed calls over HTTP and WebSockets, for operators, seniors and workers.

`SwarmholdClient` is the entry point: it returns an `Operator`, `Senior`, `Observer`, `Worker`, `QueueWorker` or
`Admin`, one for each kind of credential. Calls that fail on a busy or absent server are retried when that is safe
(`CallRetry`). Every error is below `Error`; `swarmhold.errors` draws the tree. What calls take and return are models,
of which the common ones can be imported from here and all from `swarmhold.models`; instants are timezone-aware
datetimes. Names are imported from their modules when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmhold.admin import Admin
    from swarmhold.asking import Decision, Hold
    from swarmhold.backend import Backend
    from swarmhold.call_retry import CallRetry
    from swarmhold.client import SwarmholdClient
    from swarmhold.console import Console
    from swarmhold.errors import (
        AlreadyConsumed,
        AnswerRejected,
        ApiProblem,
        DeadlineExceeded,
        Disconnected,
        Error,
        InvalidArgument,
        InvalidReply,
        JobFailed,
        Unanswered,
        Unreachable,
    )
    from swarmhold.jobs import Job
    from swarmhold.models.attempts import Retry
    from swarmhold.models.enums import (
        OnDeadline,
        OperatorKind,
        Outcome,
        Phase,
        QuestionStatus,
        RetryOn,
        Role,
        Status,
        Verb,
    )
    from swarmhold.models.events import Event, Lagged
    from swarmhold.models.frames import Ask, CancelSpawn, HookAfter, HookBefore, Spawn
    from swarmhold.models.numbers import ExactFloat
    from swarmhold.models.questions import Question
    from swarmhold.models.shapes import JsonValue
    from swarmhold.models.spawners import (
        CustomSpawner,
        ExternalSpawner,
        HttpSpawner,
        InProcessSpawner,
        OperatorSpawner,
        ProcessSpawner,
        QueueSpawner,
    )
    from swarmhold.models.tasks import Task
    from swarmhold.operator import Operator
    from swarmhold.queue_worker import QueueWorker
    from swarmhold.requests import BackendHandlers, Finished, Refused
    from swarmhold.senior import Senior
    from swarmhold.sessions import Observer
    from swarmhold.tracing import traced
    from swarmhold.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "Admin",
    "AlreadyConsumed",
    "AnswerRejected",
    "ApiProblem",
    "Ask",
    "Backend",
    "BackendHandlers",
    "CallRetry",
    "CancelSpawn",
    "Console",
    "CustomSpawner",
    "DeadlineExceeded",
    "Decision",
    "Disconnected",
    "Error",
    "Event",
    "ExactFloat",
    "ExternalSpawner",
    "Finished",
    "Hold",
    "HookAfter",
    "HookBefore",
    "HttpSpawner",
    "InProcessSpawner",
    "InvalidArgument",
    "InvalidReply",
    "Job",
    "JobFailed",
    "JsonValue",
    "Lagged",
    "Observer",
    "OnDeadline",
    "Operator",
    "OperatorKind",
    "OperatorSpawner",
    "Outcome",
    "Phase",
    "ProcessSpawner",
    "Question",
    "QuestionStatus",
    "QueueSpawner",
    "QueueWorker",
    "Refused",
    "Retry",
    "RetryOn",
    "Role",
    "Senior",
    "Spawn",
    "Status",
    "SwarmholdClient",
    "Task",
    "Unanswered",
    "Unreachable",
    "Verb",
    "Worker",
    "traced",
]

_HOMES = {
    "admin": "Admin",
    "asking": "Decision Hold",
    "backend": "Backend",
    "call_retry": "CallRetry",
    "client": "SwarmholdClient",
    "console": "Console",
    "errors": "AlreadyConsumed AnswerRejected ApiProblem DeadlineExceeded Disconnected Error InvalidArgument "
    "InvalidReply JobFailed Unanswered Unreachable",
    "jobs": "Job",
    "models.attempts": "Retry",
    "models.enums": "OnDeadline OperatorKind Outcome Phase QuestionStatus RetryOn Role Status Verb",
    "models.events": "Event Lagged",
    "models.frames": "Ask CancelSpawn HookAfter HookBefore Spawn",
    "models.numbers": "ExactFloat",
    "models.questions": "Question",
    "models.shapes": "JsonValue",
    "models.spawners": "CustomSpawner ExternalSpawner HttpSpawner InProcessSpawner OperatorSpawner ProcessSpawner "
    "QueueSpawner",
    "models.tasks": "Task",
    "operator": "Operator",
    "queue_worker": "QueueWorker",
    "requests": "BackendHandlers Finished Refused",
    "senior": "Senior",
    "sessions": "Observer",
    "tracing": "traced",
    "worker": "Worker",
}
_HOME_OF = {name: f"swarmhold.{module}" for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
