"""Where the examples find the server and a key for it."""

import os
from pathlib import Path

URL = os.environ.get("SWARMHOLD_URL", "http://127.0.0.1:7777")
QUEUE = os.environ.get("QUEUE", "examples")


def api_key() -> str:
    """The key of the environment, or the root key of the data directory."""
    given = os.environ.get("SWARMHOLD_KEY")
    return given or (Path(os.environ.get("SWARMHOLD_DATA_DIR", "data")) / "root.key").read_text().strip()
