"""A worker that claims from a queue until it is stopped (Ctrl-C), three jobs at a time.

    python examples/queue_worker.py

It counts words. Whether a text is English or German is not always clear; then it asks a senior.
"""

import asyncio
import signal

from settings import QUEUE, URL, api_key

from swarmhold import Job, JobFailed, JsonValue, SwarmholdClient


async def work(job: Job) -> JsonValue:
    """What is returned is submitted as a pass, what is raised as a failure."""
    print(f"{job.task_id}, attempt {job.attempt}: {job.prompt[:60]}")
    words = job.prompt.split()
    if not words:
        raise JobFailed({"error": "there is nothing to count"})
    await job.worker.progress("counted", f"{len(words)} words")
    language = "en"
    if {"the", "und"} <= set(words):
        question = await job.worker.ask("Which language is this?", choices=["en", "de"])
        # The answer may take days, and both processes may be restarted meanwhile.
        language = str(await job.worker.await_answer(question.key))
    return {"words": len(words), "language": language}


async def main() -> None:
    """Run until a signal; claimed jobs are finished first."""
    async with SwarmholdClient(URL) as client:
        worker = client.queue_worker(api_key(), QUEUE, work, concurrency=3, name="example")
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        print(f"claiming from {QUEUE!r} at {URL}", flush=True)
        await worker.run()


asyncio.run(main())
