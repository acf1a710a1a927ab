"""The Python client that other programs use to talk to a node: typed calls over HTTP and frames over WebSocket.

It imports nothing of the server, so that it stays small wherever it is installed.
`SwarmholdClient` is the way in: it hands out an `Operator`, `Senior`, `Observer`, `Worker`, `QueueWorker` or `Admin`,
one for each kind of credential. Calls that fail on a busy or absent server are sent again when that is safe. A refusal
is an `ApiProblem`; the whole tree of errors is in `swarmhold.errors`. What calls take besides plain values can be
imported from here, too: spawners, retry policies, roles. `docs/guide.md` has a program for each job.
"""

from swarmhold.admin import Admin
from swarmhold.backend import Backend
from swarmhold.console import Console
from swarmhold.errands import BackendHandlers, Finished, Refused
from swarmhold.errors import AnswerRejected, ApiProblem, ClientError, Disconnected, Unanswered, Unreachable
from swarmhold.jobs import Job, JobFailed
from swarmhold.models.enums import OnDeadline, RetryOn, Role, Status
from swarmhold.models.events import Event, Lagged
from swarmhold.models.frames import HookBefore, Spawn
from swarmhold.models.retries import Retry
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
from swarmhold.node import SwarmholdClient
from swarmhold.observer import Observer
from swarmhold.operator import Operator
from swarmhold.patience import Patience
from swarmhold.queue_worker import QueueWorker
from swarmhold.senior import Senior
from swarmhold.worker import Worker

__all__ = [
    "Admin",
    "AnswerRejected",
    "ApiProblem",
    "Backend",
    "BackendHandlers",
    "ClientError",
    "Console",
    "CustomSpawner",
    "Disconnected",
    "Event",
    "ExternalSpawner",
    "Finished",
    "HookBefore",
    "HttpSpawner",
    "InProcessSpawner",
    "Job",
    "JobFailed",
    "JsonValue",
    "Lagged",
    "Observer",
    "OnDeadline",
    "Operator",
    "OperatorSpawner",
    "Patience",
    "ProcessSpawner",
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
    "Unanswered",
    "Unreachable",
    "Worker",
]
