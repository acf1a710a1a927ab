"""A whole worker in the standard library: fetch the prompt by handle, work, submit.

    SWARMHOLD_HANDLE=wh-… python examples/worker.py

The handle comes from the dispatcher of the attempt; the process spawner sets it for the programs that it starts.
"""

import json
import os
import urllib.request
from typing import Any

URL = os.environ.get("SWARMHOLD_BASE_URL", "http://127.0.0.1:7777")
HANDLE = os.environ["SWARMHOLD_HANDLE"]


def call(method: str, path: str, body: Any = None) -> Any:
    """One request with the handle; the reply's JSON, or None when there is none."""
    request = urllib.request.Request(  # noqa: S310 - the URL is the one that was given
        f"{URL}/v1/worker{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {HANDLE}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - as above
        content = reply.read()
    return json.loads(content) if content else None


def work(prompt: str) -> dict[str, Any]:
    """The work itself; put yours here."""
    words = prompt.split()
    return {"words": len(words), "longest": max(words, key=len, default="")}


job = call("GET", "/prompt")
print(f"{job['task_id']}, attempt {job['attempt']}: {job['prompt']}")
call("POST", "/output", {"type": "progress", "stage": "working"})
call("POST", "/submit", work(job["prompt"]))
print("done")
