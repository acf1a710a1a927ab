"""A TCP load balancer in front of nodes: each connection goes to the next node that is ready."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

import httpx

from tests.support.ports import LOOPBACK, NO_AUTHORITIES
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

LOOK_EVERY_S = 0.1


class Balancer:
    """Asks `/readyz` of every node all the time. A connection waits while no node is ready. Use `balancing`."""

    def __init__(self, nodes: Sequence[ServerProcess]) -> None:
        self._nodes = nodes
        self._turns = itertools.cycle(range(len(nodes)))
        self._ready: set[int] = set()
        self._forwarding: set[asyncio.Task[None]] = set()
        self.port = 0
        self.served: dict[int, int] = {}
        """How many connections each port got."""

    @property
    def url(self) -> str:
        """The root of the cluster's HTTP routes."""
        return f"http://{LOOPBACK}:{self.port}"

    def root_key(self) -> str:
        """The key of all roles."""
        return self._nodes[0].root_key()

    def is_ready(self, node: ServerProcess) -> bool:
        """Whether a node is known to be ready."""
        return node.port in self._ready

    async def watch(self, node: ServerProcess) -> None:
        """Keep knowing whether a node is ready, until cancelled."""
        async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=2) as client:
            while True:
                try:
                    is_ready = (await client.get(f"{node.url}/readyz")).status_code == 200
                except httpx.TransportError:
                    is_ready = False
                (self._ready.add if is_ready else self._ready.discard)(node.port)
                await asyncio.sleep(LOOK_EVERY_S)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until both of its ends have closed."""
        task = asyncio.current_task()
        assert task is not None
        self._forwarding.add(task)
        try:
            there, back = await self._connected()
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        except (asyncio.CancelledError, OSError):
            writer.transport.abort()
        finally:
            self._forwarding.discard(task)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            for number in itertools.islice(self._turns, len(self._nodes)):
                port = self._nodes[number].port
                if port in self._ready:
                    with contextlib.suppress(OSError):
                        streams = await asyncio.open_connection(LOOPBACK, port)
                        self.served[port] = self.served.get(port, 0) + 1
                        return streams
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        """Cut every connection."""
        forwarding = list(self._forwarding)
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)

    async def await_ready(self, count: int) -> None:
        """Wait until so many nodes are known to be ready."""
        await eventually(lambda: len(self._ready) >= count, awaited=f"{count} nodes to be ready")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of one direction, and close what it was copied to."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def balancing(nodes: Sequence[ServerProcess]) -> AsyncIterator[Balancer]:
    """A balancer that listens, and knows which nodes are ready."""
    balancer = Balancer(nodes)
    server = await asyncio.start_server(balancer.accept, LOOPBACK, 0)
    balancer.port = server.sockets[0].getsockname()[1]
    watching = [asyncio.create_task(balancer.watch(node)) for node in nodes]
    try:
        await balancer.await_ready(len(nodes))
        yield balancer
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        server.close()
        await balancer.close()
