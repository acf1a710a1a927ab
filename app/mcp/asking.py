"""How a call asks the person at its client: it is made again with the answer, or the client is sent a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

from mcp import types
from starlette.requests import ClientDisconnect

from app.bus.port import HintBus, Subscription
from app.domain.errors import AnswerInvalid
from app.http.holds import Drained
from app.http.problems import problem_of
from app.mcp import forms
from app.mcp.calls import Api, CallFailed, InputNeeded, Value, segment
from app.mcp.persons import answer, request_for
from app.mcp.requests import RequestContext, capabilities_of, client_of, scope_of, server_of
from app.mcp.seals import LIFE_S, Seals
from app.mcp.streams import STREAM, ReplyStream

_NO_ANSWER, _REFUSED = "none", "refused"

Said = types.ElicitResult | None
"""What a person said; None for an answer that another process took, and that the question refused."""


class Waiters:
    """Calls of this process that wait for a reply of their client. Another process takes a reply as well.

    It writes an answer down, by which the call ends like everybody's who waits for the question. That the person gave
    none, or one that was refused, is written nowhere, and comes as a hint.
    """

    def __init__(self, bus: HintBus) -> None:
        self._bus = bus
        self._waiting: dict[str, asyncio.Future[Said]] = {}

    @asynccontextmanager
    async def expecting(self, request_id: str) -> AsyncGenerator[asyncio.Future[Said]]:
        """Expect the reply to a request inside the block: the future has it once it is there."""
        waiter = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        subscriptions = [self._bus.subscribe(_topic(how, request_id)) for how in (_NO_ANSWER, _REFUSED)]
        ending = [
            asyncio.create_task(_end_by_hint(subscription, waiter, said), name="wait for a person's reply")
            for subscription, said in zip(subscriptions, (types.ElicitResult(action="cancel"), None), strict=True)
        ]
        try:
            yield waiter
        finally:
            del self._waiting[request_id]
            for subscription in subscriptions:
                subscription.close()
            for task in ending:
                task.cancel()
            waiter.cancel()

    def hand_over(self, request_id: str, said: types.ElicitResult) -> bool:
        """Give a reply to the call that waits for it in this process; return whether there is one.

        What is no answer ends the call in another process.
        """
        waiter = self._waiting.get(request_id)
        if waiter is not None and not waiter.done():
            waiter.set_result(said)
            return True
        if said.action != "accept":
            self._bus.publish((_topic(_NO_ANSWER, request_id),))
        return False

    def refuse(self, request_id: str) -> None:
        """End the call in another process whose question refused the reply that was taken here."""
        self._bus.publish((_topic(_REFUSED, request_id),))


def _topic(how: str, request_id: str) -> str:
    return f"mcp-{how}:{sha256(request_id.encode()).hexdigest()}"


async def _end_by_hint(subscription: Subscription, waiter: asyncio.Future[Said], said: Said) -> None:
    """End the wait with the first hint. One that was none leaves the question open, and a later reply counts."""
    while not await subscription.wait(None):
        pass
    if not waiter.done():
        waiter.set_result(said)


@dataclass(frozen=True, slots=True)
class AskingAgain:
    """Asks by the result of the call, which the client makes again with the answer (revision 2026-07-28)."""

    context: RequestContext
    params: types.CallToolRequestParams

    @property
    def asked(self) -> str | None:
        """The key of the question that this call asked when it was made before."""
        return self.params.request_state

    async def ask(self, api: Api, question: Value) -> bool:
        """Take the answer that came with the call. Raises InputNeeded without one, CallFailed for one that is none."""
        key = question["key"]
        said = (self.params.input_responses or {}).get(key)
        if self.params.request_state != key or not isinstance(said, types.ElicitResult):
            request = await _request(self.context, api, question)
            raise InputNeeded(types.InputRequiredResult(input_requests={key: request}, request_state=key))
        return not await answer(api, question, said) and said.action == "accept"


@dataclass(frozen=True, slots=True)
class AskingMeanwhile:
    """Asks by a request to the client while the call waits (revisions with a handshake)."""

    context: RequestContext
    seals: Seals
    waiters: Waiters

    @property
    def asked(self) -> str | None:
        """No call is made again."""
        return None

    async def ask(self, api: Api, question: Value) -> bool:
        """Wait until the person has answered, declined, or somebody else was first. Raises CallFailed."""
        scope, key = scope_of(self.context), question["key"]
        stream: ReplyStream = scope[STREAM]
        request = await _request(self.context, api, question)
        if not stream.can_push:
            raise cannot_ask(api, key)
        name = self.seals.seal_request(client_of(self.context).principal, key)
        params = request.params.model_dump(by_alias=True, mode="json", exclude_none=True)
        if isinstance(request.params, types.ElicitRequestURLParams):
            params["elicitationId"] = key
        async with self.waiters.expecting(name) as waiter:
            settled = asyncio.ensure_future(api.get(f"/v1/operator/questions/{segment(key)}", hold=LIFE_S))
            try:
                await stream.push({"jsonrpc": "2.0", "id": name, "method": "elicitation/create", "params": params})
                either = asyncio.wait({waiter, settled}, return_when=asyncio.FIRST_COMPLETED)
                await server_of(self.context).holds.park(stream.receive, either, scope)
                if waiter.done():
                    said = waiter.result()
                    if said is None:
                        raise CallFailed(problem_of(AnswerInvalid(key, "it was refused where it arrived")).document())
                    return not await answer(api, question, said) and said.action == "accept"
            except (Drained, ClientDisconnect):
                pass  # the question stays open, and the reply is taken when it comes
            finally:
                settled.cancel()
                await asyncio.gather(settled, return_exceptions=True)
        return False


def cannot_ask(api: Api, key: str) -> CallFailed:
    """Return the failure of a call whose client cannot ask its person, with the address where that can be done."""
    address = forms.console_address(api.server.settings.base_url, key)
    return CallFailed(
        {
            "title": "The client cannot ask this question",
            "status": 422,
            "code": "elicitation-not-supported",
            "detail": f"Ask the person to answer question {key} at {address}.",
        }
    )


async def _request(context: RequestContext, api: Api, question: Value) -> types.ElicitRequest:
    can = capabilities_of(context).elicitation
    request = None if can is None else await request_for(context, api, question, can)
    if request is None:
        raise cannot_ask(api, question["key"])
    return request
