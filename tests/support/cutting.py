"""A TCP proxy that cuts connections at a chosen moment: in front of a database, a broken network."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

from tests.support.ports import LOOPBACK


class CuttingProxy:
    """Forwards to one server. `cut_at(text)` arms it: the next client that sends `text` loses its connection.

    With `after=True` the server gets the message first. Each arming cuts once.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server((LOOPBACK, 0))
        self._armed: tuple[bytes, bool] | None = None
        self._sockets: list[socket.socket] = []
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where to connect."""
        return self._listener.getsockname()[1]

    def cut_at(self, text: bytes, *, after: bool = False) -> None:
        """Arm."""
        self._armed = (text, after)

    def disarm(self) -> None:
        """Cut no more."""
        self._armed = None

    def close(self) -> None:
        """Cut everything."""
        self._listener.close()
        for end in self._sockets:
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._forward_back, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                armed = self._armed
                if armed is None or armed[0] not in data:
                    server.sendall(data)
                    continue
                self._armed = None
                self.cuts += 1
                # Nobody reads the reply, whether or not it comes.
                client.shutdown(socket.SHUT_RDWR)
                if armed[1]:
                    server.sendall(data)
                break
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _forward_back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutting_proxy(url: str) -> Iterator[tuple[CuttingProxy, str]]:
    """A proxy before the server of this URL, and the URL through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = CuttingProxy(parts.hostname, parts.port)
    user = f"{parts.username}@" if parts.username else ""
    try:
        yield proxy, urlunsplit(parts._replace(netloc=f"{user}{LOOPBACK}:{proxy.port}"))
    finally:
        proxy.close()
