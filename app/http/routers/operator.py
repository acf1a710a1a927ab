"""Routes of operators and observers: sessions, lists, verdicts, tokens, resources."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from fastapi import Request

from app.domain.access import Role, Verb
from app.domain.tokens import CapToken
from app.http import bodies, conversions, operating_views, replies, views
from app.http.context import ApiKeyText, ContextDep, Once, Token
from app.http.errors import InvalidBody
from app.http.parameters import (
    AttachedQuery,
    Hold,
    Limit,
    Minutes,
    NamePath,
    NewNamePath,
    QuestionPath,
    SessionCursor,
    SessionPath,
    TaskPath,
    boolean_of,
    limit_of,
)
from app.http.replies import Reply
from app.http.routers.questions import asked_of, consumed, watched
from app.http.routers.tasks import body_of, shown
from app.http.routes import documented, model_router, requires
from swarmhold.models.admin import MintedToken, MintRequest, TokenVerdict, VerifyRequest
from swarmhold.models.questions import (
    ConsumeRequest,
    Consumption,
    LoneQuestionRequest,
    OutcomeRequest,
    Question,
    QuestionRequest,
    WithdrawRequest,
)
from swarmhold.models.server import History, Nodes, Resource, Stats, Workers
from swarmhold.models.sessions import Attached, AttachRequest, Registry, Session
from swarmhold.models.shapes import Page
from swarmhold.models.tasks import PostResultRequest, Task, VerdictRequest, Why
from swarmhold.models.usage import TaskUsage

router = model_router("/v1/operator", "operator")


def life_of(seconds: float, most_ms: int) -> timedelta:
    """Return a credential's life. Raises InvalidBody for one that is longer than the limit."""
    if seconds * 1000 > most_ms:
        raise InvalidBody([{"field": "ttl", "message": f"give at most {most_ms // 1000} seconds"}])
    return timedelta(seconds=seconds)


_ATTACHED = [Role.OPERATOR.value, Role.OBSERVER.value, Role.SENIOR.value]


@router.post(
    "/sessions",
    status_code=201,
    response_model=Attached,
    openapi_extra=requires(credential="key", roles=_ATTACHED, idempotent=True),
)
async def attach(context: ContextDep, key: ApiKeyText, body: AttachRequest, once: Once) -> Reply:
    """Attach a session. Only this reply shows its token."""
    attached = await context.engine.sessions.attach_by_key(
        key,
        body.operator_id,
        Role(body.role.value),
        life_of(body.ttl, context.settings.limits.session_life_ms),
        conversions.session_options(body),
        namespace=body.namespace,
        idempotency=once,
    )
    return replies.json(views.attached(await context.names_of([attached.session]), attached), status=201)


@router.get("/sessions", response_model=Page[Session], openapi_extra=requires(Verb.READ_TRACE, Verb.ATTACH_SESSION))
async def list_sessions(
    context: ContextDep, token: Token, attached: AttachedQuery = None, limit: Limit = None, cursor: SessionCursor = None
) -> Reply:
    """List sessions, newest first, without their tokens."""
    now = None if attached is None else boolean_of(attached, "attached", default=True)
    items = limit_of(limit, context.settings)
    page = await context.engine.sessions.page(token, attached=now, limit=items, cursor=cursor)
    return replies.json(views.page(page, partial(views.session, context.names)))


@router.get(
    "/sessions/{session_id}", response_model=Session, openapi_extra=requires(Verb.READ_TRACE, Verb.ATTACH_SESSION)
)
async def read_session(context: ContextDep, token: Token, session_id: SessionPath) -> Reply:
    """Read one session."""
    return replies.json(views.session(context.names, await context.engine.sessions.read(token, session_id)))


@router.get("/registry", response_model=Registry, openapi_extra=requires(Verb.READ_TRACE, Verb.ATTACH_SESSION))
async def registry(context: ContextDep, token: Token) -> Reply:
    """List the registered bridges, hooks, backends, spawners and layers."""
    return replies.json(await context.engine.reports.registered(token))


@router.get("/stats", response_model=Stats, openapi_extra=requires(Verb.READ_TRACE, Verb.ATTACH_SESSION))
async def stats(context: ContextDep, token: Token) -> Reply:
    """Read counts of the whole server."""
    return replies.json(views.stats(await context.engine.reports.stats(token)))


@router.get("/nodes", response_model=Nodes, openapi_extra=requires(Verb.READ_TRACE, Verb.ATTACH_SESSION))
async def list_nodes(context: ContextDep, token: Token) -> Reply:
    """List the nodes that share the database, in the order of their starts; dead ones for an hour."""
    return replies.json({"items": [views.node(row) for row in await context.engine.nodes.listed(token)]})


