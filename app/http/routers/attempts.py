"""The attempts of a task, their outputs and late results."""

from __future__ import annotations

from functools import partial

from app.domain.access import Verb
from app.http import replies, views
from app.http.context import ContextDep, Token
from app.http.parameters import (
    AttemptPath,
    BehindOutput,
    LateIndex,
    Limit,
    NumberCursor,
    OutputPath,
    TaskPath,
    integer_of,
    limit_of,
)
from app.http.replies import Reply
from app.http.routers.tasks import shown
from app.http.routes import model_router, requires
from swarmhold.models.attempts import Attempt, LateResult
from swarmhold.models.outputs import OutputRecord
from swarmhold.models.shapes import Page
from swarmhold.models.tasks import Task

router = model_router("/v1/operator/tasks/{task_id}/attempts", "operator")

_READ = requires(Verb.READ_TRACE, Verb.READ_TASK_STATE)


@router.get("", response_model=Page[Attempt], openapi_extra=_READ)
async def list_attempts(
    context: ContextDep, token: Token, task_id: TaskPath, limit: Limit = None, cursor: NumberCursor = None
) -> Reply:
    """List the attempts of a task, the first one first."""
    page = await context.engine.attempts.page(
        token, task_id, limit=limit_of(limit, context.settings), after=integer_of(cursor, "cursor") or 0
    )
    used = await context.engine.attempts.usage(token, task_id, [row.attempt for row in page.items])
    return replies.json(views.page(page, partial(views.attempt, used)))


@router.get("/{number}", response_model=Attempt, openapi_extra=_READ)
async def read_attempt(context: ContextDep, token: Token, task_id: TaskPath, number: AttemptPath) -> Reply:
    """Read one attempt."""
    row = await context.engine.attempts.read(token, task_id, number)
    return replies.json(views.attempt(await context.engine.attempts.usage(token, task_id, [number]), row))


@router.get("/{number}/output", response_model=Page[OutputRecord], openapi_extra=_READ)
async def read_outputs(
    context: ContextDep,
    token: Token,
    task_id: TaskPath,
    number: AttemptPath,
    after: BehindOutput = 0,
    limit: Limit = None,
) -> Reply:
    """List the outputs of an attempt, in order. A long one comes as the address at which it is read whole."""
    page = await context.engine.attempts.outputs(
        token, task_id, number, limit=limit_of(limit, context.settings), after=after
    )
    return replies.json(views.page(page, views.listed_output))


@router.get("/{number}/output/{seq}", response_model=OutputRecord, openapi_extra=_READ)
async def read_output(
    context: ContextDep, token: Token, task_id: TaskPath, number: AttemptPath, seq: OutputPath
) -> Reply:
    """Read one output, whole."""
    return replies.json(views.output(await context.engine.attempts.output(token, task_id, number, seq)))


@router.get("/{number}/late", response_model=Page[LateResult], openapi_extra=_READ)
async def list_late(
    context: ContextDep,
    token: Token,
    task_id: TaskPath,
    number: AttemptPath,
    limit: Limit = None,
    cursor: NumberCursor = None,
) -> Reply:
    """List the results that came after the attempt was over."""
    index = integer_of(cursor, "cursor")
    page = await context.engine.attempts.late(
        token, task_id, number, limit=limit_of(limit, context.settings), after=-1 if index is None else index
    )
    return replies.json(views.page(page, views.late))


@router.get("/{number}/late/{index}", response_model=LateResult, openapi_extra=_READ)
async def read_late(
    context: ContextDep, token: Token, task_id: TaskPath, number: AttemptPath, index: LateIndex
) -> Reply:
    """Read one late result, whole."""
    return replies.json(views.late(await context.engine.attempts.late_result(token, task_id, number, index)))


@router.post(
    "/{number}/late/{index}/adopt",
    response_model=Task,
    openapi_extra=requires(Verb.MARK_PASS, Verb.OVERRIDE_VERDICT),
)
async def adopt(context: ContextDep, token: Token, task_id: TaskPath, number: AttemptPath, index: LateIndex) -> Reply:
    """Adopt a late result as the task's result."""
    return shown(context, await context.engine.attempts.adopt_late(token, task_id, number, index))
