"""HTTP calls with one credential over a shared connection pool, sent again when that is safe."""

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

from swarmhold.call_retry import CallRetry, Failure, retry_after
from swarmhold.encoding import encode
from swarmhold.errors import ApiProblem, Error, InvalidArgument, InvalidReply, Unreachable
from swarmhold.models.shapes import JsonValue, WireModel
from swarmhold.tracing import trace_headers

Params = Mapping[str, str | int | float | Sequence[str] | None]

JSON_TYPE = "application/json"
_CONNECT_SECONDS = 10.0
_REPLY_SECONDS = 30.0
NO_HOLD = timedelta(0)
_FINAL = Failure(transient=False, may_have_run=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `repeatable`: sending it twice does no more than sending it once.

    `hold` is how long the server may delay the reply by agreement; it is added to the read timeout.
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
        """Return the parameters that were given."""
        return {name: value for name, value in self.params.items() if value is not None}

    def headers(self) -> dict[str, str]:
        """Return the body's type and the idempotency key; never the credential."""
        headers = {} if self.content is None else {"Content-Type": self.content_type}
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        return headers

    @property
    def timeout(self) -> httpx.Timeout:
        """The time that a connection and a reply may take."""
        return httpx.Timeout(_REPLY_SECONDS + self.hold.total_seconds(), connect=_CONNECT_SECONDS)


class Transport:
    """Sends calls with one credential. Safe to use from many coroutines of one event loop.

    The credential travels in the Authorization header only, and redirects are not followed, so that it reaches no other
    host. Cancelling a call closes its connection; the server may have acted on it.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        credential: str,
        *,
        call_retry: CallRetry | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise InvalidArgument for a credential that no header can carry."""
        self.http = http
        self.credential = header_value("a credential", credential)
        self.call_retry = call_retry or CallRetry()
        self._sleep = sleep
        self._uniform = uniform
        self._clock = clock

    def __repr__(self) -> str:
        return f"Transport({self.http.base_url}, {sha256(self.credential.encode()).hexdigest()[:12]})"

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries the credential."""
        return {"Authorization": f"Bearer {self.credential}"}

    def with_credential(self, credential: str) -> Transport:
        """Return a transport for another credential over the same pool."""
        return Transport(
            self.http,
            credential,
            call_retry=self.call_retry,
            sleep=self._sleep,
            uniform=self._uniform,
            clock=self._clock,
        )

    async def back_off(self, failures: int) -> None:
        """Sleep for the backoff after that many failures in a row."""
        await self._sleep(self.call_retry.backoff(failures, random=self._uniform(-1, 1)).total_seconds())

    async def send(self, call: Call) -> httpx.Response:
        """Return the reply, once one with a status below 300 came.

        Raises:
            ApiProblem: the server refused, and trying again is of no use or the retries have ended.
            Unreachable: no reply came, likewise.
            InvalidReply: the reply's body cannot be decoded.
        """
        started, held = self._clock(), timedelta(0)
        for failures in itertools.count(1):
            began = self._clock()
            failure, result = await self._try(call)
            if isinstance(result, httpx.Response):
                return result
            if failure.may_have_run:
                # It was parked as agreed before its server was lost: that time is no part of the outage.
                held += min(call.hold, timedelta(seconds=self._clock() - began))
            delay = self.call_retry.delay(
                failure,
                repeatable=call.repeatable,
                failures=failures,
                elapsed=timedelta(seconds=self._clock() - started) - held,
                random=self._uniform(-1, 1),
            )
            if delay is None:
                raise result
            await self._sleep(delay.total_seconds())
        raise AssertionError("an endless count has ended")

    async def _try(self, call: Call) -> tuple[Failure, httpx.Response | Error]:
        if self.http.is_closed:
            return _FINAL, self._unreachable(call, "this client was closed; make another one")
        headers = {**trace_headers(), **self.authorization, **call.headers()}
        try:
            reply = await self.http.request(
                call.method, call.path, params=call.query(), content=call.content, headers=headers, timeout=call.timeout
            )
        except httpx.TransportError as error:
            return Failure.of_error(error), self._unreachable(call, str(error) or type(error).__name__)
        except httpx.RequestError as error:
            return _FINAL, InvalidReply(call.method, call.path, str(error) or type(error).__name__)
        if reply.status_code < 300:
            return _FINAL, reply
        problem = ApiProblem.of(reply)
        wait = retry_after(reply.headers, now=datetime.now(UTC))
        unsure = problem.fields.get("unsure") is True
        return Failure.of_reply(problem.status, problem.code, wait, unsure=unsure), problem

    def _unreachable(self, call: Call, reason: str) -> Unreachable:
        return Unreachable(call.method, call.path, reason, server=str(self.http.base_url).rstrip("/"))

    async def get(self, path: str, *, params: Params | None = None, hold: timedelta = NO_HOLD) -> httpx.Response:
        """Send a read, repeated as needed."""
        return await self.send(Call(method="GET", path=path, params=params or {}, repeatable=True, hold=hold))

    async def post(self, path: str, body: WireModel | None = None, *, repeatable: bool = False) -> httpx.Response:
        """Send a change, repeated only if `repeatable` or surely not done."""
        content = None if body is None else encode(body)
        return await self.send(Call(method="POST", path=path, content=content, repeatable=repeatable))

    async def create(
        self,
        path: str,
        body: WireModel | None,
        *,
        params: Params | None = None,
        key: str | None = None,
        hold: timedelta = NO_HOLD,
    ) -> httpx.Response:
        """Send a POST that creates; its idempotency key (drawn here unless given) makes it repeatable."""
        return await self.send(
            Call(
                method="POST",
                path=path,
                params=params or {},
                content=encode(body),
                repeatable=True,
                idempotency_key=header_value("an idempotency key", key or token_hex(16)),
                hold=hold,
            )
        )

    async def put(self, path: str, value: JsonValue) -> httpx.Response:
        """Set a value, repeated as needed."""
        return await self.send(Call(method="PUT", path=path, content=encode(value), repeatable=True))

    async def delete(self, path: str, *, params: Params | None = None, repeatable: bool = True) -> httpx.Response:
        """Send a removal."""
        return await self.send(Call(method="DELETE", path=path, params=params or {}, repeatable=repeatable))


def segment(text: str) -> str:
    """Return `text` as one segment of a path. Raises InvalidArgument for one that would make it another path."""
    if text in ("", ".", ".."):
        raise InvalidArgument(f"an id or a name has other signs than {text!r}" if text else "an id or a name is empty")
    return quote(text, safe="")


def header_value(what: str, text: str) -> str:
    """Return `text` if a header can carry it. Raises InvalidArgument, which does not show it: it may be a secret."""
    if not (text and text.isascii() and text.isprintable()):
        raise InvalidArgument(f"{what} is printable ASCII text; this one is empty or has other characters")
    return text
