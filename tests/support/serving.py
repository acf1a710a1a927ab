"""A node's edge on a real socket, in this process: engine, application and uvicorn, without the command line.

Where several nodes stand for one, they share a PostgreSQL database, and each request goes to the next of them.
"""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import httpx
import uvicorn

from app.bootstrap.server import door_routes
from app.bus.opening import choose_bus
from app.domain.access import Role
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import Parts, default_parts
from app.http.app import Application, create_app
from app.http.door_settings import DoorSettings
from app.http.settings import HttpSettings
from app.spawning.backends.registry import Registries
from app.state.opening import clock_of, open_store
from app.ws.sockets import Sockets
from tests.support.ports import LOOPBACK, NO_AUTHORITIES, listen
from tests.support.spreading import several, spreading
from tests.support.waiting import eventually

ROOT_KEY = "shk_" + "root0" * 8


class QuietServer(uvicorn.Server):
    """Leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(slots=True)
class Node:
    """A served engine; `as_` gives a client that has a credential.

    Behind its port may be several nodes; engine, application and server are those of the first.
    """

    engine: Engine
    application: Application
    port: int
    server: uvicorn.Server
    serving: asyncio.Task[None]
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    others: list["Node"] = field(default_factory=list["Node"])
    """Those that stand for one node with this one."""

    @property
    def parked(self) -> int:
        """How many requests wait, on all of them."""
        return sum(node.application.context.holds.parked for node in (self, *self.others))

    def drain(self) -> None:
        """End what waits, on all of them."""
        for node in (self, *self.others):
            node.application.drain()

    @property
    def url(self) -> str:
        """The root of its HTTP routes."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def websocket_url(self) -> str:
        """The root of its WebSocket routes."""
        return f"ws://{LOOPBACK}:{self.port}"

    def as_(self, credential: str | None) -> httpx.AsyncClient:
        """A client that sends this credential."""
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        client = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=60, trust_env=False, verify=NO_AUTHORITIES
        )
        self.clients.append(client)
        return client

    async def attach(
        self,
        role: Role = Role.OPERATOR,
        *,
        name: str = "tester",
        ttl: float = 3600,
        key: str = ROOT_KEY,
        **options: object,
    ) -> str:
        """The token of a new session."""
        body = {"operator_id": name, "role": role.value, "ttl": ttl, **options}
        reply = await self.as_(key).post("/v1/operator/sessions", json=body)
        assert reply.status_code == 201, reply.text
        return reply.json()["token"]

    async def key(self, name: str, *roles: Role) -> str:
        """The text of a new API key, with all roles unless some are named."""
        body = {"name": name, "roles": [role.value for role in roles or Role]}
        reply = await self.as_(ROOT_KEY).post("/v1/admin/keys", json=body)
        assert reply.status_code == 201, reply.text
        return reply.json()["key"]

    async def operator(self, role: Role = Role.OPERATOR, **options: object) -> httpx.AsyncClient:
        """A client with a new session's token."""
        return self.as_(await self.attach(role, **options))  # pyright: ignore[reportArgumentType] - options of an attach

    async def worker(self, operator: httpx.AsyncClient, **spec: object) -> tuple[str, httpx.AsyncClient]:
        """A task that was dispatched outside, and a client with its handle."""
        body = {"agent": "a", "initial_directive": "work", **spec}
        task_id = (await operator.post("/v1/operator/tasks", json=body)).json()["id"]
        reply = await operator.post(f"/v1/operator/tasks/{task_id}/dispatch", json={"spawner": {"kind": "external"}})
        assert reply.status_code == 202, reply.text
        return task_id, self.as_(reply.json()["worker_handle"])


@contextlib.asynccontextmanager
async def served(
    settings: HttpSettings | None = None,
    *,
    engine: Engine | None = None,
    cfg: EngineCfg | None = None,
    store_url: str = ":memory:",
    protocols: Sequence[str] = ("httptools", "websockets-sansio"),
) -> AsyncIterator[Node]:
    """Serve an engine (a new one over the store at `store_url` unless given) on a free port of 127.0.0.1.

    Where several nodes stand for one, their store is on PostgreSQL: at `store_url`, or in a database of its own.
    """
    cfg = cfg or EngineCfg()
    cfg = cfg if settings is None else replace(cfg, limits=settings.limits)
    cluster = several()
    async with contextlib.AsyncExitStack() as stack:
        if cluster is None:
            engine = engine or Engine(default_parts(cfg, store_url=store_url))
            yield await stack.enter_async_context(_node(engine, settings, protocols))
        else:
            parts = default_parts(cfg) if engine is None else engine.parts
            url = store_url if "://" in store_url else stack.enter_context(cluster.database())
            nodes = [
                await stack.enter_async_context(_node(_engine(parts, url), settings, protocols))
                for _ in range(cluster.count)
            ]
            first, *first.others = nodes
            first.port = stack.enter_context(spreading([node.port for node in nodes]))
            yield first


def _engine(parts: Parts, url: str) -> Engine:
    """An engine of a node that shares a database and its keys with others, and nothing else."""
    clock = clock_of(url)
    return Engine(
        replace(
            parts,
            open_store=lambda: open_store(url, clock=clock, policy=parts.cfg.hold, seal=parts.seal),
            bus=choose_bus(url, None, {}),
            registries=Registries(),
            clock=clock,
            webhook_sender=copy.deepcopy(parts.webhook_sender),
        )
    )


@contextlib.asynccontextmanager
async def _node(engine: Engine, settings: HttpSettings | None, protocols: Sequence[str]) -> AsyncIterator[Node]:
    async with engine:
        await engine.keys.ensure_root(ROOT_KEY)
        doors = settings.doors if settings else DoorSettings()
        application = create_app(engine, settings, more=[*Sockets().routes(), *door_routes(doors)])
        http, ws = protocols
        config = uvicorn.Config(
            application,
            http=http,
            ws=ws,
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=5,
            ws_max_size=4 * 1024 * 1024,
        )
        server = QuietServer(config)
        bound = listen()
        port = bound.getsockname()[1]
        node = Node(engine, application, port, server, asyncio.create_task(server.serve(sockets=[bound])))
        try:
            await eventually(lambda: server.started, awaited="uvicorn to listen")
            yield node
        finally:
            await stop(node)


async def stop(node: Node) -> None:
    """Stop serving as a node does: end what is parked, then close."""
    for client in node.clients:
        await client.aclose()
    node.application.drain()
    node.server.should_exit = True
    await node.serving
