"""An operator backend: one connection that runs attempts, approves them before they start, and answers questions."""

from __future__ import annotations

from swarmhold.console import Console
from swarmhold.encoding import encode
from swarmhold.models.frames import BackendServerFrame, CancelSpawn, HookAfter, HookBefore, Spawn
from swarmhold.requests import Ack, BackendHandlers, Requests
from swarmhold.transport import Transport, segment


class Backend(Console):
    """Operator backend, spawn hook and senior bridge under one id. Use it as an async context manager.

    The server's requests go to the handlers; questions are iterated over and answered as on a `Console`. While the
    connection is down the server keeps its requests and sends them again, and each is still handled once. Leaving
    cancels the handlers that still run; their attempts wait for the next connection under this id.
    """

    def __init__(self, transport: Transport, backend_id: str, handlers: BackendHandlers) -> None:
        super().__init__(transport, backend_id, path=f"/v1/operator/backends/{segment(backend_id)}/ws")
        self._requests = Requests(handlers, self._acknowledge)

    async def __aexit__(self, *exception: object) -> None:
        await self._requests.close()
        await super().__aexit__(*exception)

    async def _acknowledge(self, ack: Ack) -> None:
        await self._socket.send(encode(ack).decode())

    def _receive(self, frame: BackendServerFrame) -> None:
        match frame:
            case HookBefore() | HookAfter() | Spawn():
                self._requests.take(frame)
            case CancelSpawn():
                self._requests.cancel(frame)
            case _:
                super()._receive(frame)
