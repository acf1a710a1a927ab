"""The pidfile of a data directory: the server that uses it, for commands on the same machine.

It holds the process id, the URL, and the secret by which the server proves that it is the one of this directory.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
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
    secret: bytes = field(repr=False)

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


def write(data_dir: Path, url: str, secret: bytes) -> None:
    """Write the pidfile of this process. A server works without one, so that a failure is ignored."""
    with suppress(StartFailed):
        private_files.replace(data_dir / FILE, orjson.dumps({"pid": os.getpid(), "url": url, "secret": secret.hex()}))


def remove(data_dir: Path) -> None:
    """Remove the pidfile, if there is one."""
    with suppress(OSError):
        (data_dir / FILE).unlink()


def find_server(data_dir: Path) -> RunningServer | None:
    """Return the server of a data directory, or None when none is running there.

    Its process id may be another program's by now, and so may its URL: only `proof` shows that it is the server.
    """
    try:
        read: dict[str, Any] = orjson.loads((data_dir / FILE).read_bytes())
        found = RunningServer(int(read["pid"]), str(read["url"]), bytes.fromhex(read["secret"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return found if found.alive else None
