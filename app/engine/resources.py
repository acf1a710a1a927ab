"""Named values that outlive the task that stored them."""

from __future__ import annotations

from app.domain.access import Caller, Role, Verb
from app.domain.errors import TokenTaskMismatch
from app.domain.json import Json
from app.domain.namespaces import DEFAULT_ID
from app.domain.tokens import Bearer, CapToken
from app.engine.large_reads import LargeReads
from app.engine.ops import resources
from app.engine.ops.access import bound_rows, require_live
from app.engine.ops.rules import BESIDE_THE_LOOP_BYTES
from app.engine.transactions import Transactions
from app.state.state import State


class Resources:
    """Calls about named values."""

    def __init__(self, transactions: Transactions, large: LargeReads) -> None:
        self._transactions = transactions
        self._large = large

    async def put_trusted(self, key: str, value: Json, namespace: int = DEFAULT_ID) -> None:
        """Store a named value, for code of this process. Raises InvalidRequest."""
        await self._transactions.run(
            "set_resource", lambda state: resources.put(state, namespace, key, value, by="engine")
        )

    async def put(self, token: CapToken, key: str, value: Json) -> None:
        """Store a named value; needs `start_task`, and workers may not. Raises TokenTaskMismatch, InvalidRequest."""

        def run(state: State, caller: Caller) -> None:
            if caller.role is Role.WORKER:
                raise TokenTaskMismatch(None)
            resources.put(state, caller.namespace, key, value, by=caller)

        await self._transactions.call("set_resource", token, Verb.START_TASK, run)

    async def read(self, bearer: Bearer, key: str) -> tuple[Json, int]:
        """Return a named value and when it was set.

        Raises ResourceNotFound; AttemptSuperseded or Cancelled for a worker whose attempt is over.
        """

        def run(state: State, caller: Caller) -> tuple[int, tuple[Json, int] | None]:
            if caller.attempt is not None:
                require_live(bound_rows(state, caller, lock=False))
            is_large = resources.size(state, caller.namespace, key) > BESIDE_THE_LOOP_BYTES
            return caller.namespace, None if is_large else resources.read(state, caller.namespace, key)

        namespace, found = await self._transactions.read_as(bearer, Verb.FETCH_DATA, run)
        return found or await self._large.read(lambda state: resources.read(state, namespace, key))
