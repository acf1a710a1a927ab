"""One address in front of several nodes: each request goes to the next one of them.

`make test-nodes` puts it before the nodes of every test that can do with several.
"""

import asyncio
import contextlib
import itertools
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import LOOPBACK, listen
from tests.support.postgres import PostgresCluster
from tests.support.processes import ServerProcess

LINGER_S = 5
KEPT_ALIVE = re.compile(rb"\r\nconnection: keep-alive(?=\r\n)", re.IGNORECASE)
UPGRADING = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Several:
    """How many nodes stand for one, and where their databases are made."""

    count: int
    cluster: PostgresCluster
    template: str

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new database with all tables, dropped in the end."""
        url = self.cluster.create_database(template=self.template)
        try:
            yield url
        finally:
            self.cluster.drop_database(url)


_several: list[Several] = []


def several() -> Several | None:
    """What stands for one node in this run of the tests; None for one node."""
    return _several[-1] if _several else None


@contextlib.contextmanager
def use_several(nodes: Several) -> Iterator[None]:
    """Let several nodes stand for each one until the end of the block."""
    _several.append(nodes)
    try:
        yield
    finally:
        _several.remove(nodes)


class Spreader:
    """Forwards each connection to the next of its ports, for one request. It runs in a thread; use `spreading`."""

    def __init__(self, ports: Sequence[int] = ()) -> None:
        self.ports = ports
        self._turns = itertools.count()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._listener = listen()
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._stopped = asyncio.Event()

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self._listener.getsockname()[1]

    def start(self) -> None:
        """Return when it forwards."""
        self._thread.start()
        assert self._started.wait(60)

    def stop(self) -> None:
        """Cut every connection."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener)
        self._started.set()
        await self._stopped.wait()
        server.close()
        forwarding = list(self._forwarding)
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._forwarding.add(task)
        back: asyncio.StreamWriter | None = None
        try:
            head = await _head(reader)
            there, back = await self._connected()
            back.write(_for_one_request(head))
            sending = asyncio.create_task(_copy(reader, back))
            try:
                await _copy(there, writer)
                # Who still sends has to read the reply before the connection is gone.
                async with asyncio.timeout(LINGER_S):
                    await asyncio.wait((sending,))
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        except (asyncio.CancelledError, TimeoutError, OSError):
            pass  # either end is gone, and the other one is told
        finally:
            for end in (writer, back):
                if end is not None:
                    end.transport.abort()
            self._forwarding.discard(task)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the next node that accepts one. Raises OSError where none does."""
        for number in itertools.islice(self._turns, len(self.ports)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(LOOPBACK, self.ports[number % len(self.ports)])
        raise ConnectionRefusedError


async def _head(reader: asyncio.StreamReader) -> bytes:
    """What a client sends up to the end of its header, or up to where it stops sending one."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await reader.readexactly(error.consumed)


def _for_one_request(head: bytes) -> bytes:
    """Ask for the end of the connection after the reply, unless this is to become a WebSocket."""
    line, end, fields = head.partition(b"\r\n")
    if UPGRADING.search(head) or not line.endswith(b" HTTP/1.1") or not head.endswith(b"\r\n\r\n"):
        return head
    return line + end + b"Connection: close\r\n" + KEPT_ALIVE.sub(b"", end + fields)[len(end) :]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of one direction, and end what it was copied to; go on reading for one that takes no more."""
    while data := await reader.read(65_536):
        if not writer.is_closing():
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


@contextlib.contextmanager
def spreading(ports: Sequence[int]) -> Iterator[int]:
    """The port of a spreader before these."""
    spreader = Spreader(ports)
    spreader.start()
    try:
        yield spreader.port
    finally:
        spreader.stop()


class SpreadServers(ServerProcess):
    """Node processes that are started, stopped and killed together, behind one address; used as one of them.

    What a server process has of its own is that of the first: its data directory, its process id and its log.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str], *, count: int) -> None:
        self._spreader = Spreader()
        settings = {"SWARMHOLD_PUBLIC_URL": f"http://{LOOPBACK}:{self._spreader.port}", **settings}
        super().__init__(data_dir, settings)
        more = [data_dir.with_name(f"{data_dir.name}-{number}") for number in range(2, count + 1)]
        self._others = [ServerProcess(directory, settings) for directory in more]
        self._spreader.start()

    @property
    def url(self) -> str:
        """The root of the HTTP routes of all of them."""
        return f"http://{LOOPBACK}:{self._spreader.port}"

    @property
    def websocket_url(self) -> str:
        """The root of the WebSocket routes of all of them."""
        return self.url.replace("http", "ws", 1)

    def start(self, *, within: float = 60.0) -> None:
        """Start all, the first one alone, since it makes the root key."""
        super().start(within=within)
        for other in self._others:
            other.settings = {**self.settings, "SWARMHOLD_ROOT_KEY": self.root_key()}
            other.start(within=within)
        self._spreader.ports = [self.port, *(other.port for other in self._others)]

    def kill(self) -> None:
        """End all at once."""
        for server in self._others:
            server.kill()
        super().kill()

    def stop(self, *, within: float = 60.0) -> int:
        """Ask all to end in good order, one after the other, and return the first exit status that is not 0, or 0."""
        statuses = [*(other.stop(within=within) for other in self._others), super().stop(within=within)]
        return next(filter(None, statuses), 0)

    def close(self) -> None:
        """Stop forwarding to them, for good."""
        self._spreader.stop()


@contextlib.contextmanager
def server_process(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """A server that is not started yet, or what stands for one; killed in the end."""
    settings, nodes = settings or {}, several()
    with contextlib.ExitStack() as stack:
        if nodes is None:
            server = ServerProcess(data_dir, settings)
        else:
            url = settings.get("SWARMHOLD_DATABASE_URL") or stack.enter_context(nodes.database())
            own = {"SWARMHOLD_DATABASE_URL": url, "SWARMHOLD_CLUSTER__DRAIN": "0"}
            server = SpreadServers(data_dir, {**settings, **own}, count=nodes.count)
            stack.callback(server.close)
        stack.callback(server.kill)
        yield server
