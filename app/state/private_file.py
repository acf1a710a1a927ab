"""Files that hold secrets: made anew, and readable by their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

MODE = 0o600


def create(path: Path) -> int:
    """Create a file and return its descriptor, open for writing.

    Raises FileExistsError when anything has the name, a symbolic link included, and OSError.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
