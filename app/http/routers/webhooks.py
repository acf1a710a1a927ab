"""Webhooks: create, list, move in the feed, pause and resume. These routes need the root key."""

from __future__ import annotations

from functools import partial

from app.domain.webhooks import Webhook as Row
from app.http import conversions, replies, views
from app.http.context import ApiKeyText, ContextDep, Once, ServerContext
from app.http.parameters import Limit, NamePath, NamespaceQuery, WebhookCursor, limit_of
from app.http.replies import Reply
from app.http.routes import model_router, requires
from swarmhold.models.admin import CreatedWebhook, ReplayRequest, Webhook, WebhookKeys, WebhookRequest
from swarmhold.models.shapes import Page

router = model_router("/v1/admin/webhooks", "admin")

public = model_router("/.well-known/swarmhold-webhook-keys", "webhooks")

_ROOT = requires(credential="root")


async def _shown(context: ServerContext, row: Row) -> Reply:
    return replies.json(views.webhook(await context.names_of([row]), row))


@router.post(
    "", status_code=201, response_model=CreatedWebhook, openapi_extra=requires(credential="root", idempotent=True)
)
async def create_webhook(context: ContextDep, key: ApiKeyText, body: WebhookRequest, once: Once) -> Reply:
    """Create a webhook for a URL that the settings allow. Only this reply shows its secret."""
    row, secret = await context.engine.webhooks.create(
        key, conversions.webhook_spec(body), namespace=body.namespace, idempotency=once
    )
    return replies.json(views.created_webhook(context.names, row, secret), status=201)


@router.get("", response_model=Page[Webhook], openapi_extra=_ROOT)
async def list_webhooks(
    context: ContextDep,
    key: ApiKeyText,
    namespace: NamespaceQuery = None,
    limit: Limit = None,
    cursor: WebhookCursor = None,
) -> Reply:
    """List webhooks and their deliveries' state, oldest first."""
    page = await context.engine.webhooks.page(
        key, namespace=namespace, limit=limit_of(limit, context.settings), cursor=cursor
    )
    return replies.json(views.page(page, partial(views.webhook, await context.names_of(page.items))))


@router.get("/{webhook_id}", response_model=Webhook, openapi_extra=_ROOT)
async def read_webhook(context: ContextDep, key: ApiKeyText, webhook_id: NamePath) -> Reply:
    """Read one webhook."""
    return await _shown(context, await context.engine.webhooks.read(key, webhook_id))


@router.delete("/{webhook_id}", status_code=204, openapi_extra=_ROOT)
async def delete_webhook(context: ContextDep, key: ApiKeyText, webhook_id: NamePath) -> Reply:
    """Delete a webhook. A delivery in progress may still arrive."""
    await context.engine.webhooks.delete(key, webhook_id)
    return replies.nothing()


@router.post("/{webhook_id}/replay", response_model=Webhook, openapi_extra=_ROOT)
async def replay_webhook(context: ContextDep, key: ApiKeyText, webhook_id: NamePath, body: ReplayRequest) -> Reply:
    """Deliver again the events after a cursor; this resumes a paused webhook."""
    return await _shown(context, await context.engine.webhooks.replay(key, webhook_id, body.after))


@router.post(
    "/{webhook_id}/rotate", response_model=CreatedWebhook, openapi_extra=requires(credential="root", idempotent=True)
)
async def rotate_webhook(context: ContextDep, key: ApiKeyText, webhook_id: NamePath, once: Once) -> Reply:
    """Give a webhook a new secret, which only this reply shows; for a day the one before signs as well."""
    row, secret = await context.engine.webhooks.rotate(key, webhook_id, idempotency=once)
    return replies.json(views.created_webhook(await context.names_of([row]), row, secret))


@router.post("/{webhook_id}/pause", response_model=Webhook, openapi_extra=_ROOT)
async def pause_webhook(context: ContextDep, key: ApiKeyText, webhook_id: NamePath) -> Reply:
    """Pause a webhook; its position in the feed is kept."""
    return await _shown(context, await context.engine.webhooks.pause(key, webhook_id))


@router.post("/{webhook_id}/resume", response_model=Webhook, openapi_extra=_ROOT)
async def resume_webhook(context: ContextDep, key: ApiKeyText, webhook_id: NamePath) -> Reply:
    """Resume a webhook at once, from its position in the feed."""
    return await _shown(context, await context.engine.webhooks.resume(key, webhook_id))


@public.get("", response_model=WebhookKeys)
async def read_webhook_keys(context: ContextDep) -> Reply:
    """Return the public keys that verify deliveries of webhooks with `sign: asymmetric`, the newest first.

    Anybody may read them. Two of them sign each delivery, so that a rotation is not noticed by those who read them
    since the rotation before.
    """
    return replies.public(views.webhook_keys(context.engine.webhooks.public_keys()), max_age_s=300)
