"""Tasks: starting, reading, waiting and judging."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool

from swarmhold.models.attempts import Retry
from swarmhold.models.enums import SETTLED, OnDeadline, Outcome, Phase, Status
from swarmhold.models.instants import Instant, Seconds
from swarmhold.models.names import Labels, NewName, TaskId, Text
from swarmhold.models.shapes import JsonValue, Request, Shape, integral, null_as

__all__ = [
    "CancelRequest",
    "DirectiveRequest",
    "OverrideRequest",
    "PostResultRequest",
    "StartTaskRequest",
    "Task",
    "TaskSpec",
    "VerdictRequest",
    "Why",
    "WhyLink",
    "WorkerResultRequest",
]


class TaskSpec(Shape):
    """The work of a task, and the agent that does it."""

    agent: str
    initial_directive: str


class Task(Shape):
    """One work item. `version` grows with every change; `attempt` is 0 before the first.

    In a list, `cut` names the fields of which this is a preview: the beginning of a text, null for other JSON.
    """

    id: str
    namespace: str | None = None
    spec: TaskSpec
    status: Status
    attempt: int
    suspended_on: list[str]
    last_result: JsonValue
    spawn_depth: int
    parent_task_id: str | None
    session_id: str | None
    labels: dict[str, str]
    retry: Retry | None
    version: int
    created_at: Instant
    updated_at: Instant
    cut: list[str] | None = None

    @property
    def settled(self) -> bool:
        """Whether the task is done: pass, blocked or cancelled."""
        return self.status in SETTLED


class StartTaskRequest(Request):
    """A new task. `attempt_timeout` is in seconds; without it an attempt may take for ever."""

    agent: NewName
    initial_directive: Text
    labels: Annotated[Labels, null_as({})] = Field(default_factory=dict)
    retry: Retry | None = None
    attempt_timeout: Seconds | None = None


class CancelRequest(Request):
    """Why the task is cancelled; kept with the event."""

    reason: Text | None = None


class PostResultRequest(Request):
    """An operator's interim result: it changes `last_result` and never the status."""

    value: JsonValue


class VerdictRequest(Request):
    """An operator's verdict: `ok` marks pass, else blocked. No `value` keeps the last one."""

    ok: StrictBool
    value: JsonValue = None


class OverrideRequest(Request):
    """A senior's verdict, which also turns pass into blocked and the other way round."""

    ok: StrictBool
    value: JsonValue


class DirectiveRequest(Request):
    """The prompt of the task's next attempt."""

    prompt: Text


class WorkerResultRequest(Request):
    """A worker's Final with checks: `task_id`, and `attempt` if given, must be its own.

    `failed`: the worker's program failed, so that policies which cover `failed` retry it; `ok` is false then.
    """

    task_id: TaskId
    value: JsonValue
    ok: StrictBool = True
    failed: StrictBool = False
    attempt: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1), integral] | None = None


class WhyLink(Shape):
    """One link of what a task waits for: a question, an attempt, a timer, a retry, a child and so on, by `kind`.

    `detail` is for people; the further fields depend on the kind. `seen_by` lists the bridges that were shown the
    question, `at` is when a timer, retry or next try is due.
    """

    kind: str
    detail: str
    since: Instant | None = None
    at: Instant | None = None
    task_id: str | None = None
    key: str | None = None
    asked_by: str | None = None
    bridge_id: str | None = None
    seen_by: list[str] | None = None
    deadline: Instant | None = None
    on_deadline: OnDeadline | None = None
    attempt: int | None = None
    phase: Phase | None = None
    spawner: str | None = None
    queue: str | None = None
    lease_holder: str | None = None
    owner: str | None = None
    last_seen_at: Instant | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    reason_detail: str | None = None
    late_results: int | None = None
    name: str | None = None


class Why(Shape):
    """Why a task is where it is; `summary` is one sentence for people."""

    task_id: str
    status: Status
    summary: str
    chain: list[WhyLink]
