"""One credential's way to one server: calls over a shared HTTP pool, sent again when that is safe."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_hex
from urllib.parse import quote

import httpx
import orjson

from swarmhold.errors import ApiProblem, Unreachable
from swarmhold.models.shapes import JsonValue, WireModel
from swarmhold.patience import Failure, Patience, retry_after

Params = Mapping[str, str | int | float | Sequence[str] | None]

JSON_TYPE = "application/json"
_CONNECT_SECONDS = 10.0
_REPLY_SECONDS = 30.0
NO_HOLD = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `repeatable`: sending it twice does no more than sending it once.

    `hold` is how long the server may sit on the reply by agreement; it is added to the read timeout.
    """

    method: str
    path: str
    params: Params = field(default_factory=dict[str, str])
    content: bytes | None = None
    content_type: str = JSON_TYPE
    repeatable: bool = False
    idempotency_key: str | None = None
    hold: timedelta = NO_HOLD

    def query(self) -> dict[str, str | int | float | Sequence[str]]:
        """The parameters that were given."""
        return {name: value for name, value in self.params.items() if value is not None}

    def headers(self) -> dict[str, str]:
        """Type of the body and idempotency key; never the credential."""
        headers = {} if self.content is None else {"Content-Type": self.content_type}
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        return headers


class Transport:
    """Sends calls with one credential. Safe to use from many coroutines of one event loop at once.

    The credential travels in the Authorization header only, and redirects are not followed, so that it reaches no other
    host. Cancelling a call closes its connection; the server may have acted on it.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        credential: str,
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.http = http
        self.credential = credential
        self.patience = patience or Patience()
        self._sleep = sleep
        self._uniform = uniform

    def __repr__(self) -> str:
        return f"Transport({self.http.base_url}, {sha256(self.credential.encode()).hexdigest()[:12]})"

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries the credential."""
        return {"Authorization": f"Bearer {self.credential}"}

    def with_credential(self, credential: str) -> Transport:
        """The same server and pool for another credential."""
        return Transport(self.http, credential, patience=self.patience, sleep=self._sleep, uniform=self._uniform)

    async def rest(self, failures: int) -> None:
        """Sleep as long as befits that many failures in a row."""
        await self._sleep(self.patience.backoff(failures, spread=self._uniform(-1, 1)).total_seconds())

    async def send(self, call: Call) -> httpx.Response:
        """The reply, once one with a status below 300 came.

        Raises:
            ApiProblem: the server refused, and trying again is of no use or the patience has run out.
            Unreachable: no reply came, likewise.
        """
        started = time.monotonic()
        for failures in itertools.count(1):
            failure, error = await self._try(call)
            if isinstance(error, httpx.Response):
                return error
            pause = self.patience.pause(
                failure,
                repeatable=call.repeatable,
                failures=failures,
                elapsed=timedelta(seconds=time.monotonic() - started),
                spread=self._uniform(-1, 1),
            )
            if pause is None:
                raise error
            await self._sleep(pause.total_seconds())
        raise AssertionError("an endless count has ended")

    async def _try(self, call: Call) -> tuple[Failure, httpx.Response | ApiProblem | Unreachable]:
        timeout = httpx.Timeout(_REPLY_SECONDS + call.hold.total_seconds(), connect=_CONNECT_SECONDS)
        headers = {**self.authorization, **call.headers()}
        try:
            reply = await self.http.request(
                call.method, call.path, params=call.query(), content=call.content, headers=headers, timeout=timeout
            )
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            server = str(self.http.base_url).rstrip("/")
            return Failure.of_error(error), Unreachable(call.method, call.path, reason, server=server)
        if reply.status_code < 300:
            return Failure(passing=False, maybe_done=True), reply
        problem = ApiProblem.of(reply)
        hint = retry_after(reply.headers, now=datetime.now(UTC))
        unsure = problem.fields.get("unsure") is True
        return Failure.of_reply(problem.status, problem.code, hint, unsure=unsure), problem

    async def get(self, path: str, *, params: Params | None = None, hold: timedelta = NO_HOLD) -> httpx.Response:
        """A read, repeated as needed."""
        return await self.send(Call(method="GET", path=path, params=params or {}, repeatable=True, hold=hold))

    async def post(
        self,
        path: str,
        body: WireModel | None = None,
        *,
        params: Params | None = None,
        repeatable: bool = False,
        hold: timedelta = NO_HOLD,
    ) -> httpx.Response:
        """A change, repeated only if `repeatable` or surely not done."""
        content = None if body is None else orjson.dumps(body.model_dump(mode="json"))
        return await self.send(
            Call(method="POST", path=path, params=params or {}, content=content, repeatable=repeatable, hold=hold)
        )

    async def create(
        self,
        path: str,
        body: WireModel,
        *,
        params: Params | None = None,
        key: str | None = None,
        hold: timedelta = NO_HOLD,
    ) -> httpx.Response:
        """A POST that creates; its idempotency key (drawn here unless given) makes it repeatable."""
        return await self.send(
            Call(
                method="POST",
                path=path,
                params=params or {},
                content=orjson.dumps(body.model_dump(mode="json")),
                repeatable=True,
                idempotency_key=key or token_hex(16),
                hold=hold,
            )
        )

    async def put(self, path: str, value: JsonValue) -> httpx.Response:
        """Set a value, repeated as needed."""
        return await self.send(Call(method="PUT", path=path, content=orjson.dumps(value), repeatable=True))

    async def delete(self, path: str, *, repeatable: bool = True) -> httpx.Response:
        """Remove."""
        return await self.send(Call(method="DELETE", path=path, repeatable=repeatable))


def part(text: str) -> str:
    """`text` as one segment of a path, whatever it holds."""
    return quote(text, safe="")
