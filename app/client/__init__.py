"""The Python client that other programs use to talk to a node: typed calls over HTTP and frames over WebSocket.

It imports the wire shapes and the domain values, never the server, so that it stays small wherever it is installed.
`SwarmholdClient` is the way in: it hands out an `Operator`, `Senior`, `Observer`, `Worker`, `QueueWorker` or `Admin`,
one for each kind of credential. Calls that fail on a busy or absent server are sent again when that is safe. A refusal
is an `ApiProblem`; the whole tree of errors is in `app.client.errors`. What calls take besides plain values can be
imported from here, too: spawners, retry policies, roles. `docs/guide.md` has a program for each job.
"""

from app.client.admin import Admin
from app.client.backend import Backend
from app.client.console import Console
from app.client.errands import BackendHandlers, Finished, Refused
from app.client.errors import AnswerRejected, ApiProblem, ClientError, Disconnected, Unanswered, Unreachable
from app.client.jobs import Job, JobFailed
from app.client.node import SwarmholdClient
from app.client.observer import Observer
from app.client.operator import Operator
from app.client.patience import Patience
from app.client.queue_worker import QueueWorker
from app.client.senior import Senior
from app.client.worker import Worker
from app.domain.access import Role
from app.domain.questions import OnDeadline
from app.domain.tasks import RetryOn, Status
from app.wire.events import Event, Lagged
from app.wire.frames import HookBefore, Spawn
from app.wire.retries import Retry
from app.wire.shapes import JsonValue
from app.wire.spawners import (
    CustomSpawner,
    ExternalSpawner,
    HttpSpawner,
    InProcessSpawner,
    OperatorSpawner,
    ProcessSpawner,
    QueueSpawner,
)

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
