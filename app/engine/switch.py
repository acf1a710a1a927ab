"""The switches that pause dispatching."""

from __future__ import annotations

from app.domain.access import Caller, Role, Verb
from app.domain.namespaces import ALL_ID
from app.domain.tokens import CapToken
from app.engine.api_keys import ApiKeys
from app.engine.ops import loop
from app.engine.ops.loop import Switches
from app.engine.transactions import Transactions


class DispatchSwitch:
    """Calls that pause and resume dispatching: of a namespace by its seniors, of all by the root key."""

    def __init__(self, transactions: Transactions, *, keys: ApiKeys) -> None:
        self._transactions = transactions
        self._keys = keys

    async def pause(self, token: CapToken) -> Switches:
        """Pause dispatching in the caller's namespace: no new attempt starts until it is resumed. Idempotent."""
        return await self._transactions.call(
            "pause_loop", token, Verb.PAUSE_LOOP, lambda s, c: loop.switch(s, c, paused=True)
        )

    async def resume(self, token: CapToken) -> Switches:
        """Resume dispatching in the caller's namespace. Idempotent."""
        return await self._transactions.call(
            "resume_loop", token, Verb.RESUME_LOOP, lambda s, c: loop.switch(s, c, paused=False)
        )

    async def state(self, token: CapToken) -> Switches:
        """Return whether dispatching is paused in the caller's namespace and in all, by whom, and since when."""
        verbs = (Verb.PAUSE_LOOP, Verb.RESUME_LOOP)
        return await self._transactions.read_as(token, verbs, lambda s, c: loop.read(s, c.namespace))

    async def switch_all(self, key_text: str, *, paused: bool) -> Switches:
        """Pause or resume dispatching in all namespaces. Idempotent. Needs the root key."""
        root = await self._keys.check_root(key_text)
        caller = Caller(role=Role.SENIOR, subject=root.name, via="key", namespace=ALL_ID, key_id=root.id, jti=root.id)
        return await self._transactions.run("switch_all", lambda s: loop.switch(s, caller, paused=paused))
