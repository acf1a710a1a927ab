"""Answer links: seniors make them, and the holder of one reads its question and answers it."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import Request

from app.domain.access import Verb
from app.domain.answer_links import PAGE
from app.domain.doors import DOOR, Door
from app.domain.errors import LinkNotFound
from app.domain.json import Json
from app.engine.ops.links import LinkWish
from app.http import bodies, question_views, replies
from app.http.context import ContextDep, Once, ServerContext, Token, context_of
from app.http.errors import RouteNotFound
from app.http.parameters import LinkPath, QuestionPath
from app.http.replies import Reply
from app.http.routes import model_router, plain_router, requires
from swarmhold.models.links import AnswerLink, LinkAnswerRequest, LinkRequest, LinkSpent, OpenedLink, OpenLinkRequest

router = model_router("/v1/senior/questions/{key}/links", "senior")
opened = model_router("/v1/links", "links")
pages = plain_router(PAGE, "links")

_FILES = Path(__file__).parent.parent / "static"
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
_FAILURES: dict[int | str, dict[str, Any]] = {404: {"description": ""}, 429: {"description": ""}}
_REFUSALS = {**_FAILURES, 403: {"description": ""}}


@router.post("", status_code=201, response_model=AnswerLink, openapi_extra=requires(Verb.ANSWER_QUERY, idempotent=True))
async def make_link(
    request: Request, context: ContextDep, token: Token, key: QuestionPath, body: LinkRequest, once: Once
) -> Reply:
    """Make a link by which a person answers the question without signing in. Only this reply shows its URL.

    It ends with its answer, with the question, with the person's key, at `expires_at`, and when it is deleted. Neither
    an asker of the question makes one nor is it for one.
    """
    _require_enabled(context)
    allow = None if body.allow is None else await bodies.encoded_value(await request.body(), body.allow)
    wish = LinkWish(person=body.person, ttl_ms=timedelta(seconds=body.ttl) // timedelta(milliseconds=1), allow=allow)
    link, secret = await context.engine.links.make(token, key, wish, idempotency=once)
    url = f"{context.settings.base_url}{PAGE}#{secret}"
    return replies.json(question_views.answer_link(link, url), status=201)


@router.delete("/{link_id}", status_code=204, openapi_extra=requires(Verb.ANSWER_QUERY))
async def revoke_link(context: ContextDep, token: Token, key: QuestionPath, link_id: LinkPath) -> Reply:
    """Revoke a link."""
    await context.engine.links.revoke(token, key, link_id)
    return replies.nothing()


@opened.post("/open", response_model=OpenedLink, responses=_FAILURES)
async def open_link(request: Request, context: ContextDep, body: OpenLinkRequest) -> Reply:
    """Read the question of a link, any number of times; it settles nothing. The secret is the credential."""
    with context.metrics.door(Door.LINK, "open"):
        _require_enabled(context)
        try:
            found = await context.engine.links.open(body.link)
        except LinkNotFound as error:
            await context.auth_failures.record(request.scope, error, credential=body.link)
            raise
        return replies.json(question_views.opened_link(found, context.settings.base_url))


@opened.post("/answer", response_model=LinkSpent, responses=_REFUSALS)
async def answer_by_link(request: Request, context: ContextDep, body: LinkAnswerRequest) -> Reply:
    """Answer the question of a link, which spends the link. An invalid answer leaves both as they are."""
    with context.metrics.door(Door.LINK, "answer"):
        _require_enabled(context)
        DOOR.set(Door.LINK)
        value = await bodies.encoded_value(await request.body(), body.value)
        address = request.client.host if request.client is not None else "unknown"
        try:
            row = await context.engine.links.answer(body.link, value, address=address)
        except LinkNotFound as error:
            await context.auth_failures.record(request.scope, error, credential=body.link)
            raise
        return replies.json({"key": row.key, "answer": (row.answer or Json.of(None)).fragment})


@pages.get("", include_in_schema=False)
async def page(request: Request) -> Reply:
    """Show the page of links: the same for all, since the secret never reaches the server."""
    return _file(request, "link.html", "text/html")


@pages.get("/link.js", include_in_schema=False)
async def script(request: Request) -> Reply:
    """The script of the page of links."""
    return _file(request, "link.js", "text/javascript")


@pages.get("/link.css", include_in_schema=False)
async def style(request: Request) -> Reply:
    """The style sheet of the page of links."""
    return _file(request, "link.css", "text/css")


def _require_enabled(context: ServerContext) -> None:
    if not context.settings.doors.link.enabled:
        raise RouteNotFound


def _file(request: Request, name: str, media_type: str) -> Reply:
    _require_enabled(context_of(request))
    return replies.content(_read(name), f"{media_type}; charset=utf-8", headers=_PAGE_HEADERS)


@cache
def _read(name: str) -> bytes:
    return (_FILES / name).read_bytes()
