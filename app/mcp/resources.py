"""Resources: tasks, questions and the workers' skill as texts that a client may read and keep beside its work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

import orjson
from mcp import types
from mcp.shared.exceptions import MCPError

from app.domain.access import Role
from app.mcp.calls import Api, CallFailed, Value, segment
from app.mcp.clients import Client
from app.mcp.requests import RequestContext, api_of, client_of

LIST_TTL_MS = 300_000
"""How long clients may keep a list: what it has depends on the credential alone."""

_SKILL = "swarmhold-worker"
_SKILL_URI = f"skill://{_SKILL}/SKILL.md"
_TASKS = "swarmhold://tasks/"
_QUESTIONS = "swarmhold://questions/"
OPEN_URI = f"{_QUESTIONS}open"
"""The address of the questions that wait for an answer."""
_JSON, _MARKDOWN = "application/json", "text/markdown"
_UNKNOWN = frozenset({403, 404, 422})
"""What the API answers for something that there is not, or not for this credential."""

_READERS = (Role.OPERATOR, Role.OBSERVER, Role.SENIOR)
_INBOX = (Role.OPERATOR, Role.SENIOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A kind of resource: the roles that read it, and the call that does. `variable` is what its address names."""

    name: str
    title: str
    text: str
    roles: Sequence[Role]
    uri: str
    variable: str
    ends: str = ""
    read: Callable[..., Awaitable[Value]]

    @property
    def template(self) -> types.ResourceTemplate:
        """The form of its addresses."""
        return types.ResourceTemplate(
            name=self.name,
            title=self.title,
            uri_template=f"{self.uri}{{{self.variable}}}{self.ends}",
            description=self.text,
            mime_type=_JSON,
        )

    def named_in(self, uri: str) -> str | None:
        """Return the id that an address of this kind names, None for any other address."""
        if not (uri.startswith(self.uri) and uri.endswith(self.ends)):
            return None
        found = uri[len(self.uri) : len(uri) - len(self.ends)]
        return found if found and "/" not in found else None


async def _task(api: Api, named: str) -> Value:
    return await api.get(f"{api.base}/tasks/{segment(named)}")


async def _why(api: Api, named: str) -> Value:
    return await api.get(f"/v1/operator/tasks/{segment(named)}/why")


async def _output(api: Api, named: str) -> Value:
    """Return the first page of the outputs of the latest attempt."""
    attempt = (await _task(api, named))["attempt"]
    if not attempt:
        return {"task_id": named, "attempt": 0, "items": []}
    path = f"/v1/operator/tasks/{segment(named)}/attempts/{attempt}/output"
    return {"task_id": named, "attempt": attempt, **await api.get(path)}


async def _question(api: Api, named: str) -> Value:
    if api.role is Role.SENIOR:
        return await api.get(f"/v1/senior/questions/{segment(named)}")
    return await api.get(f"{api.base}/questions/{segment(named)}", hold=0)


async def _open(api: Api) -> Value:
    return await api.get("/v1/senior/questions", status="open")


_KINDS = (
    _Kind(
        name="task",
        title="A task",
        text="A task: its status, and its result when there is one.",
        roles=(*_READERS, Role.WORKER),
        uri=_TASKS,
        variable="id",
        read=_task,
    ),
    _Kind(
        name="task-why",
        title="What a task waits for",
        text="What a task waits for, nearest cause first.",
        roles=_READERS,
        uri=_TASKS,
        variable="id",
        ends="/why",
        read=_why,
    ),
    _Kind(
        name="task-output",
        title="Output of a task",
        text="Progress, pieces of the result and artifacts of a task's latest attempt, the first page of them.",
        roles=_READERS,
        uri=_TASKS,
        variable="id",
        ends="/output",
        read=_output,
    ),
    _Kind(
        name="question",
        title="A question",
        text="A question: what is asked, its status, and the answer when there is one.",
        roles=(*_INBOX, Role.WORKER),
        uri=_QUESTIONS,
        variable="key",
        read=_question,
    ),
)


