"""The system's Chromium, which the browser tests drive: a browser is no Python package."""

import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> Path | None:
    """The installed Chromium, or None."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return None if found is None else Path(found)
