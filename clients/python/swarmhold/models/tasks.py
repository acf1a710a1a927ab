"""Tasks: starting, reading, waiting and judging."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StringConstraints

from swarmhold.models.attempts import Retry
from swarmhold.models.enums import SETTLED, OnDeadline, Outcome, Phase, Status
from swarmhold.models.instants import Instant, Seconds
from swarmhold.models.names import Labels, Name, NewName, SessionId, TaskId, Text
from swarmhold.models.shapes import JsonValue, Request, Shape, integral, null_as
from swarmhold.models.usage import Usage

__all__ = [
    "CancelRequest",
    "CancelTasksRequest",
    "DirectiveRequest",
    "OverrideRequest",
    "PostResultRequest",
    "RetryTasksRequest",
    "SkippedTask",
    "StartTaskRequest",
    "Task",
    "TaskCounts",
    "TaskSelection",
    "TaskSpec",
    "TasksChanged",
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

    In a list, `cut` names the fields of which this is a preview: the beginning of a text, null for other JSON; and
    `usage` is what its own attempts used, where they reported any, `started_at` when it was first dispatched.
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
    settled_at: Instant | None = None
    started_at: Instant | None = None
    usage: Usage | None = None
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


class TaskSelection(Request):
    """Which tasks are meant: those that fit every field that is given. At least one is; `ids` stand alone.

    `q` is searched for in directive, result, agent and labels (what is in quotes as it is, a word as the beginning of
    one), or is the beginning of an id; the index behind it may lag by seconds. Tasks were created at or after
    `created_from` and before `created_until`.
    """

    q: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    status: Status | None = None
    agent: Name | None = None
    labels: Annotated[Labels, null_as({})] = Field(default_factory=dict)
    parent: TaskId | None = None
    session: SessionId | None = None
    created_from: Instant | None = None
    created_until: Instant | None = None
    ids: Annotated[tuple[TaskId, ...], null_as(()), Field(max_length=1000)] = ()


class CancelTasksRequest(Request):
    """Cancel the tasks of a filter; with `dry_run` they are counted alone. `cursor` goes on with the next ones."""

    filter: TaskSelection
    reason: Text | None = None
    dry_run: Annotated[StrictBool, null_as(False)] = False
    cursor: TaskId | None = None


class RetryTasksRequest(Request):
    """Dispatch the blocked tasks of a filter again, each as its last attempt was; with `dry_run` count them alone."""

    filter: TaskSelection
    dry_run: Annotated[StrictBool, null_as(False)] = False
    cursor: TaskId | None = None


class SkippedTask(Shape):
    """A task that was left as it is, and why."""

    task_id: str
    detail: str


class TasksChanged(Shape):
    """How many tasks were changed (or would be), how many were left, and the first of those.

    `next_cursor` says that more are to come: repeat the call with it.
    """

    count: int
    skipped: int = 0
    reasons: list[SkippedTask] = Field(default_factory=list[SkippedTask])
    next_cursor: str | None = None


class TaskCounts(Shape):
    """How many tasks there are by status; a status without tasks is left out."""

    counts: dict[str, int]


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
