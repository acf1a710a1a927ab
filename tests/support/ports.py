"""Free ports of the loopback interface."""

import socket
import ssl

LOOPBACK = "127.0.0.1"

# For HTTP clients: no node here speaks TLS, and reading the certificate authorities takes longer than most tests.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now.

    Another process may take it before the caller does, so a server that fails to bind is started again on a new one.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def listen(port: int = 0) -> socket.socket:
    """A socket that listens on a port of 127.0.0.1, by default a free one, and whose connections send without delay.

    asyncio sees to that only for sockets that name their protocol. Otherwise a reply that is written in two pieces
    waits 40 ms for the acknowledgement of its first one.
    """
    bound = socket.create_server((LOOPBACK, port))
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def accepts(port: int, *, within: float = 0.25) -> bool:
    """Whether a connection to `port` of 127.0.0.1 is accepted within so many seconds."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=within):
            return True
    except OSError:
        return False
