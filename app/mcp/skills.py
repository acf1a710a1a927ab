"""Published skills as tools: their calls are tasks in a queue, and give what the worker there submits."""

from __future__ import annotations

from hashlib import sha256
from typing import cast

from mcp import types

from app.domain.access import Role
from app.domain.answer_schemas import first_violation
from app.domain.errors import EngineError
from app.domain.json import Json, canonical
from app.domain.namespaces import ALL_ID, DEFAULT_ID
from app.domain.skills import LABEL, Skill, SkillApproval
from app.engine.ops.idempotency import Idempotency
from app.mcp.calls import Api, CallFailed, Value, segment
from app.mcp.clients import Client
from app.mcp.requests import RequestContext, bearer_of, scope_of, server_of
from app.mcp.resources import link_to
from app.mcp.results import failure_of, result_of, text_of
from app.mcp.tools.runs import RUN, run_of

_LATER = "It is not done. Call get_task with this task_id later; do not call this tool again for it."


def role_for(skill: Skill, client: Client) -> Role | None:
    """Return the role in which a client calls a skill, None where it may not. A worker calls with its handle."""
    may = [role for role in (Role.OPERATOR, Role.WORKER) if role in client.roles and role in skill.role_set]
    return next((role for role in may if role is Role.OPERATOR or client.key is None), None)


def _namespace_of(client: Client) -> int:
    return DEFAULT_ID if client.namespace == ALL_ID else client.namespace


async def offered_to(context: RequestContext, client: Client) -> list[types.Tool]:
    """Return the tools of the skills that a client may call, by name."""
    if not {Role.OPERATOR, Role.WORKER} & client.roles:
        return []
    found = await server_of(context).engine.skills.offered(_namespace_of(client))
    return [_described(skill) for skill in found if role_for(skill, client) is not None]


async def named(context: RequestContext, client: Client, name: str) -> tuple[Skill, Role] | None:
    """Return the skill of this name and the role in which a client calls it; None where it may not."""
    skill = await server_of(context).engine.skills.named(_namespace_of(client), name)
    role = None if skill is None else role_for(skill, client)
    return None if skill is None or role is None else (skill, role)


def _described(skill: Skill) -> types.Tool:
    return types.Tool(
        name=skill.name,
        description=skill.description,
        input_schema=skill.input_schema.plain,
        output_schema=_gives(skill),
        annotations=types.ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
        ),
    )


def _gives(skill: Skill) -> Value | None:
    """Return the schema of what a call returns: the result, or the open task. None where it cannot be said."""
    if skill.output_schema is None:
        return None
    schema: Value = skill.output_schema.plain
    shared = {name: schema.pop(name) for name in ("$schema", "$defs", "definitions") if name in schema}
    if skill.output_schema.text.count('"$ref":"') > skill.output_schema.text.count('"$ref":"#/$defs/'):
        return None  # what they point at is elsewhere now
    is_open = {**RUN, "properties": {**RUN["properties"], "open": {"const": True}}}
    return {**shared, "type": "object", "anyOf": [schema, is_open]}


async def call(
    context: RequestContext, api: Api, skill: Skill, arguments: Value, *, hold: float
) -> types.CallToolResult:
    """Start a call, and wait up to `hold` seconds for its result. Raises CallFailed."""
    given = Json.of(arguments)
    if violation := first_violation(skill.input_schema, given):
        reason, path = violation
        raise CallFailed(
            {
                "title": "The arguments break the schema",
                "status": 422,
                "code": "invalid-body",
                "detail": f"{path or '$'}: {reason}",
            }
        )
    server = server_of(context)
    try:
        task_id = await server.engine.skills.call(bearer_of(api), skill, given, idempotency=_once(api, given))
    except EngineError as error:
        problem = await server.auth_failures.problem(scope_of(context), error)
        raise CallFailed(problem.document()) from error
    return result_for(await api.get(f"{api.base}/tasks/{segment(task_id)}/poll", hold=hold), skill)


def _once(api: Api, given: Json) -> Idempotency | None:
    if api.once is None:
        return None
    key = f"mcp:{api.tool}:{sha256(api.once.encode()).hexdigest()}"
    return Idempotency(key, sha256(canonical(given.written)).hexdigest())


def is_call(task: Value) -> bool:
    """Return whether a task was made by a call of a skill."""
    return LABEL in (task.get("labels") or {})


async def result_of_call(context: RequestContext, client: Client, task: Value) -> types.CallToolResult:
    """Return the result of a call that was followed as a task; the skill may be gone by now."""
    skill = await server_of(context).engine.skills.named(_namespace_of(client), task["labels"][LABEL])
    return result_for(task, skill)


def result_for(task: Value, skill: Skill | None) -> types.CallToolResult:
    """Return what a call of a skill gives: what its worker submitted, or, while it is open, its task."""
    run = run_of(task)
    if run["open"]:
        run["next"] = _waiting(skill)
        return result_of(run)
    value = task.get("last_result")
    if task["status"] != "pass":
        said = {"code": "cancelled", "detail": "The task was cancelled."} if value is None else value
        return _given(run, said, is_error=True)
    if skill is not None and skill.output_schema is not None:
        violation = first_violation(skill.output_schema, Json.of(value))
        if violation is not None:
            reason, path = violation
            title = "The result breaks the schema"
            detail = (
                f"The worker's result of task {run['task_id']} breaks the skill's schema at {path or '$'}: {reason}"
            )
            return failure_of({"title": title, "status": 502, "code": "result-invalid", "detail": detail})
    return _given(run, value, is_error=False)


def _waiting(skill: Skill | None) -> str:
    asked = "A senior decides on it first. " if skill is not None and skill.approval is SkillApproval.ALWAYS else ""
    return asked + _LATER


def _given(run: Value, value: object, *, is_error: bool) -> types.CallToolResult:
    """Return a worker's value: a text as it is, an object as structure too."""
    text = types.TextContent(text=value) if isinstance(value, str) else text_of(value)
    content: list[types.ContentBlock] = [text]
    if link := link_to(run):
        content.append(link)
    structured = cast("Value", value) if isinstance(value, dict) and not is_error else None
    return types.CallToolResult(content=content, structured_content=structured, is_error=is_error)
