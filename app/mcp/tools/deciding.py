"""Tools of seniors: their questions, and what becomes of tasks and of dispatching."""

from __future__ import annotations

from app.domain.access import Role
from app.mcp.calls import Api, CallFailed, Value, segment
from app.mcp.persons import offered
from app.mcp.tools.answers import ANSWER, answer_of
from app.mcp.tools.runs import RUN, run_of
from app.mcp.tools.tool import AGAIN, ID, READS, TEXT, Tool, picked

_SENIORS = (Role.SENIOR,)
_REVIEWED: Value = {
    "type": "object",
    "properties": {
        "questions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"key": TEXT, "status": TEXT, "answer": {}},
                "required": ["key", "status"],
            },
        }
    },
    "required": ["questions"],
}
_NOT_ASKED: Value = {
    "title": "The question is not for this person",
    "status": 403,
    "code": "asker-cannot-answer",
    "detail": "No question is put to one who asked it, nor by a door that it is closed to. Let another person answer.",
}


async def _list_questions(api: Api, arguments: Value) -> Value:
    return await api.get("/v1/senior/questions", **arguments)


async def _review(api: Api, arguments: Value) -> Value:
    """Ask the person at the client. The answer is theirs alone: no argument of the model has a part in it."""
    asking = api.asking
    key: str | None = arguments.get("key") or (None if asking is None else asking.asked)
    if key is None:
        keys = await offered(api)
        if not keys:
            return {"questions": []}
        key = keys[0]
    question = await _seen(api, key)
    if question["status"] == "open":
        if asking is None or not await offered(api, key=key):
            raise CallFailed(_NOT_ASKED)
        elsewhere = await asking.ask(api, question)
        hold = api.server.settings.doors.hold.total_seconds() if elsewhere else 0
        question = await _seen(api, key, hold=hold)
    return {"questions": [picked(question, ("key", "status", "answer"))]}


async def _seen(api: Api, key: str, *, hold: float = 0) -> Value:
    return await api.get(f"{api.base}/questions/{segment(key)}", hold=hold)


async def _answer_question(api: Api, arguments: Value) -> Value:
    path = f"/v1/senior/questions/{segment(arguments['key'])}/answer"
    return answer_of(await api.post(path, picked(arguments, ("value",))))


async def _override(api: Api, arguments: Value) -> Value:
    path = f"/v1/senior/tasks/{segment(arguments['task_id'])}/verdict"
    return run_of(await api.post(path, picked(arguments, ("ok", "value"))))


async def _inject(api: Api, arguments: Value) -> Value:
    path = f"/v1/senior/tasks/{segment(arguments['task_id'])}/directive"
    return await api.post(path, picked(arguments, ("prompt",)))


async def _pause(api: Api, arguments: Value) -> Value:
    del arguments
    return await api.post("/v1/senior/loop/pause")


async def _resume(api: Api, arguments: Value) -> Value:
    del arguments
    return await api.post("/v1/senior/loop/resume")


DECIDING: tuple[Tool, ...] = (
    Tool(
        name="list_questions",
        text="List questions, oldest first.",
        roles=_SENIORS,
        takes={"status": TEXT, "bridge_id": TEXT, "limit": {"type": "integer"}, "cursor": TEXT},
        hints=READS,
        run=_list_questions,
    ),
    Tool(
        name="review",
        text="Ask the person at this client to answer an open question: the one with this key, or the oldest.",
        roles=_SENIORS,
        takes={"key": ID},
        gives=_REVIEWED,
        hints=frozenset({"open_world"}),
        run=_review,
        holds=True,
        asks=True,
    ),
    Tool(
        name="answer_question",
        text="Answer a question as a senior agent. The first answer wins.",
        roles=_SENIORS,
        takes={"key": ID, "value": {}},
        needs=("key", "value"),
        gives=ANSWER,
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
        gives=RUN,
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
