"""Tasks, of operators and of workers that start children: create, read, poll, dispatch, cancel.

Plain endpoints: these and the workers' own calls are what a busy swarm makes.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from app.domain.access import Verb
from app.domain.tasks import TaskState
from app.http import auth, bodies, conversions, replies, views
from app.http.context import ServerContext, context_of
from app.http.errors import ShuttingDown
from app.http.holds import Drained
from app.http.idempotency import idempotency_of
from app.http.parameters import HOLD, SINCE, TASK_ID, WAIT, hold_of, integer_of, query_of, task_id_of
from app.http.replies import Reply
from app.http.routes import documented, plain_router, requires
from swarmhold.models.attempts import Dispatched, DispatchOutcome, DispatchRequest
from swarmhold.models.tasks import CancelRequest, StartTaskRequest, Task

NOTHING = timedelta(0)


async def body_of(request: Request, context: ServerContext) -> bytes:
    """Return the JSON body as bytes, after checking its media type and length."""
    bodies.require_json(request.scope)
    return await bodies.read(request.scope, request.receive, bodies.size_limit(request.scope, context.settings.limits))


async def json_body(request: Request, context: ServerContext) -> tuple[bytes, Any]:
    """Return the JSON body as bytes and decoded. Raises MalformedBody, PayloadTooLarge, UnsupportedMediaType."""
    body = await body_of(request, context)
    return body, await bodies.value_of(body, context.settings.limits)


def shown(context: ServerContext, state: TaskState, *, status: int = 200) -> Reply:
    """Return the reply for a task, with its version as entity tag."""
    row, view = state.task, partial(views.task, context.names, state)
    size = len(row.directive.text) + (len(row.last_result.text) if row.last_result else 0)
    if size <= replies.PIECE:
        reply = replies.json(view(), status=status)
    else:
        reply = context.bodies.json((row.id, row.version), view, status=status)
    reply.raw_headers.append((b"etag", views.etag(state).encode()))
    return reply


async def create(request: Request) -> Reply:
    """Create a task; a worker's new task is a child of its own."""
    context, scope = context_of(request), request.scope
    bearer = auth.bearer(scope)
    body, value = await json_body(request, context)
    spec = conversions.task_spec(bodies.validated(StartTaskRequest, value))
    state = await context.engine.tasks.start(bearer, spec, idempotency=await idempotency_of(scope, body))
    reply = shown(context, state, status=201)
    reply.raw_headers.append((b"location", f"{scope['path']}/{state.task.id}".encode()))
    return reply


async def read(request: Request) -> Reply:
    """Read a task. `If-None-Match` with its current version returns 304."""
    context, scope = context_of(request), request.scope
    state = await context.engine.tasks.read(auth.bearer(scope), task_id_of(scope))
    known = bodies.header(scope, b"if-none-match")
    if known is not None and _matches(known, views.etag(state)):
        return replies.nothing(304, {"ETag": views.etag(state)})
    return shown(context, state)


def _matches(header: str, etag: str) -> bool:
    """Return whether an If-None-Match header names the tag (RFC 9110, section 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in tags or "*" in tags


async def poll(request: Request) -> Reply:
    """Wait until the task is settled, suspended or newer than version `since`: 200; 202 when `hold` ends first."""
    context, scope = context_of(request), request.scope
    bearer, task_id = auth.bearer(scope), task_id_of(scope)
    query = query_of(scope)
    hold = hold_of(query.get("hold"), context.settings)
    since = integer_of(query.get("since"), "since")
    try:
        with context.holds.polls.take(bearer.text):
            park = partial(context.holds.park, request.receive, scope=scope)
            state, done = await context.engine.tasks.watch(bearer, task_id, hold, since=since, park=park)
    except Drained:
        state, done = await context.engine.tasks.watch(bearer, task_id, NOTHING, since=since)
    return shown(context, state, status=200 if done else 202)


async def dispatch(request: Request) -> Reply:
    """Dispatch the task: 202. With `wait` seconds, 200 and the outcome if the attempt ended within them."""
    context, scope = context_of(request), request.scope
    bearer, task_id = auth.bearer(scope), task_id_of(scope)
    wait = hold_of(query_of(scope).get("wait"), context.settings, name="wait", default=NOTHING)
    body = await body_of(request, context)
    if len(body) <= bodies.SHORT:
        asked = bodies.short_validated(DispatchRequest, body, context.settings.limits)
    else:
        asked = bodies.validated(DispatchRequest, await bodies.value_of(body, context.settings.limits))
    starting = partial(
        context.engine.dispatcher.dispatch,
        bearer,
        task_id,
        conversions.spawner_spec(asked.spawner),
        layers=asked.layers,
        lease=None if asked.lease is None else timedelta(seconds=asked.lease),
        wait=wait,
        idempotency=await idempotency_of(scope, body),
    )
    if not wait:
        started, outcome = await starting()
    else:
        try:
            with context.holds.polls.take(bearer.text):
                started, outcome = await context.holds.park(
                    request.receive, starting(), request.scope, half_closed=lambda: None
                )
        except Drained:
            raise ShuttingDown from None
    if outcome is not None:
        return replies.json(views.outcome(outcome))
    return replies.json(views.dispatched(started), status=202)


async def cancel(request: Request) -> Reply:
    """Cancel the task and its descendants. Cancelling a cancelled task changes nothing."""
    context, scope = context_of(request), request.scope
    bearer, task_id = auth.bearer(scope), task_id_of(scope)
    body = await body_of(request, context)
    value = await bodies.value_of(body, context.settings.limits) if body else None
    reason = None if value is None else bodies.validated(CancelRequest, value).reason
    return shown(context, await context.engine.tasks.cancel(bearer, task_id, reason=reason))


def routes(prefix: str, tag: str, credential: str) -> APIRouter:
    """Return these routes under a prefix. Handles are accepted under the workers' prefix."""
    router = plain_router(prefix, tag)

    def opened(verb: Verb, *, idempotent: bool = False) -> dict[str, object]:
        return requires(verb, credential=credential, idempotent=idempotent)

    router.add_api_route(
        "/tasks",
        create,
        methods=["POST"],
        status_code=201,
        response_model=Task,
        openapi_extra=opened(Verb.START_TASK, idempotent=True) | documented(body=StartTaskRequest),
    )
    router.add_api_route(
        "/tasks/{task_id}",
        read,
        methods=["GET"],
        response_model=Task,
        responses={304: {"description": "The version named by If-None-Match is the latest."}},
        openapi_extra=opened(Verb.READ_TASK_STATE) | documented(parameters=(TASK_ID,)),
    )
    router.add_api_route(
        "/tasks/{task_id}/poll",
        poll,
        methods=["GET"],
        response_model=Task,
        responses={202: {"model": Task, "description": "The hold ended first."}},
        openapi_extra=opened(Verb.POLL_TASK) | documented(parameters=(TASK_ID, HOLD, SINCE)),
    )
    router.add_api_route(
        "/tasks/{task_id}/dispatch",
        dispatch,
        methods=["POST"],
        status_code=202,
        response_model=Dispatched,
        responses={200: {"model": DispatchOutcome, "description": "It ended within the wait."}},
        openapi_extra=opened(Verb.DISPATCH_ATTEMPT, idempotent=True)
        | documented(parameters=(TASK_ID, WAIT), body=DispatchRequest),
    )
    router.add_api_route(
        "/tasks/{task_id}/cancel",
        cancel,
        methods=["POST"],
        response_model=Task,
        openapi_extra=opened(Verb.CANCEL_TASK) | documented(parameters=(TASK_ID,), body=CancelRequest, optional=True),
    )
    return router
