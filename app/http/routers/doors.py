"""Routes of the doors: other programs' own protocols over the engine's operations."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from starlette.requests import Request

from app.domain.doors import DOOR, Door
from app.http import bodies, replies
from app.http.context import context_of
from app.http.errors import RouteNotFound
from app.http.harness.door import HookDoor
from app.http.harness.events import Harness, HookEvent, read_event
from app.http.parameters import HOLD, hold_of, query_of
from app.http.replies import Reply
from app.http.routers.tasks import body_of
from app.http.routes import documented, plain_router, requires

router: APIRouter = plain_router("/v1/doors", "doors")

_HOOK = requires(credential="key or handle") | documented(
    parameters=(HOLD,), body=HookEvent, reply={"application/json": {"type": "object"}}
)


@router.post("/claude-code/hook", openapi_extra=_HOOK)
async def claude_code(request: Request) -> Reply:
    """Answer a hook of Claude Code: PreToolUse defers until a senior has decided, PermissionRequest waits.

    The first sight of a tool use asks a question with the label `harness:claude-code`; the same one again finds it.
    An approval lets the tool run once. Whatever is refused is a reply that denies the tool, with the reason.
    """
    return await _hook(request, Harness.CLAUDE_CODE)


@router.post("/codex/hook", openapi_extra=_HOOK)
async def codex(request: Request) -> Reply:
    """Answer the PermissionRequest hook of Codex, which waits for a senior's decision; the label is `harness:codex`."""
    return await _hook(request, Harness.CODEX)


async def _hook(request: Request, harness: Harness) -> Reply:
    context = context_of(request)
    if not context.settings.doors.hooks.enabled:
        raise RouteNotFound
    DOOR.set(Door.HOOK)
    with context.metrics.door(Door.HOOK, f"{harness}/other") as measured:
        event = read_event(harness, await bodies.value_of(await body_of(request, context), context.settings.limits))
        measured.method = f"{harness}/{event.hook_event_name}"
        default = timedelta(0) if event.defers else context.settings.doors.hold
        hold = hold_of(query_of(request.scope).get("hold"), context.settings, default=default)
        door = HookDoor(context, harness)
        said = await door.reply(request, event, hold)
        measured.code = door.code
        return replies.json(said)
