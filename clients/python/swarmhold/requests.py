"""Requests of the server to an operator backend: each is handled once, however often it is sent."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

from swarmhold.models.frames import CancelSpawn, HookAck, HookAfter, HookBefore, Spawn, SpawnAck
from swarmhold.models.shapes import JsonValue
from swarmhold.tracing import traced_by

log = logging.getLogger(__name__)

Ack = HookAck | SpawnAck
Request = HookBefore | HookAfter | Spawn
_Identity = tuple[str, str, int]

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The result of an attempt that the backend has run to its end."""

    value: JsonValue = None
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal to let an attempt start."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendHandlers:
    """A backend's handlers of the server's requests. Each is optional, runs in a task of its own and has no time limit.

    `spawn` returns None when it started a worker that will submit by itself, or `Finished`; raising means that it
    failed. It is cancelled when its attempt is. `renewed` is called with the new handle of an attempt that `spawn` has
    started. `hook_before` returns None to agree; raising refuses. `cancel` stops the workers that `spawn` started.
    """

    spawn: Callable[[Spawn], Awaitable[Finished | None]] | None = None
    renewed: Callable[[Spawn], Awaitable[None]] | None = None
    hook_before: Callable[[HookBefore], Awaitable[Refused | None]] | None = None
    hook_after: Callable[[HookAfter], Awaitable[None]] | None = None
    cancel: Callable[[CancelSpawn], Awaitable[None]] | None = None


@dataclass(slots=True)
class _Record:
    """One request: its latest id, the handle that its handler knows, and its ack once it is done."""

    req_id: str
    handle: str | None = None
    ack: Ack | None = None
    running: asyncio.Task[None] | None = None


class Requests:
    """Runs handlers and acknowledges. A request that is sent again, as after a reconnect, gets the first one's ack.

    A request is started once per process; a new process knows nothing of an old one's and starts them again.
    """

    def __init__(self, handlers: BackendHandlers, send: Callable[[Ack], Awaitable[None]]) -> None:
        self._handlers = handlers
        self._send = send
        self._records: OrderedDict[_Identity, _Record] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, frame: Request) -> None:
        """Start the request's handler, or send the ack again if it is done."""
        identity = (frame.type, frame.task_id, frame.attempt)
        record = self._records.get(identity)
        if record is None:
            record = self._records[identity] = _Record(frame.req_id)
            if isinstance(frame, Spawn):
                record.handle = frame.worker_handle
            record.running = self._start(self._run(frame, record))
            self._prune()
            return
        record.req_id = frame.req_id
        self._start(self._again(frame, record))

    def cancel(self, frame: CancelSpawn) -> None:
        """Cancel the attempt's `spawn` handler and run its `cancel` handler."""
        record = self._records.get(("spawn", frame.task_id, frame.attempt))
        if record is not None and record.running is not None:
            record.running.cancel()
        if self._handlers.cancel is not None:
            self._start(self._logging_failure(self._handlers.cancel(frame), "cancel"))

    async def close(self) -> None:
        """Cancel every handler that still runs and wait for it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, frame: Request, record: _Record) -> None:
        record.ack = await self._spawn(frame) if isinstance(frame, Spawn) else await self._hook(frame)
        await self._acknowledge(record)

    async def _again(self, frame: Request, record: _Record) -> None:
        if isinstance(frame, Spawn) and frame.worker_handle != record.handle:
            record.handle = frame.worker_handle
            if self._handlers.renewed is not None:
                await self._logging_failure(self._handlers.renewed(frame), "renewed")
        await self._acknowledge(record)

    async def _acknowledge(self, record: _Record) -> None:
        if record.ack is not None:
            await self._send(record.ack.model_copy(update={"req_id": record.req_id}))

    async def _spawn(self, frame: Spawn) -> SpawnAck:
        if self._handlers.spawn is None:
            return SpawnAck(req_id=frame.req_id, ok=False, error="this backend runs no attempts")
        try:
            with traced_by(frame.trace):
                finished = await self._handlers.spawn(frame)
        except Exception as error:
            # Whatever a handler raises is the attempt's failure, and is reported as such.
            log.warning("spawn handler failed", exc_info=True, extra={"task_id": frame.task_id})
            return SpawnAck(req_id=frame.req_id, ok=False, error=_described(error))
        if finished is None:
            return SpawnAck(req_id=frame.req_id)
        return SpawnAck(req_id=frame.req_id, value=finished.value, ok=finished.ok)

    async def _hook(self, frame: HookBefore | HookAfter) -> HookAck:
        try:
            refused = await self._ask_hook(frame)
        except Exception as error:
            # A hook that fails has not agreed, and says why.
            log.warning("hook handler failed", exc_info=True, extra={"task_id": frame.task_id})
            refused = Refused(_described(error))
        if refused is None:
            return HookAck(req_id=frame.req_id, ok=True)
        return HookAck(req_id=frame.req_id, ok=False, reason=refused.reason)

    async def _ask_hook(self, frame: HookBefore | HookAfter) -> Refused | None:
        if isinstance(frame, HookBefore):
            return None if self._handlers.hook_before is None else await self._handlers.hook_before(frame)
        if self._handlers.hook_after is not None:
            await self._handlers.hook_after(frame)
        return None

    async def _logging_failure(self, handler: Awaitable[None], name: str) -> None:
        try:
            await handler
        except Exception:
            # Whatever it raises, the connection goes on: nobody waits for this handler.
            log.exception("backend handler failed", extra={"handler": name})

    def _prune(self) -> None:
        """Drop the oldest requests that are done; the server repeats only those of which it has no ack."""
        surplus = len(self._records) - _REMEMBERED
        if surplus > 0:
            done = [identity for identity, record in self._records.items() if record.ack is not None]
            for identity in done[:surplus]:
                del self._records[identity]


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
