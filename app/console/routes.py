"""The console's routes: a page, to which `/` leads, its files, and security headers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from app.console.files import ASSETS, File, Files, read_files

PATH = "/console"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""No inline script or style, no other host, and no conversion of text to markup (W3C CSP 3, Trusted Types)."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Vary": "Accept-Encoding",
}
_UNKNOWN = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>No such page · swarmhold</title></head>
<body><main><h1>There is no such page</h1><p>The console is one page. <a href="{PATH}">Go to the console</a>.</p></main>
</body></html>
"""
_ALWAYS_ASK = "no-cache"
_FOR_GOOD = "public, max-age=31536000, immutable"


def console_routes(files: Files | None = None) -> list[BaseRoute]:
    """Return the routes to mount next to the API's. Reads the files at once."""
    served = files or read_files()

    async def root(_: Request) -> Response:
        return RedirectResponse(PATH, 302, {"Cache-Control": "no-cache"})

    async def page(request: Request) -> Response:
        return _reply(request, served.page, _ALWAYS_ASK)

    async def unknown(_: Request) -> Response:
        return Response(_UNKNOWN, 404, {**_HEADERS, "Cache-Control": _ALWAYS_ASK}, "text/html; charset=utf-8")

    async def asset(request: Request) -> Response:
        file = served.assets.get(request.path_params["name"])
        if file is None:
            return Response("There is no such file.\n", 404, _HEADERS, "text/plain; charset=utf-8")
        # During an upgrade behind a proxy, a page of one version may ask a server of the other.
        known = request.path_params["digest"] == served.digest
        return _reply(request, file, _FOR_GOOD if known else _ALWAYS_ASK)

    return [
        Route("/", root, methods=["GET"], include_in_schema=False),
        Route(PATH, page, methods=["GET"], include_in_schema=False),
        Route(f"{PATH}/", page, methods=["GET"], include_in_schema=False),
        Route(f"{ASSETS}{{digest}}/{{name:path}}", asset, methods=["GET"], include_in_schema=False),
        Route(f"{PATH}/{{rest:path}}", unknown, methods=["GET"], include_in_schema=False),
    ]


def _reply(request: Request, file: File, cache: str) -> Response:
    headers = {**_HEADERS, "Cache-Control": cache, "ETag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = file.body
    if "gzip" in request.headers.get("accept-encoding", "") and file.compressed is not None:
        body = file.compressed
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=file.media_type)
