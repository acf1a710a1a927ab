"""Workers' own calls: prompt, heartbeat and claim."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from swarmhold.models.instants import Hold, Instant
from swarmhold.models.names import Name, NamespaceName, NewName
from swarmhold.models.questions import AnsweredThrough
from swarmhold.models.shapes import JsonValue, Request, Shape

__all__ = ["AnsweredQuestion", "ClaimRequest", "ClaimedJob", "Heartbeat", "TraceContext", "WorkerPrompt"]


class AnsweredQuestion(Shape):
    """A question that the task asked earlier, and its answer."""

    key: str
    question: JsonValue
    answer: JsonValue
    answered_by: str | None = None
    answered_through: AnsweredThrough | None = None
    answered_at: Instant | None = None
    comment: str | None = None


class TraceContext(Shape):
    """A trace context as W3C Trace Context has it, for the spans of a worker."""

    traceparent: str
    tracestate: str | None = None


class WorkerPrompt(Shape):
    """The prompt of one attempt for its worker. `answers` runs from the oldest to the newest."""

    task_id: str
    attempt: int
    agent: str
    system: str | None = None
    trace: TraceContext | None = None
    prompt: str
    answers: list[AnsweredQuestion]


class Heartbeat(Shape):
    """The lease's new end (null: no lease), and whether the worker should stop."""

    expires_at: Instant | None
    cancelled: bool


class ClaimRequest(Request):
    """Ask a queue for work, for `agents` or, without any, for anybody.

    `hold` is in seconds; without it the server's default holds.
    """

    queue: NewName
    agents: Annotated[tuple[Name, ...], Field(max_length=200)] | None = None
    hold: Hold | None = None
    worker_name: NewName | None = None
    namespace: NamespaceName | None = None


class ClaimedJob(WorkerPrompt):
    """A claimed attempt: its prompt, the handle that works on it, and when the lease ends."""

    worker_handle: str = Field(repr=False)
    lease_expires_at: Instant | None = None
    base_url: str | None = None
