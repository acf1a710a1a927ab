"""What the conformance program expects of a server: skills of these names, and a worker that carries them out."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from swarmhold import JobFailed
from swarmhold.jobs import Job
from swarmhold.models.enums import QuestionStatus
from swarmhold.models.shapes import JsonValue

_HOLD = timedelta(seconds=20)
QUEUE = "conformance"
_OBJECT: dict[str, Any] = {"type": "object"}
_CONFIRM = {"type": "object", "properties": {"confirm": {"type": "boolean"}}, "required": ["confirm"]}
_NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


async def _answered(job: Job, key: str) -> JsonValue:
    while (question := await job.worker.question(key, hold=_HOLD)).status is QuestionStatus.OPEN:
        pass
    return question.answer


async def _greet(job: Job, given: dict[str, Any]) -> JsonValue:
    return f"Hello, {given['name']}!"


async def _compute(job: Job, given: dict[str, Any]) -> JsonValue:
    await asyncio.sleep(given.get("seconds", 0))
    return f"computed {given.get('label', '')}".strip()


async def _fail(job: Job, given: dict[str, Any]) -> JsonValue:
    raise JobFailed("this job always fails")


async def _break(job: Job, given: dict[str, Any]) -> JsonValue:
    raise RuntimeError("this worker is broken")


async def _confirm(job: Job, given: dict[str, Any]) -> JsonValue:
    question = f"Delete {given.get('filename', 'it')}?"
    asked = await job.worker.ask(question, idempotency_key="confirm", answer_schema=_CONFIRM)
    return "deleted" if await _answered(job, asked.key) == {"confirm": True} else "kept"


async def _ask_twice(job: Job, given: dict[str, Any]) -> JsonValue:
    schemas = (_NAME, _CONFIRM)
    asked = [
        await job.worker.ask(f"question {number}", idempotency_key=str(number), answer_schema=schema)
        for number, schema in enumerate(schemas)
    ]
    return json.dumps([await _answered(job, one.key) for one in asked])


WORK: dict[str, Callable[[Job, dict[str, Any]], Awaitable[JsonValue]]] = {
    "greet": _greet,
    "slow_compute": _compute,
    "failing_job": _fail,
    "protocol_error_job": _break,
    "confirm_delete": _confirm,
    "multi_input": _ask_twice,
}

SKILLS = [
    {
        "name": name,
        "description": f"The fixture {name}.",
        "agent": name,
        "queue": QUEUE,
        "input_schema": _NAME if name == "greet" else _OBJECT,
        "task": name != "greet",
    }
    for name in WORK
]
"""`greet` alone answers in its call; the others are tasks for clients that follow them."""


async def work(job: Job) -> JsonValue:
    """Carry out a call of one of the skills."""
    return await WORK[job.agent](job, json.loads(job.prompt))
