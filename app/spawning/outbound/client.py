"""An HTTP client without ambient proxies, passwords or cookies, and bounded reading of replies."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx


def new_client() -> httpx.AsyncClient:
    """Return a client that takes no proxy or password from the environment and keeps no cookies."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.AsyncClient(trust_env=False, cookies=no_cookies)


def retry_after_s(response: httpx.Response) -> float:
    """Return the seconds of `Retry-After` (RFC 9110, section 10.2.3); 0 when it is missing or a date."""
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0


async def read_body(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """Return at most `limit` bytes of a reply's body, and whether that is all of it."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), False
    return bytes(body), True
