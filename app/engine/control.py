"""Control of one attempt: what its spawner and its layers may ask of the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from app.domain.attempts import Attempt, Phase
from app.domain.errors import AttemptSuperseded, InvalidRequest
from app.domain.events import EventKind
from app.domain.handles import HandleMint
from app.domain.json import Json
from app.domain.outputs import OutputEvent, OutputType
from app.domain.tokens import CapToken
from app.engine.ops import attempts, finals
from app.engine.ops.attempts import require_own_attempt
from app.engine.ops.recovery import Walk
from app.engine.ops.rules import EngineCfg
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.tables import ATTEMPTS

R = TypeVar("R")


class AttemptControl:
    """The `Control` of one attempt, fenced by the attempt's epoch."""

    def __init__(
        self,
        transactions: Transactions,
        walk: Walk,
        *,
        mint: HandleMint,
        cfg: EngineCfg,
        token: Callable[[], Awaitable[CapToken]],
    ) -> None:
        self._transactions = transactions
        self._mint = mint
        self._cfg = cfg
        self._task_id = walk.task.id
        self._attempt = walk.attempt.attempt
        self._epoch = walk.attempt.epoch
        self._token = token

    async def _do(self, op: str, fn: Callable[[State, Any], Any], *, once: bool = False) -> Any:
        def run(state: State) -> Any:
            _, attempt = require_own_attempt(state, self._task_id, self._attempt, epoch=self._epoch)
            return fn(state, attempt)

        return await self._retry(lambda: self._transactions.run(op, run), doing=op, once=once)

    async def _retry(self, call: Callable[[], Awaitable[R]], *, doing: str, once: bool = False) -> R:
        """Await `call()` until the store takes it: an outage must not fail a worker that is being started."""
        return await retry_while_busy(call, doing=doing, once=once, task_id=self._task_id, attempt=self._attempt)

    async def let_through(self) -> None:
        """Let its worker act from now on."""
        cfg = self._cfg
        await self._do("let_through", lambda s, a: attempts.let_through(s, cfg, a))

    async def mint_handle(self) -> str:
        """A fresh handle for this attempt; earlier ones stay good."""
        mint = self._mint

        def run(state: State, attempt: Attempt) -> str:
            if attempt.phase is Phase.HELD:
                # Its Final is in: nobody is to be started for it again.
                raise AttemptSuperseded(self._task_id, self._attempt, "its final result is with a senior")
            return attempts.new_handle(state, mint, attempt.task_id, attempt.attempt)

        return await self._do("mint_handle", run)

    async def worker_token(self) -> CapToken:
        """The attempt's worker token."""
        return await self._retry(self._token, doing="worker_token")

    async def record_process(self, info: dict[str, Any]) -> None:
        """Keep what is needed to find the worker again."""
        value = Json.of(info)
        await self._do("record_process", lambda s, a: ATTEMPTS.update(s.db, a.task_id, a.attempt, process=value))

    async def output(self, event: OutputEvent) -> None:
        """Append an output event in the worker's name. Raises InvalidRequest for a Final: the worker exits with it."""
        if event.type is OutputType.FINAL:
            raise InvalidRequest("a final result is what the worker exits with or submits", "type")
        cfg = self._cfg
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
        """Return when the attempt is no longer live, or another server process has taken it over."""
        topics, hold_s = (f"attempt:{self._task_id}",), self._cfg.longest_hold_ms / 1000
        while not await self._retry(lambda: self._transactions.wait(topics, self._has_ended, hold_s), doing="watch"):
            pass

    async def _has_ended(self) -> bool | None:
        key = self._task_id, self._attempt
        row = await self._transactions.read(lambda state: ATTEMPTS.get(state.db, *key))
        return True if row is None or not row.is_live or row.epoch != self._epoch else None
