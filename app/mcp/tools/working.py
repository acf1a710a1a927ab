"""Tools of a worker: its assignment, its progress and its result."""

from __future__ import annotations

from app.domain.access import Role
from app.mcp.calls import Api, Value, refused
from app.mcp.tools.tool import AGAIN, ID, READS, TEXT, Tool


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


WORKING: tuple[Tool, ...] = (
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
)
