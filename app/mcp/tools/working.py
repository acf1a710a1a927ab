"""Tools of a worker: its assignment, its progress and its result."""

from __future__ import annotations

from app.domain.access import Role
from app.mcp.calls import Api, Value, refused
from app.mcp.tools.tool import AGAIN, HOLD, ID, OBJECT, READS, TEXT, Tool, picked


async def _claim(api: Api, arguments: Value) -> Value:
    found = await api.post("/v1/worker/claim", arguments, once=True)
    # The handle stays here: the key itself, with the assignment's name, is the credential of what follows.
    return _named(picked(found, _PROMPT)) if found else {"assignment": None}


def _named(found: Value) -> Value:
    """Return what a worker is to do, under the name of the assignment."""
    return {"assignment": f"{found.pop('task_id')}.{found.pop('attempt')}", **found}


async def _assignment(api: Api, arguments: Value) -> Value:
    del arguments
    return _named(await api.get("/v1/worker/prompt"))


async def _progress(api: Api, arguments: Value) -> Value:
    await api.post("/v1/worker/output", {"type": "progress", **picked(arguments, ("stage", "note"))}, once=True)
    pulse = await api.post("/v1/worker/heartbeat")
    return {"accepted": True, "cancelled": pulse["cancelled"]}


async def _submit(api: Api, arguments: Value) -> Value:
    ok = arguments.get("ok", True)
    if not isinstance(ok, bool):
        raise refused("ok is true or false.")
    await api.post("/v1/worker/submit", arguments["value"], ok=str(ok).lower())
    return {"accepted": True, "cancelled": False}


_ASSIGNMENT: Value = {**ID, "description": "The assignment that claim_assignment returned; needed with a key."}
_PROMPT = ("task_id", "attempt", "agent", "prompt", "system", "answers")

WORKING: tuple[Tool, ...] = (
    Tool(
        name="claim_assignment",
        text="Take the next assignment of a queue, waiting for one. Name it in each later call; null: nothing to do.",
        roles=(Role.WORKER,),
        takes={"queue": ID, "agents": {"type": "array", "items": ID, "minItems": 1}, "hold": HOLD},
        needs=("queue",),
        gives={
            "type": "object",
            "properties": {
                "assignment": {"type": ["string", "null"]},
                "agent": TEXT,
                "prompt": TEXT,
                "system": TEXT,
                "answers": {"type": "array", "items": OBJECT},
            },
            "required": ["assignment"],
        },
        run=_claim,
        holds=True,
        claims=True,
    ),
    Tool(
        name="get_assignment",
        text="Read what this worker is to do, and the answers so far.",
        roles=(Role.WORKER,),
        takes={"assignment": _ASSIGNMENT},
        hints=READS,
        run=_assignment,
        about="assignment",
    ),
    Tool(
        name="report_progress",
        text="Say how far the work is; the reply says whether to stop.",
        roles=(Role.WORKER,),
        takes={"assignment": _ASSIGNMENT, "stage": ID, "note": TEXT},
        needs=("stage",),
        run=_progress,
        about="assignment",
    ),
    Tool(
        name="submit_result",
        text="Submit the result of the assignment, which ends it. ok=false reports that it could not be done.",
        roles=(Role.WORKER,),
        takes={"assignment": _ASSIGNMENT, "value": {}, "ok": {"type": "boolean"}},
        needs=("value",),
        hints=AGAIN,
        run=_submit,
        about="assignment",
    ),
)
