"""The pidfile of a data directory: process id and URL of the server that uses it, for commands on the same machine."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.bootstrap import private_files
from app.bootstrap.errors import StartFailed

FILE = "server.json"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """The server that a pidfile names."""

    pid: int
    url: str

    @property
    def alive(self) -> bool:
        """Whether a process with this id exists; that of a killed server may be another program's by now."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def write(data_dir: Path, url: str) -> None:
    """Write the pidfile of this process. A server works without one, so that a failure is ignored."""
    with suppress(StartFailed):
        private_files.replace(data_dir / FILE, orjson.dumps({"pid": os.getpid(), "url": url}))


def remove(data_dir: Path) -> None:
    """Remove the pidfile, if there is one."""
    with suppress(OSError):
        (data_dir / FILE).unlink()


def find_server(data_dir: Path) -> RunningServer | None:
    """Return the server of a data directory, or None when none is running there."""
    try:
        read: dict[str, Any] = orjson.loads((data_dir / FILE).read_bytes())
        found = RunningServer(int(read["pid"]), str(read["url"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return found if found.alive else None
