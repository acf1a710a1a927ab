"""A worker process of the demo: claims attempts from a queue and reads their files, until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

from app.cli.demo import text_analysis
from app.cli.demo.corpus import locate
from swarmhold import Job, JobFailed, SwarmholdClient
from swarmhold.call_retry import CallRetry
from swarmhold.models.shapes import JsonValue

QUEUE = "reading"
CONCURRENCY = 4


async def work(job: Job) -> JsonValue:
    """Return the results for the file that the prompt names."""
    name = json.loads(job.prompt)["path"]
    path = locate(Path(os.environ["DEMO_ROOT"]), name)
    text = path.read_text(encoding="utf-8")
    match job.agent:
        case "statistician":
            return {"path": name, **text_analysis.statistics(text)}
        case "inspector":
            found = text_analysis.findings(text, path)
            if found["broken"]:
                await job.worker.artifact("broken-links", found["broken"])
            return {"path": name, **found}
        case "stumbler":
            if job.attempt == 1:
                raise RuntimeError(f"stumbled over {name}, as it always does at first")
            return {"path": name, "attempt": job.attempt, **text_analysis.statistics(text)}
        case other:
            raise JobFailed({"error": f"there is no agent {other} here"})


async def run(base_url: str, api_key: str) -> None:
    """Work until SIGTERM, through restarts of the server."""
    async with SwarmholdClient(base_url, call_retry=CallRetry()) as server:
        worker = server.queue_worker(api_key, QUEUE, work, concurrency=CONCURRENCY, name=f"reader-{os.getpid()}")
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(run(os.environ["SWARMHOLD_BASE_URL"], os.environ["SWARMHOLD_KEY"]))
