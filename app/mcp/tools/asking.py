"""Tools that ask people: questions, and approvals of the use of other tools."""

from __future__ import annotations

from app.domain.access import Role
from app.domain.actions import Decision
from app.mcp.approving import approve
from app.mcp.calls import Api, Value, segment
from app.mcp.tools.answers import ANSWER, answer_of
from app.mcp.tools.tool import AGAIN, ASKERS, HOLD, ID, OBJECT, ONCE, READS, TEXT, Tool, picked

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


async def _ask(api: Api, arguments: Value) -> Value:
    body = picked(arguments, _QUESTION)
    path = f"{api.base}/questions"
    if "task_id" in arguments and api.role is not Role.WORKER:
        path = f"{api.base}/tasks/{segment(arguments['task_id'])}/questions"
    asked = await api.post(path, body, once=True)
    return await _get_answer(api, {"key": asked["key"], "hold": arguments["hold"]})


async def _get_answer(api: Api, arguments: Value) -> Value:
    return answer_of(await api.get(f"{api.base}/questions/{segment(arguments['key'])}", hold=arguments["hold"]))


async def _withdraw(api: Api, arguments: Value) -> Value:
    path = f"{api.base}/questions/{segment(arguments['key'])}/withdraw"
    return answer_of(await api.post(path, picked(arguments, ("reason",))))


ASKING: tuple[Tool, ...] = (
    Tool(
        name="ask_human",
        text="Ask a person and wait for the answer. It may take days: while it is open, call get_answer with its key.",
        roles=ASKERS,
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
            "task_id": {**ID, "description": "The task that it is about; with a worker's key needed, and its own."},
            "once": ONCE,
            "hold": HOLD,
        },
        needs=("question",),
        gives=ANSWER,
        hints=AGAIN | {"open_world"},
        run=_ask,
        about="task_id",
        holds=True,
        follows=True,
    ),
    Tool(
        name="get_answer",
        text="Read a question that was asked before, and wait for its answer.",
        roles=ASKERS,
        takes={"key": ID, "hold": HOLD},
        needs=("key",),
        gives=ANSWER,
        hints=READS,
        run=_get_answer,
        about="key",
        holds=True,
    ),
    Tool(
        name="withdraw_question",
        text="Withdraw a question that needs no answer any more.",
        roles=(Role.OPERATOR,),
        takes={"key": ID, "reason": TEXT},
        needs=("key",),
        gives=ANSWER,
        hints=AGAIN,
        run=_withdraw,
    ),
    Tool(
        name="approve",
        text="Ask a person whether a tool may be used, for --permission-prompt-tool. An approval lets it run once.",
        roles=ASKERS,
        takes={"tool_name": ID, "input": OBJECT, "tool_use_id": ID},
        needs=("tool_name", "input"),
        gives=None,
        run=approve,
        holds=True,
    ),
)
