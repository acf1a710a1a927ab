"""Tools that start, read and cancel tasks."""

from __future__ import annotations

from app.domain.access import Role
from app.mcp.calls import Api, Value, refused, segment
from app.mcp.tools.runs import RUN, run_of
from app.mcp.tools.tool import AGAIN, ASKERS, HOLD, ID, OBJECT, ONCE, READS, TEXT, Tool, picked

_READERS = (Role.OPERATOR, Role.OBSERVER, Role.SENIOR)


async def _start(api: Api, arguments: Value) -> Value:
    if "queue" in arguments and "spawner" in arguments:
        raise refused("Give a queue or a spawner, not both.")
    spec = {"initial_directive": arguments["directive"], **picked(arguments, ("agent", "labels", "retry"))}
    path = f"{api.base}/tasks"
    task = await api.post(path, spec, once=True)
    at = f"{path}/{task['id']}"
    spawner = {"kind": "queue", "queue": arguments["queue"]} if "queue" in arguments else arguments.get("spawner")
    if spawner is None:
        return run_of(task)
    if task["attempt"] == 0 and task["status"] == "pending":
        # The reply has a worker's handle for some spawners; no tool gives one away.
        await api.post(f"{at}/dispatch", {"spawner": spawner}, once=True)
    return run_of(await api.get(f"{at}/poll", hold=arguments["hold"]))


async def _get_task(api: Api, arguments: Value) -> Value:
    return run_of(await api.get(f"{api.base}/tasks/{segment(arguments['task_id'])}"))


async def _why(api: Api, arguments: Value) -> Value:
    return await api.get(f"/v1/operator/tasks/{segment(arguments['task_id'])}/why")


async def _list_tasks(api: Api, arguments: Value) -> Value:
    return await api.get("/v1/operator/tasks", **arguments)


async def _cancel(api: Api, arguments: Value) -> Value:
    return run_of(
        await api.post(f"{api.base}/tasks/{segment(arguments['task_id'])}/cancel", picked(arguments, ("reason",)))
    )


TASKS: tuple[Tool, ...] = (
    Tool(
        name="start_task",
        text="Start a task of an agent. With a queue or a spawner it is dispatched; without one it stays pending.",
        roles=ASKERS,
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
        gives=RUN,
        hints=frozenset({"open_world"}),
        run=_start,
        holds=True,
        follows=True,
    ),
    Tool(
        name="get_task",
        text="Read a task: its status and, when there is one, its result.",
        roles=_READERS,
        takes={"task_id": ID},
        needs=("task_id",),
        gives=RUN,
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
        gives=RUN,
        hints=AGAIN | {"destructive"},
        run=_cancel,
    ),
)