@router.get("/workers", response_model=Workers, openapi_extra=requires(Verb.READ_TRACE, Verb.ATTACH_SESSION))
async def workers(context: ContextDep, token: Token) -> Reply:
    """List the queue workers: who listens to which queue, since when, and what they hold."""
    return replies.json(operating_views.workers(await context.engine.reports.workers(token)))


@router.get("/history", response_model=History, openapi_extra=requires(Verb.READ_TRACE, Verb.ATTACH_SESSION))
async def history(context: ContextDep, token: Token, minutes: Minutes = 60) -> Reply:
    """Read what happened in each of the latest minutes."""
    return replies.json(operating_views.history(await context.engine.reports.history(token, minutes)))


@router.get("/session", response_model=Session, openapi_extra=requires())
async def own_session(context: ContextDep, token: Token) -> Reply:
    """Read the caller's own session."""
    return replies.json(views.session(context.names, await context.engine.sessions.read_own(token)))


@router.post("/session/heartbeat", status_code=204, openapi_extra=requires(Verb.HEARTBEAT))
async def heartbeat(context: ContextDep, token: Token) -> Reply:
    """Send a heartbeat; a detached session is attached again."""
    await context.engine.sessions.heartbeat(token)
    return replies.nothing()


@router.delete("/session", status_code=204, openapi_extra=requires(Verb.DETACH_SESSION))
async def detach(context: ContextDep, token: Token) -> Reply:
    """Detach the session. Its tasks stay."""
    await context.engine.sessions.detach(token)
    return replies.nothing()


@router.get("/tasks/{task_id}/why", response_model=Why, openapi_extra=requires(Verb.READ_TASK_STATE))
async def why(context: ContextDep, token: Token, task_id: TaskPath) -> Reply:
    """Explain what the task waits for, nearest cause first."""
    return replies.json(views.why(await context.engine.tasks.why(token, task_id)))


@router.get(
    "/tasks/{task_id}/usage",
    response_model=TaskUsage,
    openapi_extra=requires(Verb.READ_TRACE, Verb.READ_TASK_STATE),
)
async def usage(context: ContextDep, token: Token, task_id: TaskPath) -> Reply:
    """Read what the task used of tokens and cost, itself and with the tasks below it."""
    return replies.json(views.task_usage(await context.engine.attempts.usage_of_tree(token, task_id)))


@router.post("/tasks/{task_id}/result", status_code=204, openapi_extra=requires(Verb.POST_RESULT))
async def post_result(
    request: Request, context: ContextDep, token: Token, task_id: TaskPath, body: PostResultRequest
) -> Reply:
    """Record an interim result; the status is unchanged."""
    value = await bodies.encoded_value(await request.body(), body.value)
    await context.engine.tasks.post_result(token, task_id, value)
    return replies.nothing()


@router.post("/tasks/{task_id}/verdict", response_model=Task, openapi_extra=requires(Verb.MARK_PASS, Verb.MARK_BLOCKED))
async def verdict(
    request: Request, context: ContextDep, token: Token, task_id: TaskPath, body: VerdictRequest
) -> Reply:
    """Mark the task pass or blocked; a live attempt is ended."""
    value = await bodies.encoded_value(await request.body(), body.value) if body.has("value") else None
    return shown(context, await context.engine.tasks.mark(token, task_id, ok=body.ok, value=value))


@router.post(
    "/tasks/{task_id}/questions",
    status_code=201,
    response_model=Question,
    openapi_extra=requires(Verb.QUERY_SENIOR, idempotent=True),
)
async def ask(context: ContextDep, token: Token, task_id: TaskPath, body: QuestionRequest, once: Once) -> Reply:
    """Ask a senior about the task, which is suspended until the answer."""
    asked = asked_of(context, body)
    row = await context.engine.questions.ask(token, asked, task_id=task_id, idempotency=once)
    return replies.json(context.question(row), status=201)


@router.post(
    "/questions",
    status_code=201,
    response_model=Question,
    openapi_extra=requires(Verb.QUERY_SENIOR, idempotent=True),
)
async def ask_alone(context: ContextDep, token: Token, body: LoneQuestionRequest, once: Once) -> Reply:
    """Ask a senior about something that has no task yet; needs `start_task` too.

    One transaction makes a task with the label `kind:ask` and its question. The answer passes the task and is its
    result, a deadline with `block` blocks it, withdrawing the question cancels it. This call and
    `GET /v1/operator/questions/{key}` are all that an approval needs.
    """
    asked = asked_of(context, body)
    row = await context.engine.questions.ask_alone(token, asked, agent=body.agent, labels=body.labels, idempotency=once)
    return replies.json(context.question(row), status=201)


