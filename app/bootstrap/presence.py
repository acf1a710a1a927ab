"""Where the server of a data directory is reached: a note beside the data, for commands on the same machine."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.bootstrap import places
from app.bootstrap.failures import StartFailed

FILE = "server.json"


@dataclass(frozen=True, slots=True)
class Presence:
    """A server that announced itself, and has not left since, unless it was killed."""

    pid: int
    url: str

    @property
    def alive(self) -> bool:
        """Whether there is a process of this id."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def announce(data_dir: Path, url: str) -> None:
    """Leave the note. A server works without it, so that nothing is raised."""
    with suppress(StartFailed):
        places.replace(data_dir / FILE, orjson.dumps({"pid": os.getpid(), "url": url}))


def withdraw(data_dir: Path) -> None:
    """Take the note away."""
    with suppress(OSError):
        (data_dir / FILE).unlink()


def look(data_dir: Path) -> Presence | None:
    """The server of this data directory, if one announced itself and lives."""
    try:
        read: dict[str, Any] = orjson.loads((data_dir / FILE).read_bytes())
        found = Presence(int(read["pid"]), str(read["url"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return found if found.alive else None
