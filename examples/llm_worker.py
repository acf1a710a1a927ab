"""A queue worker whose work is done by a model.

    OPENAI_API_KEY=… [OPENAI_BASE_URL=https://…/v1] [MODEL=…] python examples/llm_worker.py
    ANTHROPIC_API_KEY=… [ANTHROPIC_BASE_URL=https://…] [MODEL=…] python examples/llm_worker.py

The first form speaks to any endpoint that is compatible with OpenAI's chat completions. Whether the model's text is
taken is asked of a senior when the prompt begins with `ask:`. Answers of earlier attempts are part of the prompt.
"""

import asyncio
import os
import signal
from typing import Any

import httpx
from settings import QUEUE, URL, api_key

from swarmhold import Job, JobFailed, JsonValue, SwarmholdClient

LONGEST_S = 300.0
MAX_TOKENS = 2048


class EndpointFailed(Exception):
    """The model's endpoint gave no answer; a later attempt may get one."""


def request_of(system: str, prompt: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body of one completion, for the endpoint that the environment has a key for."""
    messages = [{"role": "user", "content": prompt}]
    if key := os.environ.get("ANTHROPIC_API_KEY"):
        base = os.environ.get("ANTHROPIC_BASE_URL", "https://api.anthropic.com").rstrip("/")
        body = {"model": os.environ.get("MODEL", "claude-sonnet-4-5"), "max_tokens": MAX_TOKENS, "messages": messages}
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        return f"{base}/v1/messages", headers, body | ({"system": system} if system else {})
    if key := os.environ.get("OPENAI_API_KEY"):
        base = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")
        said = [{"role": "system", "content": system}, *messages] if system else messages
        body = {"model": os.environ.get("MODEL", "gpt-4o-mini"), "max_tokens": MAX_TOKENS, "messages": said}
        return f"{base}/chat/completions", {"Authorization": f"Bearer {key}"}, body
    raise SystemExit("Set OPENAI_API_KEY or ANTHROPIC_API_KEY.")


def text_of(reply: dict[str, Any]) -> str:
    """The text of a reply of either kind."""
    if "choices" in reply:
        return str(reply["choices"][0]["message"]["content"])
    return "".join(part["text"] for part in reply["content"] if part["type"] == "text")


async def complete(http: httpx.AsyncClient, system: str, prompt: str) -> str:
    """The model's text. Raises EndpointFailed, which the task's retry policy covers by default."""
    url, headers, body = request_of(system, prompt)
    try:
        reply = await http.post(url, headers=headers, json=body)
        reply.raise_for_status()
        return text_of(reply.json())
    except httpx.HTTPStatusError as error:
        raise EndpointFailed(f"the endpoint answered {error.response.status_code}") from error
    except (httpx.TransportError, KeyError, IndexError, ValueError) as error:
        raise EndpointFailed(f"no usable reply: {type(error).__name__}") from error


async def work(job: Job, http: httpx.AsyncClient) -> JsonValue:
    """Let the model write, and let a senior decide where that was asked for."""
    prompt = job.prompt.removeprefix("ask:").strip()
    known = "\n".join(f"Asked: {one.question}\nAnswered: {one.answer}" for one in job.answers)
    await job.worker.progress("asking the model")
    text = await complete(http, job.system or "", f"{prompt}\n\n{known}".strip())
    if job.prompt.startswith("ask:"):
        question = await job.worker.ask({"proposal": text}, choices=["accept", "refuse"])
        if await job.worker.await_answer(question.key) != "accept":
            raise JobFailed({"refused": text})
    return {"text": text}


async def main() -> None:
    """Claim until a signal."""
    request_of("", "")  # a missing key is reported before anything is claimed
    async with SwarmholdClient(URL) as client, httpx.AsyncClient(timeout=LONGEST_S) as http:
        worker = client.queue_worker(api_key(), QUEUE, lambda job: work(job, http), concurrency=4, name="model")
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        print(f"claiming from {QUEUE!r} at {URL}", flush=True)
        await worker.run()


asyncio.run(main())
