"""The Python client of swarmhold: typed calls over HTTP and WebSockets, for operators, seniors and workers.

`SwarmholdClient` is the entry point: it returns an `Operator`, `Senior`, `Observer`, `Worker`, `QueueWorker` or
`Admin`, one for each kind of credential. Calls that fail on a busy or absent server are retried when that is safe
(`CallRetry`). Every error is below `Error`; `swarmhold.errors` draws the tree. What calls take and return are models,
of which the common ones can be imported from here and all from `swarmhold.models`; instants are timezone-aware
datetimes.
"""

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
from swarmhold.models.enums import OnDeadline, OperatorKind, Outcome, Phase, QuestionStatus, RetryOn, Role, Status, Verb
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
