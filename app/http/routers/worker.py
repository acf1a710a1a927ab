"""Routes of workers: fetch the prompt, submit, report, ask, and claim from queues."""

from __future__ import annotations

from functools import partial

from pydantic import TypeAdapter
from starlette.requests import Request

from app.domain.access import Role, Verb
from app.domain.json import Json
from app.domain.outputs import OutputEvent, OutputType
from app.http import auth, bodies, replies, views
from app.http.context import ApiKeyText, ContextDep, Once, Token, context_of
from app.http.errors import MalformedBody, UnsupportedMediaType
from app.http.holds import Drained
from app.http.idempotency import idempotency_of
from app.http.parameters import (
    FAILED,
    OK,
    OPTIONAL_TASK_ID,
    Hold,
    NamePath,
    QuestionPath,
    boolean_of,
    checked_task_id,
    duration_of,
    query_of,
)
from app.http.replies import Reply
from app.http.routers.questions import asked_of, consumed, watched
from app.http.routers.tasks import json_body
from app.http.routes import documented, model_router, plain_router, requires
from swarmhold.models.outputs import WorkerOutput
from swarmhold.models.questions import ConsumeRequest, Consumption, OutcomeRequest, Question, QuestionRequest
from swarmhold.models.server import Resource
from swarmhold.models.tasks import WorkerResultRequest
from swarmhold.models.workers import ClaimedJob, ClaimRequest, Heartbeat, WorkerPrompt

PREFIX = "/v1/worker"
TEXT = "text/*"

hot = plain_router(PREFIX, "worker")
router = model_router(PREFIX, "worker")

_OUTPUTS: TypeAdapter[WorkerOutput] = TypeAdapter(WorkerOutput)
_LONG_FIELDS = frozenset({"note", "chunk", "content"})
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})


@hot.get(
    "/prompt",
    response_model=WorkerPrompt,
    openapi_extra=requires(Verb.FETCH_PROMPT, credential="worker") | documented(parameters=(OPTIONAL_TASK_ID,)),
)
async def prompt(request: Request) -> Reply:
    """Read the prompt of the worker's attempt, and the answers so far."""
    scope = request.scope
    bearer = auth.bearer(scope)
    task_id = _asked_task(scope["query_string"] and query_of(scope).get("task_id"))
    payload = await context_of(request).engine.workers.payload(bearer, task_id=task_id)
    return replies.json(views.payload(payload))


def _asked_task(text: str | None) -> str | None:
    return checked_task_id(text) if text else None


@hot.post(
    "/submit",
    status_code=204,
    openapi_extra=requires(Verb.EMIT_OUTPUT, credential="worker")
    | documented(parameters=(OK, FAILED), optional=True, content={bodies.JSON_TYPE: {}, TEXT: {"type": "string"}}),
)
async def submit(request: Request) -> Reply:
    """Submit the raw body as the attempt's result. Text loses trailing white space; JSON is decoded."""
    context, scope = context_of(request), request.scope
    bearer = auth.bearer(scope)
    query = query_of(scope)
    failed = boolean_of(query.get("failed"), "failed", default=False)
    ok = boolean_of(query.get("ok"), "ok", default=not failed)
    kind = _submitted_kind(*bodies.media_type(scope))
    body = await bodies.read(scope, request.receive, bodies.size_limit(scope, context.settings.limits))
    value = await bodies.json_of(body, context.settings.limits) if kind == bodies.JSON_TYPE else _text(body)
    await context.engine.workers.submit(bearer, value, ok=ok, failed=failed, verb=Verb.EMIT_OUTPUT)
    return replies.NO_CONTENT


def _submitted_kind(kind: str, charset: str) -> str:
    """Return the JSON or text value of the body. Raises UnsupportedMediaType."""
    if charset in _CHARSETS:
        if kind == bodies.JSON_TYPE:
            return kind
        if not kind or kind.startswith("text/"):
            return TEXT
    raise UnsupportedMediaType((bodies.JSON_TYPE, f"{TEXT} in UTF-8"))


def _text(body: bytes) -> Json:
    try:
        return Json.of(body.decode().rstrip())
    except UnicodeDecodeError as error:
        raise MalformedBody(f"not UTF-8: {error.reason} (at {error.start})") from None


@hot.post(
    "/result",
    status_code=204,
    openapi_extra=requires(Verb.POST_RESULT, credential="worker") | documented(body=WorkerResultRequest),
)
async def result(request: Request) -> Reply:
    """Submit the attempt's result; `task_id`, and `attempt` if given, must be the worker's own."""
    context, scope = context_of(request), request.scope
    bearer = auth.bearer(scope)
    raw, decoded = await json_body(request, context)
    body = bodies.validated(WorkerResultRequest, decoded)
    value = await bodies.encoded_value(raw, body.value)
    await context.engine.workers.submit(
        bearer, value, ok=body.ok, failed=body.failed, task_id=body.task_id, attempt=body.attempt, verb=Verb.POST_RESULT
    )
    return replies.NO_CONTENT


