"""The tools: what each is called, whom it is for, what it takes, and the calls that it makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.access import Role
from app.domain.actions import Decision
from app.mcp.approving import approve
from app.mcp.calls import Api, Value, refused, segment
from app.mcp.clients import Client

Run = Callable[[Api, Value], Awaitable[Value]]

TEXT: Value = {"type": "string"}
HOLD: Value = {"type": "number", "minimum": 0, "maximum": 50, "description": "Seconds to wait before it says open."}
ONCE: Value = {"type": "string", "minLength": 1, "description": "Names this request: the same name finds what it made."}
ID: Value = {"type": "string", "minLength": 1}
OBJECT: Value = {"type": "object"}
_ANSWER: Value = {
    "type": "object",
    "properties": {
        "open": {"type": "boolean"},
        "key": TEXT,
        "status": TEXT,
        "answer": {},
        "answered_by": TEXT,
        "next": TEXT,
    },
    "required": ["open", "key", "status"],
}
_RUN: Value = {
    "type": "object",
    "properties": {
        "open": {"type": "boolean"},
        "task_id": TEXT,
        "status": TEXT,
        "attempt": {"type": "integer"},
        "result": {},
        "waits_for": {"type": "array", "items": TEXT},
        "next": TEXT,
    },
    "required": ["open", "task_id", "status", "attempt"],
}
_OPEN = ("pending", "running", "suspended")
_QUESTION = (
    "question",
    "choices",
    "answer_schema",
    "action",
    "allowed",
    "bridge_id",
    "deadline",
    "on_deadline",
    "default",
)
_DECISIONS = [decision.value for decision in Decision]

READS = frozenset({"read_only"})
AGAIN = frozenset({"idempotent"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool. `roles` are those that may use it, the preferred one first; `holds` may wait for long.

    `gives` is the schema of what it returns, None where that is text alone.
    """

    name: str
    text: str
    roles: Sequence[Role]
    takes: Mapping[str, Value]
    needs: Sequence[str] = ()
    gives: Value | None = field(default_factory=lambda: OBJECT)
    hints: frozenset[str] = frozenset()
    run: Run
    answers: bool = False
    holds: bool = False

    def role_for(self, client: Client) -> Role | None:
        """Return the role in which a client uses it, None where it may not."""
        if self.answers and not client.may_answer:
            return None
        return next((role for role in self.roles if role in client.roles), None)

    @property
    def schema(self) -> Value:
        """The JSON Schema of its arguments."""
        return {
            "type": "object",
            "properties": dict(self.takes),
            "required": list(self.needs),
            "additionalProperties": False,
        }

    def check(self, arguments: Value) -> None:
        """Raise CallFailed for arguments that it does not have, or without those that it needs."""
        if unknown := sorted(arguments.keys() - self.takes.keys()):
            raise refused(f"{self.name} has no argument {unknown[0][:100]!r}; it takes {', '.join(self.takes)}.")
        if missing := [name for name in self.needs if name not in arguments]:
            raise refused(f"{self.name} needs {', '.join(missing)}.")
        hold = arguments.get("hold", 0)
        if "hold" in arguments and (isinstance(hold, bool) or not isinstance(hold, int | float) or not 0 <= hold <= 50):
            raise refused("hold is a number of seconds from 0 to 50.")


def _picked(arguments: Value, names: Sequence[str]) -> Value:
    return {name: arguments[name] for name in names if name in arguments}


def _answer(question: Value) -> Value:
    is_open = question["status"] == "open"
    found: Value = {"open": is_open, "key": question["key"], "status": question["status"]}
    found |= {name: question[name] for name in ("answer", "answered_by") if question.get(name) is not None}
    if question["status"] == "answered":
        found["answer"] = question.get("answer")
    if is_open:
        found["next"] = "Nobody has answered yet. Call get_answer with this key later; do not ask again or act before."
    return found


def _run(task: Value) -> Value:
    is_open = task["status"] in _OPEN
    found: Value = {"open": is_open, "task_id": task["id"], "status": task["status"], "attempt": task["attempt"]}
    if task.get("last_result") is not None:
        found["result"] = task["last_result"]
    if task.get("suspended_on"):
        found["waits_for"] = task["suspended_on"]
    if is_open:
        found["next"] = "It is not done. Call get_task with this id later, or why to learn what it waits for."
    return found


async def _ask(api: Api, arguments: Value) -> Value:
    body = _picked(arguments, _QUESTION)
    path = f"{api.base}/questions"
    if "task_id" in arguments:
        if api.role is Role.WORKER:
            raise refused("A worker asks about its own task; leave task_id out.")
        path = f"{api.base}/tasks/{segment(arguments['task_id'])}/questions"
    asked = await api.post(path, body, once=True)
    return await _get_answer(api, {"key": asked["key"], "hold": arguments["hold"]})


async def _get_answer(api: Api, arguments: Value) -> Value:
    return _answer(await api.get(f"{api.base}/questions/{segment(arguments['key'])}", hold=arguments["hold"]))


