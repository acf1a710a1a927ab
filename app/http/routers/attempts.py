"""The attempts of a task, their outputs and late results."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from app.domain.access import Verb
from app.http import replies, views
from app.http.context import ContextDep, Token
from app.http.parameters import AttemptPath, TaskPath
from app.http.replies import Reply
from app.http.routers.tasks import shown
from app.http.routes import model_router, requires
from swarmhold.models.attempts import Attempt, LateResult
from swarmhold.models.outputs import OutputRecord
from swarmhold.models.pages import Page
from swarmhold.models.tasks import Task

router = model_router("/v1/operator/tasks/{task_id}/attempts", "operator")

_READ = requires(Verb.READ_TRACE, Verb.READ_TASK_STATE)
MOST_OUTPUTS = 1_000_000
LateIndex = Annotated[int, Path(ge=0, le=2**31 - 1, description="A late result's place, from 0.")]


@router.get("", response_model=Page[Attempt], openapi_extra=_READ)
async def list_attempts(context: ContextDep, token: Token, task_id: TaskPath) -> Reply:
    """List the attempts of a task, oldest first."""
    rows = await context.engine.attempts.every(token, task_id)
    task = await context.engine.tasks.find(task_id)
    return replies.json(views.page([views.attempt(row, task) for row in rows]))


@router.get("/{number}", response_model=Attempt, openapi_extra=_READ)
async def read_attempt(context: ContextDep, token: Token, task_id: TaskPath, number: AttemptPath) -> Reply:
    """Read one attempt."""
    row = await context.engine.attempts.read(token, task_id, number)
    return replies.json(views.attempt(row, await context.engine.tasks.find(task_id)))


@router.get("/{number}/output", response_model=Page[OutputRecord], openapi_extra=_READ)
async def read_outputs(context: ContextDep, token: Token, task_id: TaskPath, number: AttemptPath) -> Reply:
    """List the outputs of an attempt, in order."""
    rows = await context.engine.attempts.outputs(token, task_id, number, limit=MOST_OUTPUTS)
    return replies.json(views.page([views.output(row) for row in rows]))


@router.get("/{number}/late", response_model=Page[LateResult], openapi_extra=_READ)
async def list_late(context: ContextDep, token: Token, task_id: TaskPath, number: AttemptPath) -> Reply:
    """List the results that arrived after the attempt had ended."""
    rows = await context.engine.attempts.late(token, task_id, number)
    return replies.json(views.page([views.late(row) for row in rows]))


@router.post(
    "/{number}/late/{index}/adopt",
    response_model=Task,
    openapi_extra=requires(Verb.MARK_PASS, Verb.OVERRIDE_VERDICT),
)
async def adopt(context: ContextDep, token: Token, task_id: TaskPath, number: AttemptPath, index: LateIndex) -> Reply:
    """Adopt a late result as the task's result."""
    return shown(await context.engine.attempts.adopt_late(token, task_id, number, index))
