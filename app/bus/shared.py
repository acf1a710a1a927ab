"""Hints between server processes: of this one at once, and gathered into few payloads for the others.

A *link* connects to what carries payloads, a *line* is one connection of it. Every payload comes back to its sender as
well; that it does proves that the line works in both directions. So an idle node sends an empty one now and then,
by which nodes also learn of each other: a node alone sends nothing else. A line that fails is replaced; the hints of
the time between are lost, and while other nodes are known every waiter reads its rows again at short intervals.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol, cast

import orjson
import structlog

from app.bus.local import LocalBus

GATHER_S = 0.02
"""Hints within this time of the last payload are sent together: it bounds payloads to 50 a second."""
PULSE_S = 5.0
"""After how long without a payload an empty one is sent."""
PULSES_MISSED = 3
"""After how many missing payloads another node is assumed to be gone."""
SILENCE_S = 5.0
"""How long an own payload may take to come back."""
REREAD_S = 5.0
"""How often waiters read without a hint while there are other nodes."""
RECONNECT_S = 0.5
MOST_PENDING = 50_000
"""Topics that wait for a slow line at most."""

_log = structlog.get_logger(__name__)


class LineLost(Exception):
    """The line cannot be opened, or carries nothing any more."""


class Line(Protocol):
    """One open connection."""

    async def send(self, payload: str) -> None:
        """Send a payload to all nodes, this one included. Raises LineLost."""
        ...

    def abort(self) -> None:
        """Make a `send` that hangs raise, at once."""
        ...

    async def close(self) -> None:
        """Disconnect. Never raises for a connection that is lost."""
        ...


class Link(Protocol):
    """Carrier of payloads between nodes. `limit_bytes` is the size of the largest one."""

    limit_bytes: int

    async def connect(self, received: Callable[[str], None], lost: Callable[[str], None]) -> Line:
        """Open a line; it calls `received` with each payload, and `lost` with the reason of its end. Raises LineLost.

        Gives up after some seconds. Payloads that are sent after this call are received.
        """
        ...


class SharedBus(LocalBus):
    """Hints within this process and to all others that have a line to the same place."""

    def __init__(
        self, link: Link, *, pulse_s: float = PULSE_S, silence_s: float = SILENCE_S, reread_s: float = REREAD_S
    ) -> None:
        super().__init__()
        self._link = link
        self._pulse_s = pulse_s
        self._silence_s = silence_s
        self._reread_s = reread_s
        self._forget_s = PULSES_MISSED * pulse_s
        self._id = secrets.token_hex(8)
        self._pending: set[str] = set()
        self._due = asyncio.Event()
        self._tried = asyncio.Event()
        self._line: Line | None = None
        self._down: str | None = "not connected yet"
        self._unanswered_since: float | None = None
        self._peers: dict[str, float] = {}
        self._expects_others = False
        self._received_at = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def failure(self) -> str | None:
        """Why hints do not reach other nodes; also that none is received although other nodes are alive."""
        if self._down is None and self._expects_others and time.monotonic() - self._received_at > 2 * self._forget_s:
            return "nothing comes from other nodes, though some are alive: give all of them the same SWARMHOLD_BUS_URL"
        return self._down

    async def open(self) -> None:
        """Connect, and go on trying where that fails."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run(), name="hints"), loop.create_task(self._watch(), name="hints-watch")]
        await self._tried.wait()

    async def close(self) -> None:
        """Disconnect and wake every waiter."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.wake_all()

    def publish(self, topics: Iterable[str]) -> None:
        """Wake every subscriber to one of these topics: here at once, elsewhere with the next payload."""
        topics = tuple(topics)
        super().publish(topics)
        if not self._peers:
            return
        if self._down is not None or len(self._pending) >= MOST_PENDING:
            self.counts.lost += len(topics)
            return
        self._pending.update(topics)
        self._due.set()

    def expect_others(self, expected: bool) -> None:
        """Note whether other nodes are alive: then it is a failure to receive nothing of them."""
        super().expect_others(expected)
        if expected and not self._expects_others:
            self._received_at = time.monotonic()
        self._expects_others = expected
        self._note_peers()

    async def _run(self) -> None:
        """Keep a line, until cancelled."""
        while True:
            try:
                self._line = await self._link.connect(self._receive, self._lose_line)
                await self._carry(self._line)
            except LineLost as error:
                self._lose(str(error))
            except Exception as error:  # noqa: BLE001 - without this loop no hint reaches another node again
                self._lose(f"an error of its own: {error!r}")
                _log.exception("hints_failed")
            finally:
                line, self._line = self._line, None
                if line is not None:
                    await line.close()
                self._tried.set()
            await asyncio.sleep(RECONNECT_S)

    async def _carry(self, line: Line) -> None:
        """Send what is pending, and an empty payload now and then, until the line is lost. Raises LineLost."""
        self._down = self._unanswered_since = None
        if self._tried.is_set():
            self.counts.reconnects += 1
            _log.info("hints_connected_again")
            self.wake_all()
        while self._down is None:
            self._due.clear()
            pending, self._pending = self._pending, set()
            for topics in self._batches(pending):
                await self._send(line, topics)
            self._tried.set()
            await asyncio.sleep(GATHER_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pulse_s):
                    await self._due.wait()

    def _batches(self, topics: Iterable[str]) -> Iterator[list[str]]:
        """Yield the topics by payloads that the link takes; a single empty one where there are none."""
        batch: list[str] = []
        room = most = self._link.limit_bytes - len(self._id) - 8
        for topic in topics:
            size = len(orjson.dumps(topic)) + 1
            if size > most:
                self.counts.lost += 1
                continue
            if size > room:
                yield batch
                batch, room = [], most
            batch.append(topic)
            room -= size
        yield batch

    async def _send(self, line: Line, topics: list[str]) -> None:
        if self._unanswered_since is None:
            self._unanswered_since = time.monotonic()
        await line.send(orjson.dumps([self._id, *topics]).decode())
        self.counts.sent += len(topics)

    def _lose_line(self, reason: str) -> None:
        """Note that the line was lost, unless this node is closing it."""
        if self._line is not None:
            self._lose(reason)

    def _lose(self, reason: str) -> None:
        """Note that there is no line, and why."""
        if self._down != reason:
            _log.warning("hints_disconnected", reason=reason)
        self._down = reason
        self.counts.lost += len(self._pending)
        self._pending.clear()
        self._due.set()

    def _receive(self, payload: str) -> None:
        """Pass on the hints of another node. Whatever is no payload of a node is left out."""
        sender, topics = _read(payload)
        if sender == self._id:
            self._unanswered_since = None
        elif sender is not None:
            self._received_at = time.monotonic()
            if sender not in self._peers:
                self._due.set()  # an empty payload tells the newcomer of this node
            self._peers[sender] = self._received_at
            self._note_peers()
            self.counts.received += len(topics)
            super().publish(topics)

    def _note_peers(self) -> None:
        """Let waiters read at short intervals while there are other nodes, from now on."""
        several = bool(self._peers) or self._expects_others
        if several and self.longest_wait_s is None:
            self.longest_wait_s = self._reread_s
            self.wake_all()
        elif not several:
            self.longest_wait_s = None

    async def _watch(self) -> None:
        """Notice a line whose payloads do not come back, and nodes that are gone; until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._silence_s / 2))
            now = time.monotonic()
            unanswered = self._unanswered_since
            if self._line is not None and unanswered is not None and now - unanswered > self._silence_s:
                self._lose("its own payloads do not come back")
                self._line.abort()
            self._peers = {peer: at for peer, at in self._peers.items() if now - at < self._forget_s}
            self._note_peers()


def _read(payload: str) -> tuple[str | None, list[str]]:
    """Return the sender and the topics of a payload; no sender for anything else."""
    try:
        read: Any = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None, []
    if not isinstance(read, list) or not read or not all(isinstance(one, str) for one in cast("list[Any]", read)):
        return None, []
    sender, *topics = cast("list[str]", read)
    return sender, topics