async def _withdraw(api: Api, arguments: Value) -> Value:
    path = f"{api.base}/questions/{segment(arguments['key'])}/withdraw"
    return _answer(await api.post(path, _picked(arguments, ("reason",))))


async def _start(api: Api, arguments: Value) -> Value:
    if "queue" in arguments and "spawner" in arguments:
        raise refused("Give a queue or a spawner, not both.")
    spec = {"initial_directive": arguments["directive"], **_picked(arguments, ("agent", "labels", "retry"))}
    path = f"{api.base}/tasks"
    task = await api.post(path, spec, once=True)
    at = f"{path}/{task['id']}"
    spawner = {"kind": "queue", "queue": arguments["queue"]} if "queue" in arguments else arguments.get("spawner")
    if spawner is None:
        return _run(task)
    if task["attempt"] == 0 and task["status"] == "pending":
        # The reply has a worker's handle for some spawners; no tool gives one away.
        await api.post(f"{at}/dispatch", {"spawner": spawner}, once=True)
    return _run(await api.get(f"{at}/poll", hold=arguments["hold"]))


async def _get_task(api: Api, arguments: Value) -> Value:
    return _run(await api.get(f"{api.base}/tasks/{segment(arguments['task_id'])}"))


async def _why(api: Api, arguments: Value) -> Value:
    return await api.get(f"/v1/operator/tasks/{segment(arguments['task_id'])}/why")


async def _list_tasks(api: Api, arguments: Value) -> Value:
    return await api.get("/v1/operator/tasks", **arguments)


async def _cancel(api: Api, arguments: Value) -> Value:
    return _run(
        await api.post(f"{api.base}/tasks/{segment(arguments['task_id'])}/cancel", _picked(arguments, ("reason",)))
    )


async def _assignment(api: Api, arguments: Value) -> Value:
    del arguments
    found = await api.get("/v1/worker/prompt")
    return {"assignment": f"{found.pop('task_id')}.{found.pop('attempt')}", **found}


async def _progress(api: Api, arguments: Value) -> Value:
    await api.post("/v1/worker/output", {"type": "progress", **arguments}, once=True)
    pulse = await api.post("/v1/worker/heartbeat")
    return {"accepted": True, "cancelled": pulse["cancelled"]}


async def _submit(api: Api, arguments: Value) -> Value:
    ok = arguments.get("ok", True)
    if not isinstance(ok, bool):
        raise refused("ok is true or false.")
    await api.post("/v1/worker/submit", arguments["value"], ok=str(ok).lower())
    return {"accepted": True, "cancelled": False}


async def _list_questions(api: Api, arguments: Value) -> Value:
    return await api.get("/v1/senior/questions", **arguments)


async def _answer_question(api: Api, arguments: Value) -> Value:
    path = f"/v1/senior/questions/{segment(arguments['key'])}/answer"
    return _answer(await api.post(path, _picked(arguments, ("value",))))


async def _override(api: Api, arguments: Value) -> Value:
    path = f"/v1/senior/tasks/{segment(arguments['task_id'])}/verdict"
    return _run(await api.post(path, _picked(arguments, ("ok", "value"))))


async def _inject(api: Api, arguments: Value) -> Value:
    path = f"/v1/senior/tasks/{segment(arguments['task_id'])}/directive"
    return await api.post(path, _picked(arguments, ("prompt",)))


async def _pause(api: Api, arguments: Value) -> Value:
    del arguments
    return await api.post("/v1/senior/loop/pause")


async def _resume(api: Api, arguments: Value) -> Value:
    del arguments
    return await api.post("/v1/senior/loop/resume")


