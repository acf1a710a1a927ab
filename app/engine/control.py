"""What the spawner and the layers of one attempt may ask of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from app.domain.attempts import Attempt, Phase
from app.domain.errors import AttemptSuperseded, Busy, InvalidRequest, StoreUnavailable
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.outputs import OutputEvent, OutputType
from app.domain.tokens import CapToken
from app.engine.core import STORE_PAUSE_S, Core
from app.engine.ops import attempts, finals
from app.engine.ops.attempts import require_own_attempt
from app.engine.ops.recovery import Walk
from app.state.state import State
from app.state.tables import ATTEMPTS

R = TypeVar("R")

_log = structlog.get_logger(__name__)


class AttemptControl:
    """What the attempt's spawner and layers may ask of the engine; fenced by the attempt's epoch."""

    def __init__(self, core: Core, walk: Walk, token: Callable[[], Awaitable[CapToken]]) -> None:
        self._core = core
        self._task_id = walk.task.id
        self._attempt = walk.attempt.attempt
        self._epoch = walk.attempt.epoch
        self._token = token

    async def _do(self, op: str, fn: Callable[[State, Any], Any], *, once: bool = False) -> Any:
        def run(state: State) -> Any:
            _, attempt = require_own_attempt(state, self._task_id, self._attempt, epoch=self._epoch)
            return fn(state, attempt)

        return await self._patiently(lambda: self._core.with_state(op, run), once=once)

    async def _patiently(self, call: Callable[[], Awaitable[R]], *, once: bool = False) -> R:
        """Until it is done: a store that is away for a while must not fail a worker that is being started.

        What may be done only `once` is not tried again after a commit of which nobody knows.
        """
        while True:
            try:
                return await call()
            except Busy as error:
                if once and isinstance(error, StoreUnavailable) and error.unsure:
                    raise
                _log.warning("worker_waits_for_store", task_id=self._task_id, reason=str(error))
            await asyncio.sleep(STORE_PAUSE_S)

    async def let_through(self) -> None:
        """Let its worker act from now on."""
        cfg = self._core.cfg
        await self._do("let_through", lambda s, a: attempts.let_through(s, cfg, a))

    async def mint_handle(self) -> str:
        """A fresh handle for this attempt; earlier ones stay good."""
        mint = self._core.handle_mint

        def run(state: State, attempt: Attempt) -> str:
            if attempt.phase is Phase.HELD:
                # Its Final is in: nobody is to be started for it again.
                raise AttemptSuperseded(self._task_id, self._attempt, "its final result is with a senior")
            return attempts.new_handle(state, mint, attempt.task_id, attempt.attempt)

        return await self._do("mint_handle", run)

    async def worker_token(self) -> CapToken:
        """The attempt's worker token."""
        return await self._patiently(self._token)

    async def record_process(self, info: dict[str, Any]) -> None:
        """Keep what is needed to find the worker again."""
        value = Json.of(info)
        await self._do("record_process", lambda s, a: ATTEMPTS.update(s.db, a.task_id, a.attempt, process=value))

    async def output(self, event: OutputEvent) -> None:
        """Append an output event in the worker's name. Raises InvalidRequest for a Final: the worker exits with it."""
        if event.type is OutputType.FINAL:
            raise InvalidRequest("a final result is what the worker exits with or submits", "type")
        cfg = self._core.cfg
        await self._do("emit_output", lambda s, a: finals.append(s, cfg, a, event.type, event.body), once=True)

    async def bake_system(self, system: str | None) -> None:
        """Set the system prompt that the worker fetches."""
        await self._do("bake_system", lambda s, a: attempts.bake_system(s, a.task_id, a.attempt, system))

    async def held_long(self, held_s: float) -> None:
        """Put on the feed that the attempt outlived its limit, once."""

        def run(state: State, attempt: Any) -> None:
            if attempt.warned_at is None:
                ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, warned_at=state.now)
                state.emit(EventKind.ATTEMPT_HELD_LONG, task_id=attempt.task_id, attempt=attempt.attempt, held_s=held_s)

        await self._do("held_long", run)

    async def ended(self) -> None:
        """Return when the attempt is no longer live."""
        await self._core.attempt_ended(self._task_id, self._attempt, self._epoch)
