"""Published skills: create, list, read and delete. These routes need the root key."""

from __future__ import annotations

from functools import partial

from app.http import conversions, replies, views
from app.http.context import ApiKeyText, ContextDep, Once
from app.http.parameters import Limit, NamePath, NamespaceQuery, SkillCursor, limit_of
from app.http.replies import Reply
from app.http.routes import model_router, requires
from swarmhold.models.admin import Skill, SkillRequest
from swarmhold.models.shapes import Page

router = model_router("/v1/admin/skills", "admin")

_ROOT = requires(credential="root")


@router.post("", status_code=201, response_model=Skill, openapi_extra=requires(credential="root", idempotent=True))
async def create_skill(context: ContextDep, key: ApiKeyText, body: SkillRequest, once: Once) -> Reply:
    """Publish a skill: from now on it is an MCP tool of this name in its namespace."""
    row = await context.engine.skills.create(
        key, conversions.skill_spec(body), namespace=body.namespace, idempotency=once
    )
    return replies.json(views.skill(await context.names_of([row]), row), status=201)


@router.get("", response_model=Page[Skill], openapi_extra=_ROOT)
async def list_skills(
    context: ContextDep,
    key: ApiKeyText,
    namespace: NamespaceQuery = None,
    limit: Limit = None,
    cursor: SkillCursor = None,
) -> Reply:
    """List published skills, oldest first."""
    page = await context.engine.skills.page(
        key, namespace=namespace, limit=limit_of(limit, context.settings), cursor=cursor
    )
    return replies.json(views.page(page, partial(views.skill, await context.names_of(page.items))))


@router.get("/{skill_id}", response_model=Skill, openapi_extra=_ROOT)
async def read_skill(context: ContextDep, key: ApiKeyText, skill_id: NamePath) -> Reply:
    """Read one skill."""
    row = await context.engine.skills.read(key, skill_id)
    return replies.json(views.skill(await context.names_of([row]), row))


@router.delete("/{skill_id}", status_code=204, openapi_extra=_ROOT)
async def delete_skill(context: ContextDep, key: ApiKeyText, skill_id: NamePath) -> Reply:
    """Delete a skill. What its calls started goes on."""
    await context.engine.skills.delete(key, skill_id)
    return replies.nothing()
