"""An operator: starts a few tasks for the queue worker, with a policy for failures, and waits for all of them.

python examples/start_tasks.py
"""

import asyncio

from settings import QUEUE, URL, api_key

from swarmhold import QueueSpawner, Retry, SwarmholdClient

TEXTS = ("the quick brown fox", "the fox und der Hund", "to be or not to be")
RETRY = Retry(max_attempts=3, backoff=1)


async def main() -> None:
    """Start, dispatch, wait, show."""
    async with SwarmholdClient(URL) as client:
        operator = await client.attach_operator(api_key(), "example-operator")
        tasks = [await operator.start_task("counter", text, retry=RETRY, labels={"example": "1"}) for text in TEXTS]
        for task in tasks:
            await operator.dispatch(task.id, QueueSpawner(queue=QUEUE))
        for settled in await asyncio.gather(*(operator.wait_for(task.id) for task in tasks)):
            print(f"{settled.id} {settled.status}: {settled.last_result}")
        await operator.detach()


asyncio.run(main())
