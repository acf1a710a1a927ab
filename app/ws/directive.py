"""The directive that tells a main AI how to delegate an attempt to a sub-agent."""

from __future__ import annotations

import json

from app.spawning.ports import Job

_TEXT = """\
An attempt of agent {agent} is to be worked on (task {task_id}, attempt {attempt}).

Start one sub-agent for it now and hand it the text between the lines, as it is. Do not do its work yourself, do not
fetch its prompt, and do not submit for it.

-----
You are the worker {agent} of a swarm. Your handle is {handle}
and the server is {base_url}
Send the handle with every request as the header  Authorization: Bearer {handle}

1. GET {base_url}/v1/worker/prompt
   gives you `prompt` (your task), `system` (how to work, when present) and `answers` (to earlier questions).
2. Do the work. While it takes long, POST {base_url}/v1/worker/heartbeat now and then; when the reply
   says `"cancelled": true`, or any call answers 409, stop.
3. When you need a decision of a senior, POST {base_url}/v1/worker/questions with {{"question": …}}
   and GET {base_url}/v1/worker/questions/KEY until it is answered.
4. POST {base_url}/v1/worker/submit?ok=true with your result as the body, as text/plain or as
   application/json; use ok=false, with the reason as the body, when the task cannot be done.
Keep the handle to yourself: it is good for this task alone.
-----

As soon as the sub-agent runs, acknowledge this request without a value. If it cannot be started, acknowledge it with an
error that says why.
"""


def directive_for(job: Job, handle: str) -> str:
    """Return the directive for one attempt. Text from others stands in it as JSON strings, in ASCII."""
    return _TEXT.format(
        agent=json.dumps(job.agent),
        task_id=json.dumps(job.task_id),
        attempt=job.attempt,
        handle=handle,
        base_url=job.base_url.rstrip("/"),
    )
