"""What the server's own calls to others have in common: a client that carries nothing along, and bounded replies."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx


def new_client() -> httpx.AsyncClient:
    """A client with neither proxies nor passwords of the environment, and no cookie of one call in the next."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.AsyncClient(trust_env=False, cookies=no_cookies)


def retry_after_s(response: httpx.Response) -> float:
    """The seconds that a reply asks to wait (RFC 9110, section 10.2.3), 0 when it asks for none; dates are not read."""
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0


async def read_body(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of a reply's body, and whether that is all of it."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), False
    return bytes(body), True
