"""Clients of revisions with a handshake: what one said there comes back sealed, since no server remembers it.

Their replies to requests of the server are requests of HTTP of their own, which any server of a cluster takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson
from mcp import types
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError
from starlette.types import Message, Receive, Scope, Send

from app.domain.access import Role
from app.domain.doors import MEASURED
from app.http import bodies
from app.http.bodies import SizeLimit
from app.http.context import SCOPE_KEY, ServerContext
from app.http.settings import MIB
from app.mcp.asking import Waiters
from app.mcp.calls import Api, received
from app.mcp.clients import CLIENT, Client
from app.mcp.persons import taken
from app.mcp.requests import CAPABILITIES, bearer_of
from app.mcp.seals import Seals

_SESSION = b"mcp-session-id"
_ACCEPTED = [(b"content-length", b"0")]


class Handshakes:
    """Prepares requests of these clients for the SDK, and takes their replies."""

    def __init__(self, seals: Seals, waiters: Waiters) -> None:
        self._seals = seals
        self._waiters = waiters

    async def prepared(self, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send] | None:
        """Return how the SDK receives and sends for this request; None if it was a reply, which is taken here.

        Raises PayloadTooLarge, ClientDisconnect.
        """
        version = bodies.header(scope, b"mcp-protocol-version")
        client: Client = scope[CLIENT]
        if version not in (None, *HANDSHAKE_PROTOCOL_VERSIONS) or not client.is_person:
            return receive, send
        body = await bodies.read(scope, receive, SizeLimit("body", MIB))
        frame = _frame(body)
        if "method" not in frame and ("result" in frame or "error" in frame):
            scope[MEASURED].method = "elicitation/create"
            await self._take(scope, client, frame)
            await send({"type": "http.response.start", "status": 202, "headers": _ACCEPTED})
            await send({"type": "http.response.body", "body": b""})
            return None
        if frame.get("method") == "initialize":
            return received(body, receive), self._with_session(client, frame.get("params"), send)
        if (session := bodies.header(scope, _SESSION)) is not None:
            scope[CAPABILITIES] = self._seals.open_session(client.principal, session)
        return received(body, receive), send

    def _with_session(self, client: Client, params: Any, send: Send) -> Send:
        """Return `send` with what the client sends along from now on, if it can ask its person."""
        try:
            said = types.InitializeRequestParams.model_validate(params).capabilities.elicitation
        except ValidationError:
            said = None
        if said is None or Role.SENIOR not in client.roles:
            return send
        session = self._seals.seal_session(client.principal, said).encode()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message["headers"] = [*message["headers"], (_SESSION, session)]
            await send(message)

        return sent

    async def _take(self, scope: Scope, client: Client, frame: Mapping[str, Any]) -> None:
        """Take a reply: by the call that waits for it here, else as an answer. Any other reply is ignored."""
        key = self._seals.open_request(client.principal, frame.get("id"))
        if key is None:
            return
        said = _said(frame)
        if said is None or not self._waiters.hand_over(frame["id"], said):
            server: ServerContext = scope[SCOPE_KEY]
            api = Api(scope=scope, credential=await client.token(server, Role.SENIOR), role=Role.SENIOR, tool="review")
            if not await taken(api, key, said):
                if said is not None:
                    self._waiters.refuse(frame["id"])
                await server.engine.questions.ignore(bearer_of(api), key, [key])


def _said(frame: Mapping[str, Any]) -> types.ElicitResult | None:
    """Return what the person said; a client that could not ask them says that nobody answered. None for neither."""
    if "error" in frame:
        return types.ElicitResult(action="cancel")
    try:
        return types.ElicitResult.model_validate(frame.get("result"))
    except ValidationError:
        return None


def _frame(body: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}
