"""Signed POSTs with bounded time and size: no ambient proxies, passwords or cookies, and no compressed replies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from app.domain.redaction import describe


class CallFailed(Exception):
    """Raised when no usable reply came; the message says why."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a call may take: `pause_s` to connect and between two pieces of a reply, `total_s` in all."""

    pause_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with its body up to the limit; `whole` is whether that is all of it."""

    status: int
    retry_after_s: float
    body: bytes
    whole: bool


class OutboundClient:
    """POSTs to other programs. Its connections are opened on first use and closed by `aclose`."""

    def __init__(self, timeouts: Timeouts, *, http: httpx.AsyncClient | None = None) -> None:
        self._timeouts = timeouts
        self._http = http

    async def post(
        self, url: httpx.URL, body: bytes, headers: Mapping[str, str], *, limit: int, method: str = "POST"
    ) -> Reply:
        """POST (or PATCH) once and return the reply with at most `limit` bytes of its body, following no redirect.

        Raises CallFailed when the connection fails, the reply is compressed or the call takes longer than the timeouts
        allow. After a failure or a cancellation it is unknown whether the request arrived.
        """
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "swarmhold",
            **headers,
        }
        try:
            async with asyncio.timeout(self._timeouts.total_s):
                return await self._exchange(method, url, body, headers, limit)
        except TimeoutError as error:
            raise CallFailed(f"no whole reply came within {self._timeouts.total_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # A host that no resolver takes is a UnicodeError, which is a ValueError.
            raise CallFailed(describe(error)) from error

    async def _exchange(
        self, method: str, url: httpx.URL, body: bytes, headers: Mapping[str, str], limit: int
    ) -> Reply:
        async with self._opened().stream(
            method, url, content=body, headers=headers, timeout=self._timeouts.pause_s, follow_redirects=False
        ) as response:
            encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
            if encoding not in ("identity", ""):
                raise CallFailed(f"the reply is compressed ({encoding[:40]!r}), which the request did not accept")
            read, whole = await _read_body(response, limit)
            return Reply(response.status_code, _retry_after_s(response), read, whole)

    def _opened(self) -> httpx.AsyncClient:
        if self._http is None:
            no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
            self._http = httpx.AsyncClient(trust_env=False, cookies=no_cookies)
        return self._http

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        if self._http is not None:
            await self._http.aclose()


def _retry_after_s(response: httpx.Response) -> float:
    """Return the seconds of `Retry-After` (RFC 9110, section 10.2.3); 0 when it is missing or a date."""
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdigit() and len(asked) <= 9 else 0.0


async def _read_body(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """Return at most `limit` bytes of a reply's body, as they came, and whether that is all of it."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), False
    return bytes(body), True
