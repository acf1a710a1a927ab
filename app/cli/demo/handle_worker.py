"""A worker of the `external` spawner: the dispatcher starts it, and its only credential is a handle."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta
from typing import Any

from app.cli.demo.queue_worker import QUEUE
from swarmhold import SwarmholdClient, Worker
from swarmhold.models.attempts import Retry
from swarmhold.models.shapes import JsonValue
from swarmhold.models.spawners import QueueSpawner

RETRY = Retry(max_attempts=6, backoff=0.2, max_backoff=2.0)
HOLD = timedelta(seconds=20)


async def survey(worker: Worker, task_id: str, names: list[str]) -> JsonValue:
    """Let a child task read each file, and add up their results."""
    children: list[str] = []
    for name in names:
        directive = json.dumps({"path": name})
        # The idempotency keys make it safe to repeat a call after a broken connection.
        child = await worker.start_task(
            "statistician", directive, retry=RETRY, idempotency_key=f"child-{task_id}-{name}"
        )
        await worker.dispatch(child.id, QueueSpawner(queue=QUEUE, priority=1), idempotency_key=f"go-{child.id}")
        children.append(child.id)
    await worker.progress("fanned out", f"{len(children)} children")
    found: list[Any] = [(await worker.wait_for(child, hold=HOLD)).last_result for child in children]
    return {
        "children": [*children],
        "files": len(found),
        "lines": sum(result["lines"] for result in found),
        "words": sum(result["words"] for result in found),
    }


async def edit(worker: Worker, task_id: str, names: list[str]) -> JsonValue:
    """Ask a senior to choose among the files."""
    question = await worker.ask(
        {"text": "Which of these should be read first?", "task": task_id},
        choices=[*names],
        idempotency_key=f"ask-{task_id}",
    )
    return {"asked": question.key, "chosen": await worker.await_answer(question.key, hold=HOLD)}


async def run(base_url: str, handle: str) -> None:
    """Fetch the prompt, do the work of its agent, and submit the result."""
    async with SwarmholdClient(base_url) as server:
        worker = server.worker(handle)
        job = await worker.prompt()
        planned = survey if job.agent == "surveyor" else edit
        await worker.submit(await planned(worker, job.task_id, json.loads(job.prompt)["paths"]))


if __name__ == "__main__":
    asyncio.run(run(os.environ["SWARMHOLD_BASE_URL"], os.environ["SWARMHOLD_HANDLE"]))
