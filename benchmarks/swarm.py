"""Setup for the benchmarks of the API: sessions, tasks, handles."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from benchmarks.load import Connection, connect, request

DISPATCH = json.dumps({"spawner": {"kind": "external"}}).encode()
TASK = json.dumps({"agent": "bench", "initial_directive": "Say hello to the world."}).encode()


async def attach(base_url: str, root_key: str, role: str = "operator") -> str:
    """Attach a session and return its token."""
    line = await connect(base_url)
    body = json.dumps({"operator_id": f"bench-{role}", "role": role, "ttl": 36_000}).encode()
    status, reply = await line.send(request("POST", "/v1/operator/sessions", root_key, body))
    line.close()
    if status != 201:
        raise RuntimeError(f"attach: {status} {reply[:200]!r}")
    return str(json.loads(reply)["token"])


async def start(line: Connection, token: str) -> tuple[str, str]:
    """Create and dispatch a task; return its id and handle."""
    status, reply = await line.send(request("POST", "/v1/operator/tasks", token, TASK))
    if status != 201:
        raise RuntimeError(f"create: {status} {reply[:200]!r}")
    task_id = str(json.loads(reply)["id"])
    status, reply = await line.send(request("POST", f"/v1/operator/tasks/{task_id}/dispatch", token, DISPATCH))
    if status != 202:
        raise RuntimeError(f"dispatch: {status} {reply[:200]!r}")
    return task_id, str(json.loads(reply)["worker_handle"])


async def handles(base_url: str, token: str, count: int, *, connections: int = 64) -> list[tuple[str, str]]:
    """Create and dispatch `count` tasks; return their ids and handles."""
    made: list[tuple[str, str]] = []
    left = iter(range(count))

    async def work() -> None:
        line = await connect(base_url)
        made.extend([await start(line, token) for _ in left])
        line.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return made


def decoded(reply: tuple[int, bytes]) -> Any:
    """Return the decoded body of a reply."""
    return json.loads(reply[1])
