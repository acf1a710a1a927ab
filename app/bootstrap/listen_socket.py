"""The socket that a server listens on."""

from __future__ import annotations

import errno
import socket

from app.bootstrap.errors import StartFailed

BACKLOG = 4096


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens: early clients wait for the server instead of being refused.

    Raises StartFailed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartFailed(
            f"{host} is not an address of this machine: {error.strerror}. Name another with --host."
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
        # With SO_REUSEADDR two servers may bind one port; listening is what fails for the second.
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise StartFailed(_explain(host, port, error)) from error
    bound.setblocking(False)
    return bound


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is taken (address already in use). Stop what listens there, or name another port "
            "with --port."
        )
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port}. Name one above 1023 with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine. Name another with --host."
    return f"Cannot listen on {host} port {port}: {error.strerror}."
