"""One open WebSocket: receiving, sending, following the feed, and closing.

Each connection runs six coroutines: they receive frames, send frames, send the open questions and then new ones,
record which were delivered, monitor the credential, and wait for the server to stop. The first that ends cancels the
others and determines the close code.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from app.domain.access import Role
from app.domain.errors import Busy, EngineError, SessionNotFound
from app.domain.events import Event, EventKind
from app.domain.questions import ASKED, SETTLED, Question, QuestionStatus
from app.engine.feed import EventStream
from app.http.bodies import off_loop
from app.http.context import ServerContext
from app.http.problems import FAILED_CREDENTIAL
from app.spawning.backends.protocols import BackendGone
from app.ws.handshake import SocketClient
from app.ws.outbox import Outbox, SlowReader
from app.ws.protocol import Acknowledged, Answered, OutgoingFrame, Protocol, View, Viewed
from swarmhold.models.frames import CloseCode

_log = structlog.get_logger(__name__)

PAGE = 200
GOING_AWAY = 1012
"""Service restart (RFC 6455's registry of close codes): the client should reconnect."""
CLOSE_WITHIN_S = 10.0

_FOLLOWED = ASKED | SETTLED.keys() | {EventKind.TOKEN_REVOKED.value, EventKind.ID_RELEASED.value}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ends; `code` is None when the client has closed it."""

    code: int | None
    reason: str = ""


LEFT = Ending(None)
REPLACED = Ending(CloseCode.REPLACED, "a newer connection took this id over")
SLOW = Ending(CloseCode.SLOW_READER, "the reader does not keep up; everything is there on reconnect")
STOPPING = Ending(GOING_AWAY, "the server stops")
REFUSED = Ending(CloseCode.UNAUTHENTICATED, "no valid credential")
TAKEN = Ending(CloseCode.FORBIDDEN, "id-taken: the id belongs to another API key")
RELEASED = Ending(CloseCode.FORBIDDEN, "the id was released")
FORBIDDEN = Ending(CloseCode.FORBIDDEN, "the role may not open this")


class Connection:
    """A registered WebSocket connection, which is a senior bridge (`app.spawning.backends.protocols.SeniorBridge`)."""

    def __init__(
        self, context: ServerContext, socket: WebSocket, client: SocketClient, id: str, protocol: Protocol
    ) -> None:
        settings = context.settings.websockets
        self.context = context
        self.id = id
        self.client = client
        self.namespace = client.caller.namespace
        self.protocol = protocol
        self._socket = socket
        self._settings = settings
        self._outbox = Outbox(
            frames=settings.queue_frames, size=settings.queue_bytes, stall_s=settings.stall.total_seconds()
        )
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._delivered: list[str] = []
        self._has_delivered = asyncio.Event()
        self._may_be_revoked = asyncio.Event()

    # For other parts of the server

    @property
    def is_open(self) -> bool:
        """Whether the connection is still open."""
        return not self._ending.done()

    def end(self, ending: Ending) -> None:
        """Close the connection with this ending. Only the first call counts."""
        if not self._ending.done():
            self._ending.set_result(ending)

    def replaced(self) -> None:
        """Close the connection: another node has a newer one under its id."""
        self.end(REPLACED)

    def send(self, frame: OutgoingFrame | None) -> None:
        """Queue a frame. Raises BackendGone when the connection is closed, or is closed now as too slow."""
        if not self.is_open:
            raise BackendGone
        if frame is None:
            return
        try:
            self._outbox.put_nowait(frame)
        except SlowReader:
            self.end(SLOW)
            raise BackendGone from None

    async def ask(self, question: Question) -> None:
        """Send a question, unless it was sent already."""
        self.send(self.protocol.ask(self.context.question(question)))

    @property
    def name(self) -> str:
        """The label of the session."""
        return self.client.caller.subject

    def show_viewers(self, key: str, names: list[str]) -> None:
        """Send who else looks at a question."""
        with contextlib.suppress(BackendGone):
            self.send(self.protocol.viewers(key, names))

    async def withdrawn(self, key: str, reason: str) -> None:
        """Send that a question was withdrawn or settled."""
        self.send(self.protocol.withdrawn(key, reason))

    # Serving

    async def serve(self) -> Ending:
        """Serve the connection until something ends it, then close it."""
        stream = self.context.engine.feed.follow(kinds=_FOLLOWED, namespace=self.namespace)
        ending = LEFT
        self.context.connected.opened(self.client.caller)
        try:
            await stream.open()
            await self._welcome()
            async with self._registered():
                ending = await self._run_until_end(stream)
        except EngineError as error:
            ending = ending_of(error)
        finally:
            await stream.aclose()
            await self.context.connected.closed(self.client.caller, by_client=ending in (LEFT, SLOW))
        await self._close(ending)
        return ending

    @contextlib.asynccontextmanager
    async def _registered(self):
        # The connection shows questions itself, those that its credential may read.
        registration = self.context.engine.couriers.register(self.id, self, namespace=self.namespace, carried=False)
        try:
            yield
        finally:
            self.context.engine.couriers.unregister(self.id, registration, namespace=self.namespace)

    async def _welcome(self) -> None:
        count = await self.context.engine.questions.count_open_for(
            self.client.token, self.id, addressed_only=self._addressed_only
        )
        self.send(self.protocol.welcome(self.id, count))

    async def _run_until_end(self, stream: EventStream) -> Ending:
        """Run all coroutines of the connection until the first of them ends."""
        parts = (
            self._receive_frames(),
            self._send_frames(),
            self._show_questions(stream),
            self._record_deliveries(),
            self._monitor_credential(),
            self._until_stopping(),
        )
        running = [asyncio.create_task(self._run_part(part), name=f"socket {self.id}") for part in parts]
        try:
            return await self._ending
        finally:
            self.end(LEFT)
            self.context.presence.leave(self)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _run_part(self, part: Coroutine[Any, Any, Ending]) -> None:
        """Run one coroutine, and end the connection with its result or with the code of its error."""
        try:
            self.end(await part)
        except WebSocketDisconnect:
            self.end(LEFT)
        except (SlowReader, BackendGone):
            self.end(SLOW)
        except EngineError as error:
            self.end(ending_of(error))
        except Exception:
            self.end(Ending(1011, "the server failed"))
            _log.exception("socket_failed", bridge_id=self.id)
            raise

    async def _close(self, ending: Ending) -> None:
        if ending.code is None or self._socket.application_state is not WebSocketState.CONNECTED:
            return
        # A client that does not read never gets the close frame; it sees the connection break.
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._socket.close(ending.code, ending.reason)

    async def _until_stopping(self) -> Ending:
        await self.context.holds.until_draining()
        return STOPPING

    # Receiving

    async def _receive_frames(self) -> Ending:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return LEFT
            data = message.get("text")
            raw = (message.get("bytes") or b"") if data is None else data.encode(errors="replace")
            received = await off_loop(raw, lambda raw=raw: self.protocol.receive(raw))
            match received:
                case OutgoingFrame():
                    self.send(received)
                case Answered():
                    await self._answer(received)
                case Acknowledged():
                    self.acknowledged(received)
                case Viewed():
                    self.context.presence.view(self, received.key)

    def acknowledged(self, received: Acknowledged) -> None:
        """Do nothing: a senior console is sent no requests that it could acknowledge."""

    async def _answer(self, answered: Answered) -> None:
        self.protocol.answering(answered.key)
        try:
            await self.context.engine.questions.answer(
                self.client.token,
                answered.key,
                answered.value,
                comment=answered.comment,
                connected_as=self.id,
            )
        except EngineError as error:
            if error.code in FAILED_CREDENTIAL:
                raise
            replies = self.protocol.rejected(answered.key, error.code, str(error))
        else:
            replies = self.protocol.accepted(answered.key)
        for reply in replies:
            self.send(reply)

    # Sending

    async def _send_frames(self) -> Ending:
        await self._outbox.deliver(self._socket.send_text, self._delivery_made)
        return LEFT

    def _delivery_made(self, key: str) -> None:
        self._delivered.append(key)
        self._has_delivered.set()

    async def _record_deliveries(self) -> Ending:
        """Record which questions were delivered, in batches."""
        while True:
            await self._has_delivered.wait()
            self._has_delivered.clear()
            keys, self._delivered = self._delivered, []
            try:
                await self.context.engine.questions.mark_delivered(keys, self.id)
            except Busy as busy:
                _log.warning("deliveries_not_recorded", bridge_id=self.id, count=len(keys), cause=busy.code)

    # Showing questions

    @property
    def _addressed_only(self) -> bool:
        """Whether only questions addressed to this id are sent: an operator may answer no others."""
        return self.client.caller.role is Role.OPERATOR

    def _concerns(self, bridge_id: str | None) -> bool:
        return bridge_id == self.id or (bridge_id is None and not self._addressed_only)

    async def _show_questions(self, stream: EventStream) -> Ending:
        """Send the open questions, then new ones. The stream starts first, so that no question is missed in between."""
        await self._show_open()
        async for item in stream:
            if isinstance(item, Event):
                await self._happened(item)
        return STOPPING

    async def _show_open(self) -> None:
        after: str | None = None
        while True:
            rows = await self.context.engine.questions.open_for(self.client.token, self.id, after=after, limit=PAGE)
            for row in rows:
                if self._concerns(row.bridge_id):
                    await self._show_from_backlog(row)
            if not rows:
                return
            after = rows[-1].key

    async def _show_from_backlog(self, row: Question) -> None:
        frame = self.protocol.ask(self.context.question(row))
        if frame is not None:
            await self._outbox.put(frame)

    async def _happened(self, event: Event) -> None:
        data: View = event.data.value if event.data is not None else {}
        if event.kind == EventKind.TOKEN_REVOKED.value:
            self._may_be_revoked.set()
        elif event.kind == EventKind.ID_RELEASED.value:
            if (event.namespace, data["id"]) == (self.client.caller.namespace, self.id):
                self.end(RELEASED)
        elif event.kind in ASKED:
            if self._concerns(data.get("to", data.get("bridge_id"))):
                await self._show_new(data["key"])
        else:
            self.send(self.protocol.withdrawn(data["key"], SETTLED[event.kind]))

    async def _show_new(self, key: str) -> None:
        row = await self.context.engine.questions.read(self.client.token, key)
        if row.status is QuestionStatus.OPEN:
            self.send(self.protocol.ask(self.context.question(row)))

    # Monitoring the credential

    async def _monitor_credential(self) -> Ending:
        """End when the credential expires or is revoked; until then record heartbeats of its session."""
        every_s = self._settings.recheck.total_seconds()
        while True:
            left_s = (self.client.expires_at - self.context.engine.parts.clock()) / 1000
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(every_s, left_s))):
                    await self._may_be_revoked.wait()
            self._may_be_revoked.clear()
            try:
                await self._check_credential()
            except Busy:
                continue

    async def _check_credential(self) -> None:
        await self.context.engine.credentials.whoami(self.client.token)
        with contextlib.suppress(SessionNotFound):
            await self.context.engine.sessions.heartbeat(self.client.token)


def ending_of(error: EngineError) -> Ending:
    """Return how a connection ends with an error."""
    if error.code == "id-taken":
        return TAKEN
    if error.code in FAILED_CREDENTIAL:
        return REFUSED
    if error.code in ("role-violation", "token-task-mismatch"):
        return FORBIDDEN
    return Ending(1011, "the server cannot go on with this connection now")
