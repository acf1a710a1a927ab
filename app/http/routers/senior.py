"""Routes of seniors: answer, override, inject a prompt, pause dispatching."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import Query, Request

from app.domain.access import Verb
from app.domain.errors import InvalidRequest
from app.domain.questions import QuestionStatus as DomainStatus
from app.http import auth, bodies, replies, views
from app.http.context import ContextDep, Token, context_of
from app.http.errors import InvalidBody
from app.http.parameters import (
    QUESTION_KEY,
    Limit,
    NameQuery,
    QuestionCursor,
    QuestionPath,
    TaskPath,
    TaskQuery,
    limit_of,
    question_key_of,
)
from app.http.replies import Reply
from app.http.routers.tasks import body_of, shown
from app.http.routes import documented, model_router, plain_router, requires
from swarmhold.models.enums import QuestionStatus
from swarmhold.models.names import Text
from swarmhold.models.questions import AnswerRequest, EscalateRequest, Question, QuestionClaimRequest
from swarmhold.models.server import LoopState
from swarmhold.models.shapes import Page
from swarmhold.models.tasks import DirectiveRequest, OverrideRequest, Task

PREFIX = "/v1/senior"

hot = plain_router(PREFIX, "senior")
router = model_router(PREFIX, "senior")

Order = Annotated[Literal["asked", "decided"], Query(description="`decided`: the newest decision first.")]
Search = Annotated[Text | None, Query(min_length=1, max_length=200, description="Text to search for.")]


@router.get("/questions", response_model=Page[Question], openapi_extra=requires(Verb.ANSWER_QUERY))
async def list_questions(
    context: ContextDep,
    token: Token,
    status: QuestionStatus | None = None,
    bridge_id: NameQuery = None,
    task_id: TaskQuery = None,
    limit: Limit = None,
    cursor: QuestionCursor = None,
    order: Order = "asked",
    q: Search = None,
) -> Reply:
    """List questions, oldest first; with `order=decided` those that are no longer open, the newest decision first.

    `q` searches what was decided: agent, title, question, answer, comment, answerer and ids. A page looks at a
    limited number of questions, and may be empty while `next_cursor` is not.
    """
    if order == "decided":
        if status or bridge_id or task_id:
            raise InvalidRequest("order=decided takes no status, bridge_id or task_id; leave them out", "order")
        decided = await context.engine.questions.decided(
            token, search=q, limit=limit_of(limit, context.settings), cursor=cursor
        )
        return replies.json(views.page(decided, context.question))
    if q is not None:
        raise InvalidRequest("a search needs order=decided", "q")
    page = await context.engine.questions.page(
        token,
        status=None if status is None else DomainStatus(status),
        bridge_id=bridge_id,
        task_id=task_id,
        limit=limit_of(limit, context.settings),
        cursor=cursor,
    )
    return replies.json(views.page(page, context.question))


@router.get("/questions/{key}", response_model=Question, openapi_extra=requires(Verb.ANSWER_QUERY))
async def read_question(context: ContextDep, token: Token, key: QuestionPath) -> Reply:
    """Read one question."""
    return replies.json(context.question(await context.engine.questions.read(token, key)))


@hot.post(
    "/questions/{key}/answer",
    response_model=Question,
    openapi_extra=requires(Verb.ANSWER_QUERY) | documented(parameters=(QUESTION_KEY,), body=AnswerRequest),
)
async def answer(request: Request) -> Reply:
    """Answer a question. The first answer wins; an identical repeat changes nothing."""
    context, scope = context_of(request), request.scope
    raw = await body_of(request, context)
    decoded = await bodies.value_of(raw, context.settings.limits) if raw else None
    token: Any = auth.bearer(scope)  # no handle, which this path refuses
    key = question_key_of(scope)
    if not raw:
        raise InvalidBody([{"field": "", "message": "Field required"}])
    body = bodies.validated(AnswerRequest, decoded)
    value = await bodies.encoded_value(raw, body.value)
    row = await context.engine.questions.answer(token, key, value, comment=body.comment)
    return replies.json(context.question(row))


@router.post("/questions/{key}/claim", response_model=Question, openapi_extra=requires(Verb.ANSWER_QUERY))
async def claim(context: ContextDep, token: Token, key: QuestionPath, body: QuestionClaimRequest) -> Reply:
    """Tell others that you are on the question, for `ttl` seconds. It keeps nobody from answering.

    A claim of another is taken over, an own one renewed.
    """
    row = await context.engine.questions.claim(token, key, timedelta(seconds=body.ttl))
    return replies.json(context.question(row))


@router.delete("/questions/{key}/claim", response_model=Question, openapi_extra=requires(Verb.ANSWER_QUERY))
async def release(context: ContextDep, token: Token, key: QuestionPath) -> Reply:
    """End your own claim. That of another stays; without one nothing changes."""
    return replies.json(context.question(await context.engine.questions.release(token, key)))


@router.post("/questions/{key}/escalate", response_model=Question, openapi_extra=requires(Verb.ANSWER_QUERY))
async def escalate(context: ContextDep, token: Token, key: QuestionPath, body: EscalateRequest) -> Reply:
    """Hand the question over to the bridge `to` now. A claim ends, the deadline stays."""
    return replies.json(context.question(await context.engine.questions.escalate(token, key, body.to)))


@router.post("/tasks/{task_id}/verdict", response_model=Task, openapi_extra=requires(Verb.OVERRIDE_VERDICT))
async def override(
    request: Request, context: ContextDep, token: Token, task_id: TaskPath, body: OverrideRequest
) -> Reply:
    """Override the result: the task is pass or blocked from now on."""
    value = await bodies.encoded_value(await request.body(), body.value)
    return shown(context, await context.engine.tasks.override(token, task_id, ok=body.ok, value=value))


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
