"""The process that sends one message by Apprise: it reaches the hosts that the server's settings allow and no other.

Apprise has plug-ins for 130 services, each with its own way of making requests. What is allowed is therefore enforced
where every way leads: names are looked up, and connections made, for allowed hosts and ports alone, and no program is
started. The job comes as JSON on standard input, since its URL holds a secret, and the outcome goes to standard output.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import sys
from importlib import import_module
from typing import Any, cast

_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")
_SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")


class Guard:
    """Lets this process reach some hosts and ports. `refused` has those that it tried to reach beside them."""

    def __init__(self, allowed: list[tuple[str, int]]) -> None:
        self._allowed = set(allowed)
        self._addresses = {(host, port) for host, port in allowed if _is_address(host)}
        self._look_up = socket.getaddrinfo
        self.refused: list[str] = []

    def install(self) -> None:
        """Hold every later look-up, connection and start of a program in this process to what is allowed."""
        socket.getaddrinfo = self._getaddrinfo
        sys.addaudithook(self._audit)

    def _getaddrinfo(self, host: Any, port: Any, *args: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if (name.lower().rstrip("."), _number(port)) not in self._allowed:
            self._refuse(f"{name}:{port}")
        found: list[Any] = self._look_up(host, port, *args, **named)
        self._addresses |= {(str(one[4][0]), int(one[4][1])) for one in found}
        return found

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _SENDS:
            if not isinstance(args[1], tuple):
                self._refuse("a local socket")
            host, port = cast("tuple[Any, ...]", args[1])[:2]
            if (str(host), _number(port)) not in self._addresses:
                self._refuse(f"{host}:{port}")
        elif event in ("socket.gethostbyname", "socket.gethostbyaddr"):
            self._refuse(str(args[0]))
        elif event in _STARTS:
            self._refuse("a program of this machine")

    def _refuse(self, what: str) -> None:
        self.refused.append(what)
        raise PermissionError(f"the settings do not allow {what}")


class _Last(logging.Handler):
    """Keeps the latest line that Apprise logged."""

    line = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.line = record.getMessage()


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Send the job's message; return whether it was taken, and what says why not. Without a body only read the URL."""
    apprise: Any = import_module("apprise")
    last = _Last()
    logging.getLogger("apprise").addHandler(last)
    asset = apprise.AppriseAsset(
        app_id="swarmhold",
        app_desc="swarmhold",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        plugin_paths=[],
        async_mode=False,
        secure_logging=True,
        interpret_escapes=False,
        interpret_emojis=False,
        allow_templates=False,
        http_redirects=0,
        pem_autogen=False,
        pgp_autogen=False,
    )
    guard = Guard([(host, port) for host, port in job["allowed"]])
    target = apprise.Apprise(asset=asset)
    known = target.add(job["url"])
    if not known or "body" not in job:
        return {"known": known, "sent": False, "refused": [], "line": ""}
    guard.install()
    result = target.notify(body=job["body"], title=job["title"], body_format=apprise.NotifyFormat.TEXT)
    return {"known": True, "sent": bool(result), "refused": guard.refused, "line": last.line}


def _number(port: Any) -> int | None:
    if isinstance(port, int):
        return port
    return int(port) if isinstance(port, str | bytes) and port.isdigit() else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    written, sys.stdout = sys.stdout, sys.stderr  # what a plug-in prints is not the outcome
    written.write(json.dumps(run(json.load(sys.stdin))))
