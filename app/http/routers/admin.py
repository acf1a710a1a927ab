"""API keys, the ids that they own, and rows of the audit log about commands. These routes need the root key."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from app.domain.access import Role
from app.domain.namespaces import DEFAULT
from app.http import replies, views
from app.http.context import ApiKeyText, ContextDep, Once
from app.http.parameters import KeyCursor, Limit, NamePath, NamespaceQuery, limit_of
from app.http.replies import Reply
from app.http.routes import model_router, requires
from swarmhold.models.admin import ApiKey, CommandRequest, CreatedKey, KeyRequest, Namespaces
from swarmhold.models.server import LoopSwitch
from swarmhold.models.shapes import Page

router = model_router("/v1/admin", "admin")


@router.post(
    "/keys", status_code=201, response_model=CreatedKey, openapi_extra=requires(credential="root", idempotent=True)
)
async def create_key(context: ContextDep, key: ApiKeyText, body: KeyRequest, once: Once) -> Reply:
    """Create an API key. Only this reply shows its text."""
    roles = frozenset(Role(role.value) for role in body.roles)
    ttl = None if body.ttl is None else timedelta(seconds=body.ttl)
    row, text = await context.engine.keys.create(
        key, body.name, roles, ttl, namespace=body.namespace, person=body.person, email=body.email, idempotency=once
    )
    return replies.json(views.created_key(row, text), status=201)


@router.get("/keys", response_model=Page[ApiKey], openapi_extra=requires(credential="root"))
async def list_keys(
    context: ContextDep,
    key: ApiKeyText,
    namespace: NamespaceQuery = None,
    limit: Limit = None,
    cursor: KeyCursor = None,
) -> Reply:
    """List API keys, of one namespace or all, oldest first, without their texts."""
    page = await context.engine.keys.page(
        key, namespace=namespace, limit=limit_of(limit, context.settings), cursor=cursor
    )
    return replies.json(views.page(page, partial(views.api_key, await context.names_of(page.items))))


@router.delete("/ids/{id:path}", status_code=204, openapi_extra=requires(credential="root"))
async def release_id(context: ContextDep, key: ApiKeyText, id: NamePath, namespace: NamespaceQuery = None) -> Reply:
    """Release an id of a bridge, hook or backend from the API key that owns it, and close its WebSocket."""
    await context.engine.keys.release_id(key, id, namespace=namespace or DEFAULT)
    return replies.nothing()


@router.delete("/keys/{key_id}", status_code=204, openapi_extra=requires(credential="root"))
async def revoke_key(context: ContextDep, key: ApiKeyText, key_id: NamePath) -> Reply:
    """Revoke an API key and all sessions attached with it."""
    await context.engine.keys.revoke(key, key_id)
    return replies.nothing()


@router.post("/audit/commands", status_code=204, openapi_extra=requires(credential="root"))
async def record_command(context: ContextDep, key: ApiKeyText, body: CommandRequest) -> Reply:
    """Record in the audit log what a command does beside the server: exports, backups, rotations of keys."""
    about = body.model_dump(exclude={"action"}, exclude_none=True)
    await context.engine.keys.record_command(key, body.action, about)
    return replies.nothing()


@router.get("/namespaces", response_model=Namespaces, openapi_extra=requires(credential="root"))
async def list_namespaces(context: ContextDep, key: ApiKeyText) -> Reply:
    """List all namespaces with what they hold."""
    await context.engine.keys.check_root(key)
    found = await context.engine.namespaces.summaries()
    return replies.json({"items": [views.namespace(row) for row in found]})


@router.post("/loop/pause", response_model=LoopSwitch, openapi_extra=requires(credential="root"))
async def pause_all(context: ContextDep, key: ApiKeyText) -> Reply:
    """Pause dispatching in all namespaces, whatever their own switches say."""
    return replies.json(views.switch_of_all(await context.engine.switch.switch_all(key, paused=True)))


@router.post("/loop/resume", response_model=LoopSwitch, openapi_extra=requires(credential="root"))
async def resume_all(context: ContextDep, key: ApiKeyText) -> Reply:
    """Resume dispatching in all namespaces but those that are paused by themselves."""
    return replies.json(views.switch_of_all(await context.engine.switch.switch_all(key, paused=False)))
