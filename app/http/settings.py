"""Settings of the HTTP and WebSocket edge."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from app.domain.limits import Limits
from app.http.door_settings import DoorSettings

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRateLimitSettings:
    """Limits of failed authentication attempts, two token buckets: one for each source address, one for all of them."""

    burst_per_source: float = 100.0
    """Failed authentication attempts of one source address before it is answered 429."""
    per_source_per_second: float = 1.0
    """Failed attempts of one source that are allowed again each second."""
    burst_overall: float = 2000.0
    """Failed authentication attempts of all sources together before they are answered 429."""
    overall_per_second: float = 20.0
    """Failed attempts of all sources that are allowed again each second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketSettings:
    """Settings of the two WebSockets. A connection whose queue of live frames is full is closed with 4408."""

    queue_frames: int = 512
    queue_bytes: int = 8 * MIB
    stall: timedelta = timedelta(seconds=20)
    """A client that reads nothing for so long while frames wait is closed with 4408 as well."""
    recheck: timedelta = timedelta(seconds=20)
    """How often the credential is checked again and the session's heartbeat recorded."""
    allowed_origins: tuple[str, ...] = ()
    """Origins besides the server's own whose pages may open a WebSocket, such as `https://console.example`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Settings of the HTTP routes and, in `websockets`, of the WebSockets."""

    base_url: str = "http://127.0.0.1:7777"
    """Base URL under which workers reach this server; sent to them with their handle."""
    identity: bytes = field(default=b"", repr=False)
    """The secret by which this server proves to commands that it is the one of its data directory; empty for none."""
    page_default: int = 50
    """Items of a page where the request names no number, at most `limits.page_items`."""
    default_hold: timedelta = timedelta(seconds=50)
    """How long a long poll waits where the request does not say; 0 does not wait."""
    longest_hold: timedelta = timedelta(hours=48)
    """How long a long poll may wait."""
    sse_comment_every: timedelta = timedelta(seconds=15)
    """How often a comment keeps an idle event stream open."""
    sse_recheck: timedelta = timedelta(seconds=20)
    """How often the credential of an event stream is checked again."""
    metrics_open: bool = False
    """Whether `/metrics` answers without a credential."""
    access_log: bool = False
    """Whether every request is logged. Server errors always are."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies whose `X-Forwarded-For` is believed."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which requests may call the server (421 else), besides `localhost`, `127.0.0.1`, `[::1]` and that of
    `public_url`, with any port; `*` allows every name. Without it, a server that listens on a loopback address allows
    these and its own, any other server every name."""
    keep_alive: timedelta = timedelta(seconds=30)
    """How long a connection may be idle, or pause in the middle of a request (408). The head of a request holds at most
    64 KiB (431)."""
    auth_rate_limit: AuthRateLimitSettings = field(default_factory=AuthRateLimitSettings)
    websockets: WebSocketSettings = field(default_factory=WebSocketSettings)
    limits: Limits = field(default_factory=Limits)
    """The server's limits; set as a section of their own."""
    doors: DoorSettings = field(default_factory=DoorSettings)
    """The other doors; set as a section of their own."""
    finished_kept: timedelta | None = timedelta(days=30)
    """How long passed and cancelled tasks are kept, as `retention.finished` says."""
    blocked_kept: timedelta | None = timedelta(days=90)
    """How long blocked tasks are kept, as `retention.blocked` says."""
