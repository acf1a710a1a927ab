"""One server process, from its first file to its last reply."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import structlog
import uvicorn

from app.bootstrap import descriptors, places, presence
from app.bootstrap.corked import CorkedHttpProtocol
from app.bootstrap.failures import StartFailed
from app.bootstrap.housekeeping import Housekeeping
from app.bootstrap.keyring import Keyring, given_root_key, make_root_key, open_keyring
from app.bootstrap.listening import BACKLOG, bind
from app.bootstrap.parts import build_engine, http_settings
from app.config import Settings
from app.console.routes import console_routes
from app.domain.errors import StoreUnavailable
from app.engine.engine import Engine
from app.http.app import Application, create_app
from app.telemetry import dropped_lines
from app.ws.sockets import Sockets

_log = structlog.get_logger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LEAVE_S = 2.0
"""How long parked requests and sockets have to say goodbye before their connections are told to end."""


@dataclass(slots=True, kw_only=True)
class Server:
    """The engine and the application over it. `start` and `stop` once each; `port` is the one that is bound."""

    settings: Settings
    keyring: Keyring
    base_url: str
    engine: Engine
    housekeeping: Housekeeping
    sockets: Sockets = field(default_factory=Sockets)
    _application: Application | None = None

    @classmethod
    def of(cls, settings: Settings, *, port: int | None = None) -> Server:
        """Make the data directory and the keys, and build everything. Raises StartFailed."""
        places.make_directory(settings.data_dir)
        keyring = open_keyring(settings.keys_path)
        base_url = settings.url(port)
        engine = build_engine(settings, keyring, base_url=base_url)
        housekeeping = Housekeeping(engine, settings.retention)
        return cls(settings=settings, keyring=keyring, base_url=base_url, engine=engine, housekeeping=housekeeping)

    @property
    def application(self) -> Application:
        """What is served. Only after `start`."""
        assert self._application is not None, "the server was not started"  # noqa: S101 - a fault of the caller
        return self._application

    async def start(self) -> None:
        """Open the store, recover, and make sure that there is a root key. Raises StartFailed."""
        try:
            await self.engine.start()
        except StoreUnavailable as error:
            raise StartFailed(f"The database cannot be used: {error.reason}.") from error
        try:
            await self._settle_root_key()
        except BaseException:
            await self.engine.stop()
            raise
        self.engine.start_detach_loop()
        self.housekeeping.start()
        self._application = create_app(
            self.engine,
            http_settings(self.settings, self.base_url),
            more=[*self.sockets.routes(), *console_routes()],
        )
        metrics = self._application.edge.metrics
        metrics.gauge("swarmhold_websockets", "WebSocket connections that are open.", lambda: self.sockets.count)
        metrics.counter(
            "swarmhold_log_lines_dropped", "Log lines that nobody read, or of which there were too many.", dropped_lines
        )
        metrics.gauge("swarmhold_stranded_rows", "Rows without a next event.", lambda: self.housekeeping.stranded)

    async def stop(self) -> None:
        """Stop the engine within the grace period; what is still under way then is found at the next start."""
        grace_s = self.settings.shutdown_grace.total_seconds()
        try:
            async with asyncio.timeout(grace_s):
                await self.housekeeping.stop()
                await self.engine.stop()
        except TimeoutError:
            _log.warning("engine_stopped_late", grace_s=grace_s)

    async def drain(self) -> None:
        """End what is parked, and wait for a moment until streams and sockets have said goodbye."""
        self.application.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                # Two counts of other parts that nobody announces; this runs once, for milliseconds.
                while self.application.edge.holds.parked or self.sockets.count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    def reread_keys(self) -> None:
        """Sign with the ring as it is in its file now: it was rotated."""
        try:
            ring = open_keyring(self.settings.keys_path).signing
        except StartFailed as error:
            _log.error("keys_not_reread", reason=str(error))
            return
        self.engine.signer.use_ring(ring)
        _log.info("keys_reread", signing=ring[0].kid, verifying=len(ring))

    async def _settle_root_key(self) -> None:
        root = given_root_key(self.settings)
        if root is None and not await self.engine.keys.has_root():
            root = make_root_key(self.settings)
            _log.info("root_key_made", file=root.origin, mode="0600")
        if root is not None and await self.engine.keys.ensure_root(root.text):
            _log.info("root_key_set", origin=root.origin)


class _Listener(uvicorn.Server):
    """uvicorn's server, told by signals to drain first, and to leave the exit to us."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._server = server

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """uvicorn would raise the signal again after its shutdown, before the engine could stop."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        loop.add_signal_handler(signal.SIGHUP, self._server.reread_keys)
        try:
            yield
        finally:
            for number in (*_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and put what start-up left beyond the reach of the garbage collector: it made the slowest replies."""
        await super().startup(sockets=sockets)
        gc.collect()
        gc.freeze()
        presence.announce(self._server.settings.data_dir, self._server.base_url)
        _log.info("listening", url=self._server.base_url, data=str(self._server.settings.data_dir))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let go of what is parked, then end the connections."""
        _log.info("stopping")
        for listening in self.servers:
            listening.close()
        for listening in sockets or ():
            listening.close()
        presence.withdraw(self._server.settings.data_dir)
        await self._server.drain()
        await super().shutdown(sockets=sockets)


async def serve(settings: Settings) -> None:
    """Serve until a signal says to stop. Raises StartFailed."""
    bound = bind(settings.host, settings.port)
    try:
        port = int(bound.getsockname()[1])
        server = Server.of(settings, port=port)
        await server.start()
    except BaseException:
        bound.close()
        raise
    try:
        await _Listener(_uvicorn_config(settings, server.application), server).serve(sockets=[bound])
    finally:
        await server.stop()
        _log.info("stopped")


def _uvicorn_config(settings: Settings, application: Application) -> uvicorn.Config:
    proxies = settings.http.trusted_proxies
    return uvicorn.Config(
        application,
        http=CorkedHttpProtocol,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        # Frames above our limit are answered by the protocol, and the connection lives on; those far above it are not
        # even read.
        ws_max_size=settings.http.websockets.frame_limit_bytes * 8,
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        timeout_keep_alive=max(1, round(settings.http.keep_alive.total_seconds())),
        timeout_graceful_shutdown=round(settings.shutdown_grace.total_seconds()),
    )


def run(settings: Settings) -> None:
    """`serve` on the fastest loop there is. Blocks; raises StartFailed."""
    descriptors.raise_limit()
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(settings))
