"""Functions that a tested server runs inside itself."""

import asyncio
import os
from typing import Any

import orjson

from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.adapters.in_process import FunctionJob
from tests.support.ports import LOOPBACK

DESK = "RIG_DESK"
"""The variable of the server's environment that says at which port the control server is."""


async def obey(job: FunctionJob) -> Any:
    """Dial the control server and obey it. The connection is closed with the function, however it ends."""
    reader, writer = await asyncio.open_connection(LOOPBACK, int(os.environ[DESK]))
    try:
        hello = {"task_id": job.task_id, "attempt": job.attempt, "handle": await job.handle(), "pid": os.getpid()}
        writer.write(orjson.dumps(hello) + b"\n")
        order = orjson.loads(await reader.readline())
        if order["do"] == "fail":
            raise RuntimeError(order["why"])
        return Final(value=Json.of(order["value"]), ok=order["ok"])
    finally:
        writer.close()
