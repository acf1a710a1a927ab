"""The WebSocket of an operator backend: it runs attempts, approves spawns, and answers questions."""

from __future__ import annotations

import contextlib
from typing import Any

from starlette.websockets import WebSocket

from app.domain import traces
from app.domain.attempts import DispatchOutcome
from app.domain.json import NULL, Json
from app.domain.outputs import Final
from app.http.context import ServerContext
from app.spawning.ports import Control, Exit, Job, SpawnRefused
from app.ws.connection import Connection
from app.ws.directive import directive_for
from app.ws.handshake import SocketClient
from app.ws.pending_requests import Ack, PendingRequests, req_id_of
from app.ws.protocol import Acknowledged, Protocol, View
from swarmhold.models.frames import HookAck, SpawnAck


class BackendConnection(Connection):
    """A backend's connection: an operator backend, a spawn hook and a senior bridge (`app.spawning.backends`)."""

    def __init__(
        self, context: ServerContext, socket: WebSocket, client: SocketClient, id: str, protocol: Protocol
    ) -> None:
        super().__init__(context, socket, client, id, protocol)
        self._pending = PendingRequests()

    @contextlib.asynccontextmanager
    async def _registered(self):
        registries = self.context.engine.registries
        async with super()._registered():
            hook = registries.hooks.register(self.id, self, namespace=self.namespace)
            operator = registries.operators.register(self.id, self, namespace=self.namespace)
            try:
                yield
            finally:
                operator.unregister()
                hook.unregister()
                self._pending.drop()

    def acknowledged(self, received: Acknowledged) -> None:
        """Record the backend's acknowledgement of a request."""
        self._pending.acknowledged(received.ack)

    # Operator backend

    async def execute(self, job: Job, control: Control) -> Exit | None:
        """Request the backend to run the attempt. Return how it ended, or None if its worker was started.

        Raises BackendGone.
        """
        handle = await control.mint_handle()
        directive = directive_for(job, handle)
        trace = {} if job.trace is None else {"trace": traces.fields(job.trace)}
        ack = await self._request(
            "spawn", "spawn", job, worker_handle=handle, base_url=job.base_url, directive=directive, **trace
        )
        return _exit_of(ack) if isinstance(ack, SpawnAck) else Exit(detail="the backend answered a spawn as a hook")

    async def finished(self, job: Job) -> Exit:
        """Wait for the acknowledgement of how a started attempt ended. Raises BackendGone."""
        req_id = req_id_of("spawn", job.task_id, job.attempt)
        while True:
            ack = await self._pending.finish(req_id, self._pending.begin(req_id))
            if isinstance(ack, SpawnAck) and (exit := _exit_of(ack)) is not None:
                return exit

    async def cancel(self, job: Job) -> None:
        """Request the backend to cancel the attempt. Raises BackendGone."""
        self.send(self.protocol.request("cancel", req_id_of("cancel", job.task_id, job.attempt), **_about(job)))

    # Spawn hook

    async def before(self, job: Job) -> None:
        """Request approval of the attempt. Raises SpawnRefused, BackendGone."""
        ack = await self._request("before", "hook_before", job)
        if isinstance(ack, HookAck) and not ack.ok:
            raise SpawnRefused(ack.reason or "the spawn hook refused")

    async def after(self, job: Job, outcome: DispatchOutcome) -> None:
        """Report how the attempt ended. Raises BackendGone."""
        await self._request("after", "hook_after", job, result=_result_of(outcome))

    async def _request(self, step: str, kind: str, job: Job, **fields: Any) -> Ack:
        req_id = req_id_of(step, job.task_id, job.attempt)
        waiting = self._pending.begin(req_id)
        if not waiting.done():
            self.send(self.protocol.request(kind, req_id, **{**_about(job), "agent": job.agent, **fields}))
        return await self._pending.finish(req_id, waiting)


def _about(job: Job) -> View:
    return {"task_id": job.task_id, "attempt": job.attempt}


def _result_of(outcome: DispatchOutcome) -> View:
    return {
        "outcome": outcome.outcome.value,
        "value": None if outcome.value is None else outcome.value.fragment,
        "reason": outcome.reason.value if outcome.reason else "",
    }


def _exit_of(ack: SpawnAck) -> Exit | None:
    """Return how the attempt ended by an acknowledgement, or None if its worker was started."""
    if not ack.finished:
        return None
    if ack.error is not None:
        return Exit(detail=ack.error if isinstance(ack.error, str) else Json.of(ack.error).text)
    value = Json.of(ack.value) if ack.has("value") else NULL
    return Exit(final=Final(value=value, ok=ack.ok))
