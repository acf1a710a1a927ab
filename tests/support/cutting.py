"""A TCP proxy in front of a database: a network that breaks at a chosen moment, with a word or without one."""

import contextlib
import ctypes
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

from tests.support.ports import LOOPBACK, listen

SO_ATTACH_FILTER = 26  # the socket module does not name it
RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


class CuttingProxy:
    """Forwards to one server. `cut_at(text)` arms it: the next client that sends `text` loses its connection.

    With `after=True` the server gets the message first. Each arming cuts once. `fall_silent` is worse: neither end is
    told, as when a host loses its power. While `admitting` is False nobody can connect.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = listen()
        self._armed: tuple[bytes, bool, bytes] | None = None
        self._ends: list[socket.socket] = []
        self._silent: frozenset[socket.socket] = frozenset()
        self.cuts = 0
        self.admitting = True
        self._leaving: set[socket.socket] = set()
        self._left = threading.Condition()
        self._forwarding: list[threading.Thread] = []
        self._accepting = _running(self._accept)

    @property
    def port(self) -> int:
        """Where to connect."""
        return self._listener.getsockname()[1]

    def cut_at(self, text: bytes, *, after: bool = False, behind: bytes = b"") -> None:
        """Arm. Only a connection is cut whose latest transaction began with `behind`."""
        self._armed = (text, after, behind)

    def disarm(self) -> None:
        """Cut no more."""
        self._armed = None

    def await_cuts(self, *, within: float = 60.0) -> None:
        """Wait until the server has ended the session of every connection that was cut, with all that it still did."""
        with self._left:
            assert self._left.wait_for(lambda: not self._leaving, within), "the server goes on with a cut connection"

    def fall_silent(self, *, reassuring: bool = False) -> None:
        """Lose every packet of the connections that there are, in both directions; new ones are not touched.

        Not even the kernel's acknowledgements reach either end, but for the server when it is to be reassured: as
        with a network that breaks for the client alone.
        """
        self._silent = frozenset(self._ends)
        for client, server in zip(self._ends[::2], self._ends[1::2], strict=True):
            for end in (client,) if reassuring else (client, server):
                with contextlib.suppress(OSError):  # already cut
                    _deafen(end)

    def close(self) -> None:
        """Cut every connection; both ends of each have been notified when this returns."""
        # Closing alone would tell nobody while a thread is reading: the kernel keeps what is read from alive.
        _hang_up(self._listener)
        self._accepting.join()
        for end in self._ends:
            _hang_up(end)
        for thread in self._forwarding:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    if not self.admitting:
                        raise ConnectionRefusedError
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                self._ends += [client, server]
                self._forwarding += [
                    _running(lambda ends=(client, server): self._forward(*ends)),
                    _running(lambda ends=(server, client): self._forward_back(*ends)),
                ]

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        begun = b""
        with contextlib.suppress(OSError):
            while data := self._heard(client):
                begun = data if b"BEGIN" in data else begun
                armed = self._armed
                if armed is None or armed[0] not in data or armed[2] not in begun:
                    server.sendall(data)
                    continue
                self._armed = None
                self.cuts += 1
                with self._left:
                    self._leaving.add(server)
                # Nobody reads the reply, whether or not it comes.
                client.shutdown(socket.SHUT_RDWR)
                if armed[1]:
                    server.sendall(data)
                break
        _hang_up(server, socket.SHUT_WR)

    def _forward_back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := self._heard(server):
                with contextlib.suppress(OSError):  # cut, but the server's end is still awaited
                    client.sendall(data)
        _hang_up(client)
        with self._left:
            self._leaving.discard(server)
            self._left.notify_all()

    def _heard(self, end: socket.socket) -> bytes:
        """What this end sends, unless it is cut off: then nothing comes until the proxy is closed."""
        while data := end.recv(65_536):
            if end not in self._silent:
                return data
        return b""


def _running(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _hang_up(end: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):  # hung up already
        end.shutdown(how)


def _deafen(end: socket.socket) -> None:
    """Let the kernel drop whatever comes in, before TCP sees it (a filter that keeps nothing)."""
    instructions = ctypes.create_string_buffer(RETURN_NOTHING)
    end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(instructions)))


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