_ASKERS = (Role.OPERATOR, Role.WORKER)
_READERS = (Role.OPERATOR, Role.OBSERVER, Role.SENIOR)
_SENIORS = (Role.SENIOR,)

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="ask_human",
        text="Ask a person and wait for the answer. It may take days: while it is open, call get_answer with its key.",
        roles=_ASKERS,
        takes={
            "question": {"description": "What to decide, as text or JSON."},
            "choices": {"type": "array", "minItems": 1},
            "answer_schema": {"type": "object", "description": "The JSON Schema of the answer."},
            "action": {
                "type": "object",
                "properties": {"name": ID, "arguments": OBJECT, "server": ID},
                "required": ["name", "arguments"],
                "description": "What to decide on. The answer is a decision, unless choices or a schema are given.",
            },
            "allowed": {
                "type": "array",
                "items": {"enum": _DECISIONS},
                "minItems": 1,
                "description": "Decisions that may be taken on the action; without it approve and reject.",
            },
            "bridge_id": ID,
            "deadline": {"type": "string", "format": "date-time"},
            "on_deadline": TEXT,
            "default": {},
            "task_id": ID,
            "once": ONCE,
            "hold": HOLD,
        },
        needs=("question",),
        gives=_ANSWER,
        hints=AGAIN | {"open_world"},
        run=_ask,
        holds=True,
    ),
    Tool(
        name="get_answer",
        text="Read a question that was asked before, and wait for its answer.",
        roles=_ASKERS,
        takes={"key": ID, "hold": HOLD},
        needs=("key",),
        gives=_ANSWER,
        hints=READS,
        run=_get_answer,
        holds=True,
    ),
    Tool(
        name="withdraw_question",
        text="Withdraw a question that needs no answer any more.",
        roles=(Role.OPERATOR,),
        takes={"key": ID, "reason": TEXT},
        needs=("key",),
        gives=_ANSWER,
        hints=AGAIN,
        run=_withdraw,
    ),
    Tool(
        name="approve",
        text="Ask a person whether a tool may be used, for --permission-prompt-tool. An approval lets it run once.",
        roles=_ASKERS,
        takes={"tool_name": ID, "input": OBJECT, "tool_use_id": ID},
        needs=("tool_name", "input"),
        gives=None,
        run=approve,
        holds=True,
    ),
    Tool(
        name="start_task",
        text="Start a task of an agent. With a queue or a spawner it is dispatched; without one it stays pending.",
        roles=_ASKERS,
        takes={
            "agent": ID,
            "directive": TEXT,
            "queue": ID,
            "spawner": OBJECT,
            "labels": {"type": "object", "additionalProperties": TEXT},
            "retry": OBJECT,
            "once": ONCE,
            "hold": HOLD,
        },
        needs=("agent", "directive"),
        gives=_RUN,
        hints=frozenset({"open_world"}),
        run=_start,
        holds=True,
    ),
    Tool(
        name="get_task",
        text="Read a task: its status and, when there is one, its result.",
        roles=_READERS,
        takes={"task_id": ID},
        needs=("task_id",),
        gives=_RUN,
        hints=READS,
        run=_get_task,
    ),
    Tool(
        name="why",
        text="Explain what a task waits for, nearest cause first.",
        roles=_READERS,
        takes={"task_id": ID},
        needs=("task_id",),
        hints=READS,
        run=_why,
    ),
    Tool(
        name="list_tasks",
        text="List tasks, newest first.",
        roles=_READERS,
        takes={"status": TEXT, "agent": TEXT, "label": TEXT, "q": TEXT, "limit": {"type": "integer"}, "cursor": TEXT},
        hints=READS,
        run=_list_tasks,
    ),
    Tool(
        name="cancel_task",
        text="Cancel a task and its descendants.",
        roles=(Role.OPERATOR,),
        takes={"task_id": ID, "reason": TEXT},
        needs=("task_id",),
        gives=_RUN,
        hints=AGAIN | {"destructive"},
        run=_cancel,
    ),
    Tool(
        name="get_assignment",
        text="Read what this worker is to do, and the answers so far.",
        roles=(Role.WORKER,),
        takes={},
        hints=READS,
        run=_assignment,
    ),
    Tool(
        name="report_progress",
        text="Say how far the work is; the reply says whether to stop.",
        roles=(Role.WORKER,),
        takes={"stage": ID, "note": TEXT},
        needs=("stage",),
        run=_progress,
    ),
    Tool(
        name="submit_result",
        text="Submit the result of the assignment, which ends it. ok=false reports that it could not be done.",
        roles=(Role.WORKER,),
        takes={"value": {}, "ok": {"type": "boolean"}},
        needs=("value",),
        hints=AGAIN,
        run=_submit,
    ),
    Tool(
        name="list_questions",
        text="List questions, oldest first.",
        roles=_SENIORS,
        takes={"status": TEXT, "bridge_id": TEXT, "limit": {"type": "integer"}, "cursor": TEXT},
        hints=READS,
        run=_list_questions,
    ),
    Tool(
        name="answer_question",
        text="Answer a question as a senior agent. The first answer wins.",
        roles=_SENIORS,
        takes={"key": ID, "value": {}},
        needs=("key", "value"),
        gives=_ANSWER,
        hints=AGAIN,
        run=_answer_question,
        answers=True,
    ),
    Tool(
        name="override_verdict",
        text="Override a task's result: it is pass or blocked from now on.",
        roles=_SENIORS,
        takes={"task_id": ID, "ok": {"type": "boolean"}, "value": {}},
        needs=("task_id", "ok", "value"),
        gives=_RUN,
        hints=frozenset({"destructive"}),
        run=_override,
        answers=True,
    ),
    Tool(
        name="inject_directive",
        text="Set the prompt of a task's next attempt.",
        roles=_SENIORS,
        takes={"task_id": ID, "prompt": TEXT},
        needs=("task_id", "prompt"),
        run=_inject,
    ),
    Tool(name="pause_loop", text="Pause dispatching: no new attempt starts.", roles=_SENIORS, takes={}, run=_pause),
    Tool(name="resume_loop", text="Resume dispatching.", roles=_SENIORS, takes={}, run=_resume),
)
"""All tools, in the order of their listing."""


def tools_for(client: Client) -> list[tuple[Tool, Role]]:
    """Return the tools of a client and the role in which it uses each; its credential alone decides."""
    return [(tool, role) for tool in TOOLS if (role := tool.role_for(client)) is not None]