def link_to(value: Value) -> types.ResourceLink | None:
    """Return a link to the question or the task that a tool's result is about, None where it is about neither."""
    if isinstance(key := value.get("key"), str):
        return types.ResourceLink(name=key, uri=f"{_QUESTIONS}{key}", mime_type=_JSON)
    task_id = value.get("task_id")
    if isinstance(assignment := value.get("assignment"), str):
        task_id = assignment.rpartition(".")[0]
    if isinstance(task_id, str):
        return types.ResourceLink(name=task_id, uri=f"{_TASKS}{task_id}", mime_type=_JSON)
    return None


def _may(client: Client, roles: Sequence[Role]) -> list[Role]:
    return [role for role in roles if role in client.roles]


async def list_resources(
    context: RequestContext, params: types.PaginatedRequestParams | None
) -> types.ListResourcesResult:
    """List the resources that need no id, in a fixed order."""
    del params
    skill = types.Resource(
        name=_SKILL,
        title="How to work on a task",
        uri=_SKILL_URI,
        description="Instructions for an agent that works on a task by shell commands.",
        mime_type=_MARKDOWN,
    )
    inbox = types.Resource(
        name="open-questions",
        title="Open questions",
        uri=OPEN_URI,
        description="Questions that wait for an answer, oldest first.",
        mime_type=_JSON,
    )
    found = [inbox, skill] if _may(client_of(context), _INBOX) else [skill]
    return types.ListResourcesResult(resources=found, ttl_ms=LIST_TTL_MS, cache_scope="private")


async def list_templates(
    context: RequestContext, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    """List what the addresses of tasks and questions look like, of those kinds that the credential may read."""
    del params
    client = client_of(context)
    found = [kind.template for kind in _KINDS if _may(client, kind.roles)]
    return types.ListResourceTemplatesResult(resource_templates=found, ttl_ms=LIST_TTL_MS, cache_scope="private")


async def read_resource(context: RequestContext, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    """Read a resource as it is now. What there is not, or not for this credential, is unknown. Raises MCPError."""
    uri = params.uri
    if uri == _SKILL_URI:
        text, kind = (files("swarmhold") / "skills" / _SKILL / "SKILL.md").read_text("utf-8"), _MARKDOWN
    else:
        text, kind = orjson.dumps(await read_value(context, uri)).decode(), _JSON
    contents = types.TextResourceContents(uri=uri, mime_type=kind, text=text)
    return types.ReadResourceResult(contents=[contents], ttl_ms=0, cache_scope="private")


async def read_value(context: RequestContext, uri: str) -> Value:
    """Return what an address names, in the first of the caller's roles that may read it. Raises MCPError."""
    roles, named, read = _reader_of(uri)
    client = client_of(context)
    for role in _may(client, roles):
        try:
            return await read(await api_of(context, role, "resources/read", about=named))
        except CallFailed as failed:
            if failed.problem.get("status") not in _UNKNOWN:
                detail = str(failed.problem.get("detail") or failed.problem.get("title"))
                raise MCPError(code=types.INTERNAL_ERROR, message=detail) from failed
    raise _unknown(uri)


def _reader_of(uri: str) -> tuple[Sequence[Role], str | None, Callable[[Api], Awaitable[Value]]]:
    """Return who may read an address, what it names, and how it is read. Raises MCPError for an address of no kind."""
    if uri == OPEN_URI:
        return _INBOX, None, _open
    for kind in _KINDS:
        if (found := kind.named_in(uri)) is not None:
            return kind.roles, found, partial(kind.read, named=found)
    raise _unknown(uri)


def _unknown(uri: str) -> MCPError:
    message = "There is no such resource for this credential."
    return MCPError(code=types.INVALID_PARAMS, message=message, data={"uri": uri[:1000]})
