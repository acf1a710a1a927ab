"""Routes about many tasks: list them, count them, cancel them, dispatch them again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends

from app.domain.access import Verb
from app.domain.tasks import Status as DomainStatus
from app.engine.ops.task_filters import TaskFilter
from app.engine.selections import Changed
from app.http import conversions, operating_views, replies, views
from app.http.context import ContextDep, Token
from app.http.parameters import (
    InstantQuery,
    LabelFilter,
    Limit,
    NameQuery,
    SearchQuery,
    SessionQuery,
    Sort,
    TaskCursor,
    TaskQuery,
    instant_of,
    labels_of,
    limit_of,
)
from app.http.replies import Reply
from app.http.routes import model_router, requires
from swarmhold.models.enums import Status
from swarmhold.models.shapes import Page
from swarmhold.models.tasks import CancelTasksRequest, RetryTasksRequest, Task, TaskCounts, TasksChanged

router = model_router("/v1/operator", "operator")


@dataclass(frozen=True, slots=True)
class Selected:
    """The tasks that a query selects."""

    q: SearchQuery = None
    status: Status | None = None
    agent: NameQuery = None
    label: LabelFilter = None
    parent: TaskQuery = None
    session: SessionQuery = None
    created_from: InstantQuery = None
    created_until: InstantQuery = None

    def filter(self, sort: Sort = None) -> TaskFilter:
        """Return the filter. Raises InvalidRequest."""
        return TaskFilter(
            query=self.q,
            status=None if self.status is None else DomainStatus(self.status),
            agent=self.agent,
            labels=labels_of(self.label),
            parent=self.parent,
            session=self.session,
            created_from=instant_of(self.created_from, "created_from"),
            created_until=instant_of(self.created_until, "created_until"),
            oldest_first=sort == "oldest",
            by_duration=sort if sort in ("longest", "shortest") else None,
        )


SelectedDep = Annotated[Selected, Depends()]


@router.get("/tasks", response_model=Page[Task], openapi_extra=requires(Verb.READ_TASK_STATE))
async def list_tasks(
    context: ContextDep,
    token: Token,
    selected: SelectedDep,
    sort: Sort = None,
    limit: Limit = None,
    cursor: TaskCursor = None,
) -> Reply:
    """List tasks, newest first unless `sort` says otherwise."""
    page = await context.engine.tasks.page(
        token, selected.filter(sort), limit=limit_of(limit, context.settings), cursor=cursor
    )
    return replies.json(views.page(page, partial(views.task, context.names)))


@router.get("/task-counts", response_model=TaskCounts, openapi_extra=requires(Verb.READ_TASK_STATE))
async def count_tasks(context: ContextDep, token: Token, selected: SelectedDep) -> Reply:
    """Count tasks by status."""
    return replies.json({"counts": await context.engine.selections.counts(token, selected.filter())})


@router.post("/tasks/cancel", response_model=TasksChanged, openapi_extra=requires(Verb.CANCEL_TASK))
async def cancel_tasks(context: ContextDep, token: Token, body: CancelTasksRequest) -> Reply:
    """Cancel the tasks of a filter and what is below them; `dry_run` counts them alone."""
    selections, wanted = context.engine.selections, conversions.task_filter(body.filter)
    if body.dry_run:
        return replies.json(operating_views.changed(Changed(count=await selections.count_cancellable(token, wanted))))
    changed = await selections.cancel(token, wanted, reason=body.reason, cursor=body.cursor)
    return replies.json(operating_views.changed(changed))


@router.post("/tasks/retry", response_model=TasksChanged, openapi_extra=requires(Verb.DISPATCH_ATTEMPT))
async def retry_tasks(context: ContextDep, token: Token, body: RetryTasksRequest) -> Reply:
    """Dispatch the blocked tasks of a filter again, each as its last attempt was; `dry_run` counts them alone."""
    selections, wanted = context.engine.selections, conversions.task_filter(body.filter)
    if body.dry_run:
        return replies.json(operating_views.changed(Changed(count=await selections.count_retryable(token, wanted))))
    return replies.json(operating_views.changed(await selections.retry(token, wanted, cursor=body.cursor)))
