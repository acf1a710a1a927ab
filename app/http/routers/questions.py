"""Questions to seniors: shared by the routes of operators and workers."""

from __future__ import annotations

from starlette.requests import Request

from app.domain.errors import InvalidRequest
from app.domain.questions import Ask
from app.domain.tokens import Bearer
from app.engine.ops.idempotency import Idempotency
from app.http import conversions, question_views, replies
from app.http.context import ServerContext
from app.http.errors import InvalidBody
from app.http.holds import Drained
from app.http.idempotency import HEADER
from app.http.parameters import hold_of
from app.http.replies import Reply
from app.http.routers.tasks import NOTHING
from swarmhold.models.questions import ConsumeRequest, QuestionRequest


def asked_of(context: ServerContext, body: QuestionRequest) -> Ask:
    """Return the engine's form of a question.

    Raises PayloadTooLarge, and InvalidBody when its fields contradict each other.
    """
    try:
        asked = conversions.question(body)
        asked.check_size(context.settings.limits.question_bytes)
        asked.check()
    except InvalidRequest as error:
        raise InvalidBody([{"field": error.field or "", "message": error.reason}]) from None
    return asked


async def consumed(
    context: ServerContext, bearer: Bearer, key: str, body: ConsumeRequest, once: Idempotency | None
) -> Reply:
    """Consume an approval. Raises InvalidRequest without an idempotency key."""
    if once is None:
        raise InvalidRequest("consuming an approval needs this header: a repeated call must not act twice", HEADER)
    row, approval = await context.engine.questions.consume(bearer, key, body.action_digest, once)
    return replies.json(question_views.consumption(row, approval))


async def watched(request: Request, context: ServerContext, bearer: Bearer, key: str, hold: str | None) -> Reply:
    """Wait for a question: 200 once it is settled, 202 while it is open."""
    held = hold_of(hold, context.settings)
    try:
        with context.holds.polls.take(bearer.text):
            row, settled = await context.holds.park(
                request.receive, context.engine.questions.watch(bearer, key, held), request.scope
            )
    except Drained:
        row, settled = await context.engine.questions.watch(bearer, key, NOTHING)
    return replies.json(context.question(row), status=200 if settled else 202)
