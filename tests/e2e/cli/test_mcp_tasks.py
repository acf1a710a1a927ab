"""A task of the MCP door after its client and the server were killed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from swarmhold import SwarmholdClient
from swarmhold.models.enums import Role
from tests.support.mcp_clients import about, connected
from tests.support.processes import ServerProcess

_CLIENT = """
import asyncio, sys
from tests.support.mcp_clients import connected, started

async def main():
    async with connected(sys.argv[1], sys.stdin.readline().strip()) as client:
        print((await started(client, "ask_human", question="Deploy?"))["taskId"], flush=True)
        print((await started(client, "start_task", agent="a", directive="x"))["taskId"], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def follower(url: str, key: str) -> Iterator[list[str]]:
    """The ids of a question and a task that a client in a process of its own follows; at the end it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _CLIENT, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            print(key, file=program.stdin, flush=True)
            yield [program.stdout.readline().strip() for _ in range(2)]
        finally:
            program.kill()


async def test_a_task_outlives_its_client_and_the_server(node: ServerProcess) -> None:
    """Both are killed; another client with the same key follows the tasks by their ids, to their ends."""
    async with SwarmholdClient(node.url) as server:
        admin = server.admin(node.root_key())
        key = (await admin.create_key("follower", [Role.OPERATOR])).key
    with follower(node.url, key) as (question, task):
        await asyncio.to_thread(node.kill)
    await asyncio.to_thread(node.start)
    async with connected(node.url, key) as client:
        for task_id in (question, task):
            assert (await about(client, "tasks/get", task_id))["status"] == "working"
        async with SwarmholdClient(node.url) as server:
            senior = await server.attach_senior(node.root_key(), "judge")
            await senior.answer(question, "yes")
        done = await about(client, "tasks/get", question)
        assert (done["status"], done["result"]["structuredContent"]["answer"]) == ("completed", "yes")
        assert await about(client, "tasks/cancel", task) == {}
        assert (await about(client, "tasks/get", task))["status"] == "cancelled"
