"""One server process: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import socket
import sys
from collections.abc import Container, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import structlog
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.bootstrap import descriptors, pidfile, private_files
from app.bootstrap.composition import build_engine, http_settings, open_tracing
from app.bootstrap.connections import ConnectionLimits, attainable_connections
from app.bootstrap.errors import StartFailed
from app.bootstrap.http_writes import CLOSE, BatchingHttpProtocol, WebSocketProtocol
from app.bootstrap.keyring import Keyring, given_root_key, make_root_key, note_audit_sealed, open_keyring
from app.bootstrap.listen_socket import BACKLOG, bind
from app.bootstrap.maintenance import Maintenance
from app.bootstrap.shared_ring import RingWatch, find_keyring
from app.config import Settings
from app.console.routes import console_routes
from app.domain.clock import Clock
from app.domain.errors import InvalidInput, NameTaken, StoreUnavailable
from app.engine.engine import Engine
from app.http.app import Application, create_app
from app.http.conversions import skill_spec
from app.http.metrics import Metrics
from app.mcp.routes import mcp_routes
from app.telemetry.logs import dropped_lines
from app.ws.sockets import Sockets

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from app.http.door_settings import DoorSettings
    from app.telemetry.tracing.exporting import Tracing

_log = structlog.get_logger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SWITCH_S = 0.001
"""How long a thread that decodes a large body keeps the interpreter while the event loop waits for it, again and again
within one request."""
_DRAIN_S = 1.0
"""How long parked requests and WebSockets have to finish before their connections are closed."""
_MARK_S = 1.0
"""How long it may take to record that this node is being stopped."""
_CLOSE_MARGIN_S = 0.5
_LAST_SPANS_S = 1.0
"""How long the receiver of traces has to take the last spans."""
_COLLECT_AFTER = 10_000
"""New objects beyond which garbage is collected: a request makes few cycles."""


@dataclass(slots=True, kw_only=True)
class Server:
    """The engine, its background maintenance and the application over it. Call `start` and `stop` once each."""

    settings: Settings
    keyring: Keyring
    base_url: str
    engine: Engine
    maintenance: Maintenance
    sockets: Sockets = field(default_factory=Sockets)
    identity: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """The secret by which commands of this machine know the server; it stands in the pidfile."""
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    ring_watch: RingWatch | None = None
    """What keeps the keys those of the database, where they are there."""
    tracing: Tracing | None = None
    """What exports traces, where that is configured."""
    _application: Application | None = None
    _stop_by: float | None = None

    @classmethod
    async def build(cls, settings: Settings, *, port: int | None = None) -> Server:
        """Create the data directory and the keys, and build everything. `port` is the bound one. Raises StartFailed."""
        private_files.open_data_directory(settings)
        try:
            keyring, sealed = await find_keyring(settings)
        except StoreUnavailable as error:
            raise StartFailed(f"The database cannot be used: {error.reason}.") from error
        base_url = settings.url(port)
        tracing = open_tracing(settings.otel)
        spans = None if tracing is None else tracing.write
        engine = build_engine(settings, keyring, base_url=base_url, spans=spans)
        maintenance = Maintenance(engine, settings.retention)
        connections = ConnectionLimits(
            per_source=settings.limits.connections,
            overall=attainable_connections(),
            exempt=_proxies(settings),
        )
        return cls(
            settings=settings,
            keyring=keyring,
            base_url=base_url,
            engine=engine,
            maintenance=maintenance,
            connections=connections,
            ring_watch=None if sealed is None else RingWatch(engine, settings, sealed),
            tracing=tracing,
        )

    @property
    def application(self) -> Application:
        """The ASGI application, once `start` has returned."""
        assert self._application is not None, "the server was not started"  # noqa: S101 - an error of the caller
        return self._application

    @property
    def served(self) -> ASGIApp:
        """Return the application for the listener, with a span around each request where traces are exported."""
        return self.application if self.tracing is None else self.tracing.around(self.application)

    async def start(self) -> None:
        """Open the store, recover, and ensure that there is a root key. Raises StartFailed.

        No lease ends before `hear`.
        """
        self.engine.gaps.recording = False
        try:
            await self.engine.start()
        except StoreUnavailable as error:
            raise StartFailed(f"The database cannot be used: {error.reason}.") from error
        try:
            await self._ensure_root_key()
            await self._keep_skills()
        except BaseException:
            await self.engine.stop()
            raise
        await self._note_audit_sealed()
        if self.ring_watch is not None:
            self.ring_watch.start()
        self.engine.start_detach_loop()
        self.maintenance.start()
        self._application = create_app(
            self.engine,
            http_settings(self.settings, self.base_url, self.identity),
            more=[*self.sockets.routes(), *console_routes(), *door_routes(self.settings.doors)],
        )
        metrics = self._application.context.metrics
        metrics.gauge("swarmhold_websockets", "WebSocket connections that are open.", lambda: self.sockets.count)
        metrics.counter(
            "swarmhold_log_lines_dropped", "Log lines that nobody read, or of which there were too many.", dropped_lines
        )
        metrics.gauge("swarmhold_connections", "Connections that are open.", lambda: self.connections.open)
        metrics.counter(
            "swarmhold_connections_refused",
            "Connections that were closed at once, since their source has too many or descriptors run out.",
            lambda: self.connections.refused,
        )
        self._measure_hints(metrics)
        metrics.gauge("swarmhold_stranded_rows", "Rows without a next event.", lambda: self.maintenance.stranded)

    def _measure_hints(self, metrics: Metrics) -> None:
        bus = self.engine.parts.bus
        for name, text in (
            ("sent", "Topics of hints sent to other nodes."),
            ("received", "Topics of hints received from other nodes."),
            ("lost", "Topics of hints that could not be sent to other nodes."),
            ("reconnects", "Connections for hints after the first one."),
        ):
            metrics.counter(f"swarmhold_hints_{name}", text, partial(getattr, bus.counts, name))
        metrics.gauge("swarmhold_hints_failing", "1 while hints reach no other node.", lambda: bus.failure is not None)

    async def _note_audit_sealed(self) -> None:
        """Adopt no more rows of the audit log from before there were keys, now that the engine has sealed them."""
        if self.keyring.audit_sealed:
            return
        self.engine.parts.seal.unsealed_before = False
        try:
            if self.ring_watch is None:
                note_audit_sealed(self.settings.keys_path)
            else:
                await self.ring_watch.note_audit_sealed()
        except (StartFailed, StoreUnavailable) as error:
            _log.warning("audit_seal_not_noted", reason=str(error))

    def hear(self) -> None:
        """Let leases end from now on: the server listens, so that heartbeats can arrive."""
        self.engine.gaps.recording = True

    async def stop(self) -> None:
        """Stop the engine within the grace period; attempts that still run then are recovered at the next start."""
        grace_s = self.settings.shutdown_grace.total_seconds()
        try:
            async with asyncio.timeout_at(self._stop_by or asyncio.get_running_loop().time() + grace_s):
                await self.maintenance.stop()
                if self.ring_watch is not None:
                    await self.ring_watch.stop()
                await self.engine.stop()
        except TimeoutError:
            _log.warning("engine_stopped_late", grace_s=grace_s)
        if self.tracing is not None:
            await self.tracing.aclose(_LAST_SPANS_S)

    async def drain(self) -> None:
        """End parked requests, and wait briefly until streams and WebSockets have closed."""
        self._stop_by = asyncio.get_running_loop().time() + self.settings.shutdown_grace.total_seconds()
        self.application.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_DRAIN_S, _connections_grace(self.settings) / 2)):
                # These counts have no event to wait for; this runs once, for milliseconds.
                while self.application.context.holds.parked or self.sockets.count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def serve_on(self) -> None:
        """Say that this node is not ready any more, and serve until those who send requests know it.

        Only where there are other nodes to which they can go.
        """
        nodes, drain_s = self.engine.nodes, self.settings.cluster.drain_ms / 1000
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(_MARK_S + drain_s):
                await nodes.drain()
                if not await nodes.others_alive():
                    return
                _log.info("draining", seconds=drain_s)
                await asyncio.sleep(drain_s)

    def reload_keys(self) -> None:
        """Read the key ring again, after a rotation."""
        if self.ring_watch is not None:
            self.ring_watch.look_now()
            return
        try:
            ring = open_keyring(self.settings.keys_path)
        except StartFailed as error:
            _log.error("keys_reload_failed", reason=str(error))
            return
        self.engine.signer.use_ring(ring.signing)
        self.engine.parts.seal.use_keys(ring.audit)
        _log.info("keys_reloaded", signing=ring.signing[0].kid, verifying=len(ring.signing))

    async def _keep_skills(self) -> None:
        """Publish the skills of the settings. Raises StartFailed."""
        published = [(body.namespace, skill_spec(body)) for body in self.settings.skills]
        try:
            await self.engine.skills.keep(published)
        except (InvalidInput, NameTaken) as error:
            raise StartFailed(f"The setting skills cannot be used: {error}") from error

    async def _ensure_root_key(self) -> None:
        root, made = given_root_key(self.settings), False
        if root is None and not await self.engine.keys.has_root():
            root, made = make_root_key(self.settings), True
        if root is not None and await self.engine.keys.ensure_root(root.text):
            if made:
                _log.info("root_key_created", file=root.origin, mode="0600")
            _log.info("root_key_set", origin=root.origin)


class _Listener(uvicorn.Server):
    """uvicorn's server, which drains before it shuts down and leaves exiting to the caller."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._server = server
        self._headers = _DefaultHeaders(server.engine.parts.clock)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Handle signals without raising them again, as uvicorn would, before the engine has stopped."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        loop.add_signal_handler(signal.SIGHUP, self._server.reload_keys)
        try:
            yield
        finally:
            for number in (*_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets=sockets)
        self._server.hear()
        quiet_garbage_collector()
        pidfile.write(self._server.settings.data_dir, self._server.base_url, self._server.identity)
        settings = self._server.settings
        if settings.root_key is None and settings.root_key_path.exists():
            _log.info("console", url=f"{self._server.base_url}/console", key_file=str(settings.root_key_path))
        _log.info("listening", url=self._server.base_url, data=str(settings.data_dir))

    async def on_tick(self, counter: int) -> bool:
        """Return whether to exit, and keep the headers that uvicorn would set to those of this moment."""
        ends = await super().on_tick(counter)
        self.server_state.default_headers = self._headers
        return ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Go on serving for a while, stop accepting, end parked requests, then close the connections."""
        self._headers.closing = True
        await self._server.serve_on()
        for listening in self.servers:
            listening.close()
        for listening in sockets or ():
            listening.close()
        pidfile.remove(self._server.settings.data_dir)
        asyncio.get_running_loop().call_soon(_log.info, "stopping")
        await self._server.drain()
        await super().shutdown(sockets=sockets)


def quiet_garbage_collector() -> None:
    """Let it leave out the objects of the start-up, which made it slow, and run more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartFailed."""
    sys.setswitchinterval(_SWITCH_S)
    bound = bind(settings.host, settings.port)
    try:
        port = int(bound.getsockname()[1])
        server = await Server.build(settings, port=port)
        await server.start()
    except BaseException:
        bound.close()
        raise
    try:
        await _Listener(_uvicorn_config(settings, server), server).serve(sockets=[bound])
    finally:
        await server.stop()
        _log.info("stopped")


class _DefaultHeaders(list[tuple[bytes, bytes]]):
    """The headers that begin each reply: its date, taken when it is sent, and that the connection ends with it.

    uvicorn's own date is that of the request, or of a second before a process was stopped; clients would set their
    clocks by the date of a reply that was parked for a minute. It comes from the clock by which leases end: with
    several nodes the database's.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.closing = False
        """Whether clients are to send their next request on another connection, since this server is being stopped."""

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"date", _http_date(self._clock() // 1000)
        if self.closing:
            yield CLOSE

    def __add__(self, others: Iterable[Any]) -> list[Any]:
        return [*self, *others]


@lru_cache(maxsize=1)
def _http_date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def _proxies(settings: Settings) -> Container[str]:
    """Return the addresses of trusted proxies, each of which speaks for many sources."""
    return ProxyHeadersMiddleware(cast(Any, None), list(settings.http.trusted_proxies)).trusted_hosts


def door_routes(doors: DoorSettings) -> list[BaseRoute]:
    """Return the routes of the doors that have protocols of their own. What is switched off is not imported."""
    routes = mcp_routes(doors.mcp)
    if doors.aap.enabled:
        from app.aap.routes import aap_routes

        routes += aap_routes()
    return routes


def _connections_grace(settings: Settings) -> float:
    """Return how many seconds of a stop the connections may take; the engine needs the others."""
    total_s, engine_s = settings.shutdown_grace.total_seconds(), settings.engine.stop_grace_ms / 1000
    return max(total_s / 4, total_s - engine_s - _CLOSE_MARGIN_S)


def _uvicorn_config(settings: Settings, server: Server) -> uvicorn.Config:
    proxies = settings.http.trusted_proxies
    return uvicorn.Config(
        server.served,
        http=cast("type[BatchingHttpProtocol]", partial(BatchingHttpProtocol, connections=server.connections)),
        ws=WebSocketProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        # Our WebSocket protocol answers frames above the limit and keeps the connection; uvicorn closes it for far
        # larger ones.
        ws_max_size=settings.limits.frame_bytes * 8,
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        timeout_keep_alive=max(1, round(settings.http.keep_alive.total_seconds())),
        timeout_graceful_shutdown=max(1, int(_connections_grace(settings) - _DRAIN_S)),
    )


def run(settings: Settings) -> None:
    """Run `serve` until it ends, on uvloop where that exists. Raises StartFailed."""
    descriptors.raise_limit()
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(settings))
