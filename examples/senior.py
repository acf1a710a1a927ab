"""A senior by rule: answers every question over the WebSocket as it arrives, until Ctrl-C.

    python examples/senior.py

With choices it takes the last one; without, it says that it does not know. A person uses `swarmhold senior` or the web
console instead. A question belongs to the bridge's id: what was asked while nobody was here is delivered on connecting.
"""

import asyncio

from settings import URL, api_key

from swarmhold import AnswerRejected, SwarmholdClient


async def main() -> None:
    """Answer for ever; the connection is made again when it breaks."""
    async with SwarmholdClient(URL) as client:
        senior = await client.attach_senior(api_key(), "example-senior")
        async with senior.console("example-desk") as console:
            print("waiting for questions", flush=True)
            async for ask in console:
                answer = ask.options[-1].value if ask.options else "I do not know."
                print(f"{ask.agent} asks {ask.question!r}: {answer!r}", flush=True)
                try:
                    await console.answer(ask.key, answer)
                except AnswerRejected as rejected:  # somebody else was faster, or it breaks the schema
                    print(rejected)


asyncio.run(main())
