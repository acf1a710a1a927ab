"""The program of the `process` spawner: fetches its prompt by handle, and writes a summary to standard output.

It uses the standard library alone: a worker needs HTTP and JSON, in any language.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from app.cli.demo import text_analysis
from app.cli.demo.corpus import locate


def fetch_prompt() -> dict[str, Any]:
    """Fetch the prompt of the attempt whose handle is in the environment."""
    request = urllib.request.Request(  # noqa: S310 - the URL is the server's own
        f"{os.environ['SWARMHOLD_BASE_URL']}/v1/worker/prompt",
        headers={"Authorization": f"Bearer {os.environ['SWARMHOLD_HANDLE']}"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - the URL is the server's own
        return json.load(reply)


def main() -> None:
    """Summarise the file that the prompt names."""
    prompt = fetch_prompt()["prompt"]
    if prompt != sys.stdin.read():
        sys.exit("the prompt on standard input differs from the one that the server returns")
    name = json.loads(prompt)["path"]
    text = locate(Path(os.environ["DEMO_ROOT"]), name).read_text(encoding="utf-8")
    print(json.dumps({"type": "progress", "stage": "read", "note": name}), flush=True)
    found = {"path": name, **text_analysis.summary(text)}
    print(json.dumps({"type": "final", "content": {"kind": "inline", "value": found}, "ok": True}))


if __name__ == "__main__":
    main()