@hot.post(
    "/output",
    status_code=204,
    openapi_extra=requires(Verb.EMIT_OUTPUT, credential="worker", idempotent=True) | documented(body=WorkerOutput),
)
async def output(request: Request) -> Reply:
    """Append progress, a piece of the result, or a named artifact, or add to what the attempt used."""
    context, scope = context_of(request), request.scope
    bearer = auth.bearer(scope)
    raw, value = await json_body(request, context)
    kind = bodies.validated_union(_OUTPUTS, value).type
    # A list reads the short fields from the beginning of a long output.
    body = {name: value[name] for name in sorted(value, key=_LONG_FIELDS.__contains__) if name != "type"}
    event = OutputEvent(type=OutputType(kind), body=await bodies.encoded_value(raw, body))
    await context.engine.workers.emit(bearer, event, idempotency=await idempotency_of(scope, raw))
    return replies.NO_CONTENT


@hot.post("/heartbeat", response_model=Heartbeat, openapi_extra=requires(Verb.EMIT_OUTPUT, credential="worker"))
async def heartbeat(request: Request) -> Reply:
    """Send a heartbeat: renews the lease and returns whether to stop."""
    pulse = await context_of(request).engine.workers.heartbeat(auth.bearer(request.scope))
    return replies.json(views.heartbeat(pulse))


@router.post(
    "/questions",
    status_code=201,
    response_model=Question,
    openapi_extra=requires(Verb.QUERY_SENIOR, credential="worker", idempotent=True),
)
async def ask(context: ContextDep, bearer: Token, body: QuestionRequest, once: Once) -> Reply:
    """Ask a senior about the worker's own task, which is suspended until the answer."""
    asked = asked_of(context, body)
    row = await context.engine.questions.ask(bearer, asked, idempotency=once)
    return replies.json(context.question(row), status=201)


@router.post(
    "/questions/{key}/consume",
    response_model=Consumption,
    openapi_extra=requires(Verb.QUERY_SENIOR, credential="worker", idempotent="required"),
)
async def consume(context: ContextDep, bearer: Token, key: QuestionPath, body: ConsumeRequest, once: Once) -> Reply:
    """Consume the approval of an action, before it is carried out, exactly once.

    For the API keys that asked. The header `Idempotency-Key` is required; the same key again gets the same reply.
    """
    return await consumed(context, bearer, key, body, once)


@router.post(
    "/questions/{key}/outcome", response_model=Question, openapi_extra=requires(Verb.QUERY_SENIOR, credential="worker")
)
async def outcome(context: ContextDep, bearer: Token, key: QuestionPath, body: OutcomeRequest) -> Reply:
    """Record what came of an action whose approval was consumed. The first outcome stands."""
    row = await context.engine.questions.record_outcome(bearer, key, body.status, body.note)
    return replies.json(context.question(row))


@router.get(
    "/questions/{key}",
    response_model=Question,
    responses={202: {"model": Question, "description": "Still open when the hold ended."}},
    openapi_extra=requires(Verb.QUERY_SENIOR, Verb.ANSWER_QUERY, credential="worker"),
)
async def question(request: Request, context: ContextDep, bearer: Token, key: QuestionPath, hold: Hold = None) -> Reply:
    """Wait until the question is settled: 200; 202 when `hold` ends first.

    Without `hold` that is after 50 seconds; `hold=0` answers at once.
    """
    return await watched(request, context, bearer, key, hold)


@router.get(
    "/resources/{key:path}", response_model=Resource, openapi_extra=requires(Verb.FETCH_DATA, credential="worker")
)
async def resource(context: ContextDep, bearer: Token, key: NamePath) -> Reply:
    """Read a named value."""
    value, updated_at = await context.engine.resources.read(bearer, key)
    return replies.json(views.resource(key, value, updated_at))


@router.post(
    "/claim",
    response_model=ClaimedJob,
    responses={204: {"description": "Nothing came within the hold."}},
    openapi_extra=requires(credential="key", roles=[Role.WORKER.value], idempotent=True),
)
async def claim(request: Request, context: ContextDep, key: ApiKeyText, body: ClaimRequest, once: Once) -> Reply:
    """Claim the next attempt of a queue, waiting up to `hold` seconds for one."""
    hold = context.settings.default_hold if body.hold is None else duration_of(body.hold, context.settings)
    claiming = partial(
        context.engine.workers.claim,
        key,
        queue=body.queue,
        agents=body.agents or (),
        hold=hold,
        worker_name=body.worker_name,
        namespace=body.namespace,
        idempotency=once,
    )
    try:
        with context.holds.claims.take(key):
            claimed = await context.holds.park(request.receive, claiming(), request.scope)
    except Drained:
        return replies.nothing()
    if claimed is None:
        return replies.nothing()
    return replies.json(views.claimed_job(claimed, context.settings.base_url))
