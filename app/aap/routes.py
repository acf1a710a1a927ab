"""The routes of the approval provider. They exist, and are imported, where the settings switch it on."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from app.aap import requests
from app.aap.errors import refusal
from app.aap.instances import Provision, shown_instance
from app.aap.requests import Report, Submission
from app.domain.access import Role
from app.domain.doors import DOOR, Door
from app.domain.errors import InvalidRequest, NotApproved, ResumeKeyNotFound, RoleViolation
from app.domain.ids import id_of
from app.domain.questions import Question
from app.domain.tokens import ApiKey, CapToken
from app.engine.ops.idempotency import Idempotency
from app.http import auth, bodies, replies
from app.http.context import context_of
from app.http.error_responses import ErrorResponses
from app.http.holds import Drained
from app.http.idempotency import HEADER, idempotency_of
from app.http.parameters import query_of
from app.http.queries import KnownParameters
from app.http.replies import Reply
from app.http.routers.tasks import NOTHING, body_of, json_body
from app.http.routes import Handler, requires

PREFIX = "/aap/v1"
LONGEST_WAIT_S = 30
"""How long a request is waited for at most; the protocol says so."""
_QUERIES = {"get": KnownParameters(("wait",))}
_NO_QUERY = KnownParameters(())
_KEY = requires(credential="key")


class AapRoute(APIRoute):
    """A route whose endpoint takes the request as it is, and whose errors are the protocol's."""

    def get_route_handler(self) -> Handler:
        """Return the endpoint, measured, with what it raises turned into a reply."""
        endpoint: Handler = self.endpoint
        name, known = self.name, _QUERIES.get(self.name, _NO_QUERY)

        async def served(request: Request) -> Response:
            context, scope = context_of(request), request.scope
            DOOR.set(Door.AAP)
            with context.metrics.door(Door.AAP, name) as measured:
                try:
                    if query := scope["query_string"]:
                        scope["query_string"] = known.accept(query)
                    return await endpoint(request)
                except ClientDisconnect:
                    raise
                except Exception as error:  # noqa: BLE001 - unexpected ones are logged, and shown by a reference alone
                    problem = await ErrorResponses(context).problem(error, scope)
                    measured.code = problem.code
                    return refusal(problem)

        return served


router = APIRouter(prefix=PREFIX, route_class=AapRoute, include_in_schema=False)


def aap_routes() -> list[BaseRoute]:
    """Return the routes to mount next to the API's."""
    return list(router.routes)


@router.post("/requests", openapi_extra=_KEY)
async def create(request: Request) -> Reply:
    """Ask for approval of a call: 201; the same key and content again find the request as it is: 200."""
    context = context_of(request)
    _, token = await _caller(request)
    body, value = await json_body(request, context)
    submitted = bodies.validated(Submission, value)
    once = await _once(request, body)
    asked = submitted.ask(context.engine.parts.clock())
    questions = context.engine.questions
    question, made = await questions.ask_or_find(token, asked, labels=requests.LABELS, idempotency=once)
    return replies.json(requests.shown(question), status=201 if made else 200)


@router.get("/requests/{id}", openapi_extra=_KEY)
async def get(request: Request) -> Reply:
    """Read a request; with `wait` once it is decided, or as it is when that time is over."""
    context, wait = context_of(request), query_of(request.scope).get("wait")
    key, token = await _caller(request)
    question = await _own(request, key, token)
    held = NOTHING if wait is None else _wait_of(wait)
    if held and requests.status_of(question) == "pending":
        try:
            with context.holds.polls.take(token.text):
                watching = context.engine.questions.watch(token, question.key, held)
                question, _ = await context.holds.park(request.receive, watching, request.scope)
        except Drained:
            question = await _own(request, key, token)
    return replies.json(requests.shown(question))


@router.delete("/requests/{id}", openapi_extra=_KEY)
async def cancel(request: Request) -> Reply:
    """Withdraw a request that waits for its decision. Again it changes nothing."""
    key, token = await _caller(request)
    question = await _own(request, key, token)
    return replies.json(requests.shown(await context_of(request).engine.questions.withdraw(token, question.key)))


@router.post("/requests/{id}/consume", openapi_extra=_KEY)
async def consume(request: Request) -> Reply:
    """Consume the approval, just before the call begins: once, and the same key again gets the same reply."""
    context = context_of(request)
    key, token = await _caller(request)
    once = await _once(request, await body_of(request, context))
    question = await _own(request, key, token)
    if (status := requests.status_of(question)) != "approved":
        raise NotApproved(question.key, f"it is {status}")
    digest = question.action_digest or ""
    question, _ = await context.engine.questions.consume(token, question.key, digest, once)
    return replies.json(requests.shown(question))


@router.post("/requests/{id}/outcome", openapi_extra=_KEY)
async def outcome(request: Request) -> Reply:
    """Record what came of the call. The first report stands."""
    context = context_of(request)
    key, token = await _caller(request)
    _, value = await json_body(request, context)
    report = bodies.validated(Report, value)
    question = await _own(request, key, token)
    recorded = await context.engine.questions.record_outcome(token, question.key, report.status, report.note)
    return replies.json(requests.shown(recorded))


@router.post("/instances", openapi_extra=requires(credential="root"))
async def instances(request: Request) -> Reply:
    """Make an instance: 201; the same key and content again return it with its credential: 200."""
    context = context_of(request)
    text = auth.api_key(request.scope)
    await context.engine.keys.check_root(text)
    body, value = await json_body(request, context)
    asked = bodies.validated(Provision, value)
    once, delivery = await _once(request, body), asked.wanted()
    made = await context.engine.webhooks.provision(text, asked.instance_name, delivery, idempotency=once)
    return replies.json(shown_instance(made, delivery), status=201 if made.made else 200)


async def _caller(request: Request) -> tuple[ApiKey, CapToken]:
    """Return the key of an instance and the token of its session. Raises Unauthenticated, RoleViolation.

    The root key makes instances and is none itself.
    """
    context, text = context_of(request), auth.api_key(request.scope)
    key = await context.engine.keys.find(text)
    if key.root:
        raise RoleViolation("root", "ask for approval here: give the agent a key with the role operator")
    return key, await context.key_sessions.token(Door.AAP, key, text, Role.OPERATOR)


async def _own(request: Request, key: ApiKey, token: CapToken) -> Question:
    """Return the question of the request in the path. Raises ResumeKeyNotFound unless this key has asked it."""
    found = _key_of(request.path_params["id"])
    question, _ = await context_of(request).engine.questions.watch(token, found, NOTHING)
    if key.id not in question.asker_keys.value or not requests.is_request(question):
        raise ResumeKeyNotFound(found)
    return question


def _key_of(text: str) -> str:
    """Return the key of the question with this UUID. Raises ResumeKeyNotFound."""
    try:
        return id_of("R", UUID(text))
    except ValueError:
        raise ResumeKeyNotFound(text[:100]) from None


async def _once(request: Request, body: bytes) -> Idempotency:
    """Return the request's idempotency key. Raises InvalidRequest without one."""
    once = await idempotency_of(request.scope, body)
    if once is None:
        raise InvalidRequest("this call needs the header: a repeated call must not act twice", HEADER)
    return once


def _wait_of(text: str) -> timedelta:
    """Return how long to wait, at most what the protocol has. Raises InvalidRequest."""
    if re.fullmatch(requests.DURATION, text) is None:
        raise InvalidRequest("a duration such as 30s or 1m", "wait")
    return timedelta(seconds=requests.seconds_of(text, LONGEST_WAIT_S))
