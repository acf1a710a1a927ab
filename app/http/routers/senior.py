"""Routes of seniors: answer, override, inject a prompt, pause dispatching."""

from __future__ import annotations

from functools import partial

from app.domain.access import Verb
from app.domain.json import Json
from app.domain.questions import QuestionStatus as DomainStatus
from app.http import replies, views
from app.http.context import ContextDep, Token
from app.http.parameters import Limit, NameQuery, QuestionCursor, QuestionPath, TaskPath, TaskQuery, limit_of
from app.http.replies import Reply
from app.http.routers.tasks import shown
from app.http.routes import model_router, requires
from swarmhold.models.enums import QuestionStatus
from swarmhold.models.questions import AnswerRequest, Question
from swarmhold.models.server import LoopState
from swarmhold.models.shapes import Page
from swarmhold.models.tasks import DirectiveRequest, OverrideRequest, Task

router = model_router("/v1/senior", "senior")


@router.get("/questions", response_model=Page[Question], openapi_extra=requires(Verb.ANSWER_QUERY))
async def list_questions(
    context: ContextDep,
    token: Token,
    status: QuestionStatus | None = None,
    bridge_id: NameQuery = None,
    task_id: TaskQuery = None,
    limit: Limit = None,
    cursor: QuestionCursor = None,
) -> Reply:
    """List questions, oldest first."""
    page = await context.engine.questions.page(
        token,
        status=None if status is None else DomainStatus(status),
        bridge_id=bridge_id,
        task_id=task_id,
        limit=limit_of(limit, context.settings),
        cursor=cursor,
    )
    return replies.json(views.page(page, partial(views.question, context.names)))


@router.get("/questions/{key}", response_model=Question, openapi_extra=requires(Verb.ANSWER_QUERY))
async def read_question(context: ContextDep, token: Token, key: QuestionPath) -> Reply:
    """Read one question."""
    return replies.json(views.question(context.names, await context.engine.questions.read(token, key)))


@router.post("/questions/{key}/answer", response_model=Question, openapi_extra=requires(Verb.ANSWER_QUERY))
async def answer(context: ContextDep, token: Token, key: QuestionPath, body: AnswerRequest) -> Reply:
    """Answer a question. The first answer wins; an identical repeat changes nothing."""
    return replies.json(
        views.question(context.names, await context.engine.questions.answer(token, key, Json.of(body.value)))
    )


@router.post("/tasks/{task_id}/verdict", response_model=Task, openapi_extra=requires(Verb.OVERRIDE_VERDICT))
async def override(context: ContextDep, token: Token, task_id: TaskPath, body: OverrideRequest) -> Reply:
    """Override the result: the task is pass or blocked from now on."""
    return shown(context, await context.engine.tasks.override(token, task_id, ok=body.ok, value=Json.of(body.value)))


@router.post("/tasks/{task_id}/directive", status_code=204, openapi_extra=requires(Verb.INJECT_DIRECTIVE))
async def direct(context: ContextDep, token: Token, task_id: TaskPath, body: DirectiveRequest) -> Reply:
    """Set the prompt of the task's next attempt."""
    await context.engine.tasks.inject_directive(token, task_id, body.prompt)
    return replies.nothing()


@router.post("/loop/pause", response_model=LoopState, openapi_extra=requires(Verb.PAUSE_LOOP))
async def pause(context: ContextDep, token: Token) -> Reply:
    """Pause dispatching: no new attempt starts."""
    return replies.json(views.loop(await context.engine.switch.pause(token)))


@router.post("/loop/resume", response_model=LoopState, openapi_extra=requires(Verb.RESUME_LOOP))
async def resume(context: ContextDep, token: Token) -> Reply:
    """Resume dispatching; attempts that waited start."""
    return replies.json(views.loop(await context.engine.switch.resume(token)))


@router.get("/loop", response_model=LoopState, openapi_extra=requires(Verb.PAUSE_LOOP, Verb.RESUME_LOOP))
async def loop(context: ContextDep, token: Token) -> Reply:
    """Read whether dispatching is paused, by whom and since when."""
    return replies.json(views.loop(await context.engine.switch.state(token)))