@router.post("/questions/{key}/withdraw", response_model=Question, openapi_extra=requires(Verb.CANCEL_TASK))
async def withdraw(context: ContextDep, token: Token, key: QuestionPath, body: WithdrawRequest) -> Reply:
    """Withdraw a question: its task goes on without an answer, or is cancelled if it was made for the question.

    Who may cancel the task may do it. Withdrawing it again changes nothing; an answered one is refused.
    """
    row = await context.engine.questions.withdraw(token, key, reason=body.reason)
    return replies.json(context.question(row))


@router.post(
    "/questions/{key}/consume",
    response_model=Consumption,
    openapi_extra=requires(Verb.QUERY_SENIOR, idempotent="required"),
)
async def consume(context: ContextDep, token: Token, key: QuestionPath, body: ConsumeRequest, once: Once) -> Reply:
    """Consume the approval of an action, before it is carried out, exactly once.

    For the API keys that asked. The header `Idempotency-Key` is required; the same key again gets the same reply.
    """
    return await consumed(context, token, key, body, once)


@router.post("/questions/{key}/outcome", response_model=Question, openapi_extra=requires(Verb.QUERY_SENIOR))
async def outcome(context: ContextDep, token: Token, key: QuestionPath, body: OutcomeRequest) -> Reply:
    """Record what came of an action whose approval was consumed. The first outcome stands."""
    row = await context.engine.questions.record_outcome(token, key, body.status, body.note)
    return replies.json(context.question(row))


@router.get(
    "/questions/{key}",
    response_model=Question,
    responses={202: {"model": Question, "description": "Still open when the hold ended."}},
    openapi_extra=requires(Verb.QUERY_SENIOR, Verb.ANSWER_QUERY),
)
async def question(request: Request, context: ContextDep, token: Token, key: QuestionPath, hold: Hold = None) -> Reply:
    """Wait until the question is settled: 200; 202 when `hold` ends first.

    Without `hold` that is after 50 seconds; `hold=0` answers at once.
    """
    return await watched(request, context, token, key, hold)


@router.put(
    "/resources/{key:path}",
    status_code=204,
    openapi_extra=requires(Verb.START_TASK) | documented(content={bodies.JSON_TYPE: {}}),
)
async def put_resource(request: Request, context: ContextDep, token: Token, key: NewNamePath) -> Reply:
    """Set a named value to the body."""
    value = await bodies.json_of(await body_of(request, context), context.settings.limits)
    await context.engine.resources.put(token, key, value)
    return replies.nothing()


@router.get("/resources/{key:path}", response_model=Resource, openapi_extra=requires(Verb.FETCH_DATA))
async def resource(context: ContextDep, token: Token, key: NamePath) -> Reply:
    """Read a named value."""
    value, updated_at = await context.engine.resources.read(token, key)
    return replies.json(views.resource(key, value, updated_at))


@router.post(
    "/tokens",
    status_code=201,
    response_model=MintedToken,
    openapi_extra=requires(Verb.MINT_WORKER_TOKEN, idempotent=True),
)
async def mint(context: ContextDep, token: Token, body: MintRequest, once: Once) -> Reply:
    """Mint a token for a worker or an observer. Only this reply shows it."""
    minted = await context.engine.credentials.mint(
        token,
        agent_id=body.agent_id,
        role=Role(body.role.value),
        ttl=life_of(body.ttl, context.settings.limits.token_life_ms),
        max_uses=body.max_uses,
        scopes=None if body.scopes is None else frozenset(Verb(scope.value) for scope in body.scopes),
        task_id=body.task_id,
        idempotency=once,
    )
    return replies.json(views.minted_token(minted), status=201)


@router.post("/tokens/verify", response_model=TokenVerdict, openapi_extra=requires(Verb.VERIFY_TOKEN))
async def verify(context: ContextDep, token: Token, body: VerifyRequest) -> Reply:
    """Check whether a token may do something. This spends one of its uses."""
    found = await context.engine.credentials.inspect(
        token, CapToken(body.token), Verb(body.verb.value), task_id=body.task_id
    )
    return replies.json(views.inspection(found))


@router.delete("/tokens/{jti}", status_code=204, openapi_extra=requires(Verb.MINT_WORKER_TOKEN))
async def revoke(context: ContextDep, token: Token, jti: NamePath) -> Reply:
    """Revoke a token and all credentials that descend from it."""
    await context.engine.credentials.revoke(token, jti)
    return replies.nothing()
