"""Routes without a credential: liveness, readiness, documentation, and metrics if the settings allow it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.types import Scope

from app.domain.access import Verb
from app.domain.identity import CHALLENGE, LONGEST_CHALLENGE, PROOF, proof
from app.domain.namespaces import ALL_ID
from app.http import auth, namespace_metrics, replies
from app.http.context import ServerContext, context_of
from app.http.metrics import CONTENT_TYPE_LATEST
from app.http.namespace_metrics import Observed
from app.http.replies import Reply
from app.http.routes import documented, plain_router, requires

router = plain_router("", "health")

_STATIC = Path(__file__).parent.parent / "static"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _CSP,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OBJECT = {"application/json": {"type": "object"}}


@router.get("/healthz", openapi_extra=documented(reply=_OBJECT))
async def healthz(request: Request) -> Reply:
    """Report that the process is alive, and with which data directory it runs: the proof to a `Swarmhold-Challenge`."""
    secret, challenge = context_of(request).settings.identity, request.headers.get(CHALLENGE)
    if not secret or challenge is None or len(challenge) > LONGEST_CHALLENGE:
        return replies.json({"status": "ok"})
    return replies.json({"status": "ok"}, headers={PROOF: proof(secret, challenge)})


@router.get("/readyz", openapi_extra=documented(reply=_OBJECT))
async def readyz(request: Request) -> Reply:
    """Report whether the store can be read and written, and as `degraded` that hints reach no other node.

    A node that is being stopped goes on serving, but is not ready (503).
    """
    engine = context_of(request).engine
    if engine.nodes.draining:
        return replies.json({"status": "draining"}, status=503, headers={"Retry-After": "1"})
    await engine.check()
    failure = engine.parts.bus.failure
    return replies.json({"status": "ready"} if failure is None else {"status": "degraded", "bus": failure})


@router.get("/metrics", openapi_extra=requires(Verb.READ_TRACE) | documented(reply={"text/plain": {"type": "string"}}))
async def metrics(request: Request) -> Reply:
    """Metrics for Prometheus. Unless the server opens them: for a token that may read traces, or an API key that may
    attach as a role that may, since a scraper keeps its credential for long. They are those of the process and of the
    credential's namespace; for the root key of all namespaces, without a credential of none.
    """
    context = context_of(request)
    shown = context.metrics.text()
    if not context.settings.metrics_open:
        namespace = await _scraped(context, request.scope)
        shown += namespace_metrics.text(
            await context.engine.namespaces.summaries(namespace),
            await _observed(context, everything=namespace == ALL_ID),
        )
    return replies.content(shown, CONTENT_TYPE_LATEST)


async def _observed(context: ServerContext, *, everything: bool) -> Observed:
    reports, namespaces = context.engine.reports, context.engine.namespaces
    measures, counts, used = await reports.measures(), reports.counts(), reports.used()
    for namespace in {row.namespace for row in measures.queues} | {key[0] for key in (*counts, *dict(used))}:
        await namespaces.learn(namespace)
    return Observed(measures=measures, counts=counts, used=used, name_of=namespaces.name, everything=everything)


async def _scraped(context: ServerContext, scope: Scope) -> int:
    """Return the namespace of the scraper's credential, `ALL_ID` for the root key."""
    if auth.is_key(auth.credential_text(scope)):
        return (await context.engine.keys.check_verb(auth.api_key(scope), Verb.READ_TRACE)).namespace
    return (await context.engine.credentials.authorize(auth.bearer(scope), Verb.READ_TRACE)).namespace


@router.get("/openapi.json", include_in_schema=False)
async def openapi_document(request: Request) -> Reply:
    """Read the OpenAPI document."""
    return replies.content(context_of(request).document(), "application/json")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Reply:
    """Show the documentation, a page without external resources."""
    del request
    return replies.content(_file("docs.html"), "text/html; charset=utf-8", headers=_PAGE_HEADERS)


@router.get("/docs/docs.js", include_in_schema=False)
async def docs_script(request: Request) -> Reply:
    """The script of the documentation page."""
    del request
    return replies.content(_file("docs.js"), "text/javascript; charset=utf-8", headers=_PAGE_HEADERS)


@router.get("/docs/docs.css", include_in_schema=False)
async def docs_style(request: Request) -> Reply:
    """The style sheet of the documentation page."""
    del request
    return replies.content(_file("docs.css"), "text/css; charset=utf-8", headers=_PAGE_HEADERS)


@cache
def _file(name: str) -> bytes:
    return (_STATIC / name).read_bytes()
