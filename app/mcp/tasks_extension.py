"""The protocol's extension for tasks (SEP-2663): what a tool asked or started is followed by its own id.

Nothing is stored for it. A task's id is that of the question or task, and reading one changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from mcp import types
from mcp.server.context import CallNext, HandlerResult
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from pydantic import Field

from app.domain.access import Role
from app.domain.errors import AlreadyAnswered, EngineError, QuestionClosed
from app.http import bodies
from app.mcp import forms
from app.mcp.calls import Api, CallFailed, Value, segment
from app.mcp.persons import offered, person_of, taken
from app.mcp.requests import (
    FOLLOWS,
    RequestContext,
    api_of,
    bearer_of,
    capabilities_of,
    client_of,
    error_of,
    scope_of,
    server_of,
)
from app.mcp.skills import is_call, result_of_call
from app.mcp.task_states import FRAME, state_of_question, state_of_task

IDENTIFIER = "io.modelcontextprotocol/tasks"
_READING = (Role.OPERATOR, Role.WORKER, Role.SENIOR, Role.OBSERVER)
_QUESTION = "R-"


class TaskParams(types.RequestParams):
    """Parameters that name a task."""

    task_id: str = Field(alias="taskId")


class UpdateParams(TaskParams):
    """Parameters with answers of the person at the client, by the keys of the requests."""

    input_responses: dict[str, Any] = Field(alias="inputResponses")


class TasksExtension(Extension):
    """Answers calls of tools that are not done yet with a task, and serves its methods."""

    identifier = IDENTIFIER

    def methods(self) -> Sequence[MethodBinding]:
        """The methods of the extension."""
        return (
            MethodBinding("tasks/get", TaskParams, self._get),
            MethodBinding("tasks/update", UpdateParams, self._update),
            MethodBinding("tasks/cancel", TaskParams, self._cancel),
        )

    async def intercept_tool_call(
        self, params: types.CallToolRequestParams, ctx: RequestContext, call_next: CallNext
    ) -> HandlerResult:
        """Turn the result of a tool whose question or task is open into a task, for a client that knows them."""
        result = await call_next(ctx)
        if not scope_of(ctx).get(FOLLOWS) or not isinstance(result, types.CallToolResult) or not offers(ctx):
            return result
        found = result.structured_content
        if result.is_error or not isinstance(found, dict):
            return result
        found = cast("Value", found)
        if found.get("open") is not True:
            return result
        state = await self.state(ctx, found["key"] if "key" in found else found["task_id"])
        return {"resultType": "task", **{name: state[name] for name in FRAME if name in state}}

    async def state(self, context: RequestContext, task_id: str) -> Value:
        """Return the state of a task. Raises MCPError, also for one that does not exist for the caller."""
        api = await self.reading(context, task_id)
        try:
            if task_id.startswith(_QUESTION):
                return await self._question(context, api, task_id)
            return await self._task(context, api, task_id)
        except CallFailed as failed:
            raise error_of(failed) from None

    async def task_of(self, context: RequestContext, task_id: str) -> str:
        """Return the id of the task that this one is, or whose question it is. Raises MCPError."""
        if not task_id.startswith(_QUESTION):
            return task_id
        try:
            question = await _read_question(await self.reading(context, task_id), task_id)
        except CallFailed as failed:
            raise error_of(failed) from None
        return question["task_id"]

    async def _question(self, context: RequestContext, api: Api, key: str) -> Value:
        question = await _read_question(api, key)
        is_open = question["status"] == "open"
        task = None if is_open else await api.get(f"{api.base}/tasks/{segment(question['task_id'])}")
        state = state_of_question(question, task, server_of(context).settings)
        return await self._asking(context, state, key=key) if is_open else state

    async def _task(self, context: RequestContext, api: Api, task_id: str) -> Value:
        task = await api.get(f"{api.base}/tasks/{segment(task_id)}")
        engine, settings = server_of(context).engine, server_of(context).settings
        result = None
        if task["status"] in ("pass", "blocked") and is_call(task):
            result = await result_of_call(context, client_of(context), task)
        if task["status"] in ("pass", "cancelled"):
            return state_of_task(task, None, settings, result)
        outlook = await engine.tasks.outlook(bearer_of(api), task_id)
        state = state_of_task(task, outlook, settings, result)
        return await self._asking(context, state, task_id=task_id) if task["status"] == "suspended" else state

    async def _asking(self, context: RequestContext, state: Value, **about: str) -> Value:
        """Return the state with what the client is to ask its person, if that person may be asked."""
        api = await person_of(context)
        can = capabilities_of(context).elicitation
        if api is None or can is None:
            return state
        requests: dict[str, Value] = {}
        base_url = server_of(context).settings.base_url
        for key in await offered(api, **about):
            question = await api.get(f"/v1/senior/questions/{segment(key)}")
            request = forms.request_of(question, can, forms.console_address(base_url, key))
            if request is not None:
                requests[key] = request.model_dump(by_alias=True, mode="json", exclude_none=True)
        return state | {"status": "input_required", "inputRequests": requests} if requests else state

    async def _get(self, context: RequestContext, params: TaskParams) -> Value:
        _check(context, params)
        return await self.state(context, params.task_id)

    async def _update(self, context: RequestContext, params: UpdateParams) -> Value:
        """Take the answers to what the client was asked; those to anything else are ignored and recorded."""
        _check(context, params)
        await self.state(context, params.task_id)
        api = await person_of(context)
        about = {"key" if params.task_id.startswith(_QUESTION) else "task_id": params.task_id}
        asked = [] if api is None else await offered(api, **about)
        ignored: list[str] = []
        for key, said in params.input_responses.items():
            if api is None or key not in asked or not await taken(api, key, said):
                ignored.append(key)
        if ignored:
            reader = bearer_of(await self.reading(context, params.task_id))
            await server_of(context).engine.questions.ignore(reader, params.task_id, ignored)
        return {}

    async def _cancel(self, context: RequestContext, params: TaskParams) -> Value:
        """Withdraw the question or cancel the task; one that is done stays as it is."""
        _check(context, params)
        await self.state(context, params.task_id)
        api = await self.reading(context, params.task_id)
        engine = server_of(context).engine
        try:
            if params.task_id.startswith(_QUESTION):
                await engine.questions.withdraw(bearer_of(api), params.task_id)
            else:
                await api.post(f"{api.base}/tasks/{segment(params.task_id)}/cancel")
        except (AlreadyAnswered, QuestionClosed):
            pass
        except EngineError as error:
            problem = await server_of(context).auth_failures.problem(scope_of(context), error)
            raise MCPError(types.INVALID_PARAMS, problem.detail, {"code": problem.code}) from None
        except CallFailed as failed:
            if failed.problem.get("status") != 409:
                raise error_of(failed) from None
        return {}

    async def reading(self, context: RequestContext, task_id: str) -> Api:
        """Return the API by which the caller reads a task. Raises MCPError."""
        roles = client_of(context).roles
        try:
            return await api_of(context, next(role for role in _READING if role in roles), "tasks", about=task_id)
        except CallFailed as failed:
            raise error_of(failed) from None


def offers(context: RequestContext) -> bool:
    """Return whether the client declared the extension with this request."""
    declared = context.session.client_capabilities
    return declared is not None and IDENTIFIER in (declared.extensions or {})


def require_extension(context: RequestContext) -> None:
    """Raise MCPError for a client that did not declare the extension with this request."""
    if not offers(context):
        needed: Value = {"requiredCapabilities": {"extensions": {IDENTIFIER: {}}}}
        message = f"Declare the extension {IDENTIFIER} with this request."
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, message, needed)


def _check(context: RequestContext, params: TaskParams) -> None:
    """Raise MCPError for a client that did not declare the extension, and for a header that names another task."""
    require_extension(context)
    if bodies.header(scope_of(context), b"mcp-name") != params.task_id:
        raise MCPError(types.HEADER_MISMATCH, "The header Mcp-Name has to be the taskId of the body.")


async def _read_question(api: Api, key: str) -> Value:
    return await api.get(f"{api.base}/questions/{segment(key)}", hold=0)
