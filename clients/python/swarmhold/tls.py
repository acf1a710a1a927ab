"""TLS of connections to a server."""

from __future__ import annotations

import ssl


def verification(url: str) -> ssl.SSLContext | bool:
    """Return what httpx takes as `verify` for a server at `url`.

    Loading the certificates of all authorities takes longer than a call. Where the URL names no TLS the context has
    none of them, so that it would trust nobody.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.lower().startswith("http://") else True
