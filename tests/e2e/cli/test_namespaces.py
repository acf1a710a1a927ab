"""The namespaces of commands: the root key works in the one that it names, any other key in its own."""

import asyncio
import json

from swarmhold import Job, QueueSpawner, SwarmholdClient
from tests.e2e.cli.conftest import Command, surroundings
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually


def _agents(done: str) -> list[str]:
    return [task["spec"]["agent"] for task in json.loads(done)]


def test_the_root_key_works_in_the_namespace_that_it_names(swarmhold: Command, node: ServerProcess) -> None:
    """A task that was started in a namespace is listed, shown and cancelled there alone; keys and webhooks likewise."""
    made = json.loads(swarmhold("keys", "create", "ann", "--role", "operator", "--namespace", "sea", "--json").stdout)
    swarmhold("run", "diver", "Go down", "--no-wait", "--namespace", "sea")
    named = {**surroundings(node), "SWARMHOLD_NAMESPACE": "sea"}
    owned = {**surroundings(node), "SWARMHOLD_KEY": made["key"]}

    assert _agents(swarmhold("tasks", "ls", "--json").stdout) == []
    assert _agents(swarmhold("tasks", "ls", "--json", "--namespace", "sea").stdout) == ["diver"]
    assert _agents(swarmhold("tasks", "ls", "--json", env=named).stdout) == ["diver"]
    assert _agents(swarmhold("tasks", "ls", "--json", env=owned).stdout) == ["diver"]
    (task,) = json.loads(swarmhold("tasks", "ls", "--json", env=named).stdout)
    assert "task-not-found" in swarmhold("tasks", "show", task["id"], status=1).stderr
    assert "diver" in swarmhold("tasks", "show", task["id"], "--namespace", "sea").stdout
    assert task["id"] not in swarmhold("events", "--json").stdout
    assert task["id"] in swarmhold("events", "--json", "--namespace", "sea").stdout
    assert "another namespace" in swarmhold("tasks", "ls", "--namespace", "air", env=owned, status=1).stderr

    listed = {key["name"]: key["namespace"] for key in json.loads(swarmhold("keys", "list", "--json").stdout)}
    assert listed["ann"] == "sea"
    assert "sea" in swarmhold("namespaces").stdout


async def test_a_queue_worker_claims_in_the_namespace_that_it_names(node: ServerProcess) -> None:
    """Queues of one name in two namespaces are two; the root key says which one it serves."""
    done: list[str] = []

    async def work(job: Job) -> str:
        done.append(job.agent)
        return "done"

    async with SwarmholdClient(node.url) as server:
        for namespace in ("earth", "moon"):
            operator = await server.attach_operator(node.root_key(), f"op-{namespace}", namespace=namespace)
            task = await operator.start_task(namespace, "Dig")
            await operator.dispatch(task.id, QueueSpawner(queue="digging"))
        worker = server.queue_worker(node.root_key(), "digging", work, namespace="moon")
        running = asyncio.create_task(worker.run())
        await eventually(lambda: done or None)
        worker.stop()
        await running
    assert done == ["moon"]
