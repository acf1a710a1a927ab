"""An operator backend: one connection that runs attempts, is asked before and after them, and answers questions."""

from __future__ import annotations

import orjson

from swarmhold.console import Console
from swarmhold.errands import Ack, BackendHandlers, Errands
from swarmhold.models.frames import BackendServerFrame, CancelSpawn, HookAfter, HookBefore, Spawn
from swarmhold.transport import Transport, part


class Backend(Console):
    """Operator backend, spawn hook and senior bridge under one id. Use it as an async context manager.

    What the server asks goes to the handlers; questions are iterated over and answered as on a `Console`. While the
    connection is away the server's requests wait and come again, and each is still handled once. Leaving cancels the
    handlers that still run; their attempts wait for the next connection under this id.
    """

    def __init__(self, transport: Transport, backend_id: str, handlers: BackendHandlers) -> None:
        super().__init__(transport, backend_id, path=f"/v1/operator/backends/{part(backend_id)}/ws")
        self._errands = Errands(handlers, self._acknowledge)

    async def __aexit__(self, *exception: object) -> None:
        await self._errands.close()
        await super().__aexit__(*exception)

    async def _acknowledge(self, ack: Ack) -> None:
        await self._link.send(orjson.dumps(ack.model_dump(mode="json")).decode())

    def _hear(self, frame: BackendServerFrame) -> None:
        match frame:
            case HookBefore() | HookAfter() | Spawn():
                self._errands.take(frame)
            case CancelSpawn():
                self._errands.cancel(frame)
            case _:
                super()._hear(frame)
