"""Settings of the HTTP and WebSocket edge."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRateLimitSettings:
    """Limits of failed authentication attempts: token buckets of `burst` attempts, refilled at `per_second`."""

    burst_per_source: float = 100.0
    per_source_per_second: float = 1.0
    burst_in_all: float = 2000.0
    in_all_per_second: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketSettings:
    """Settings of the two WebSockets. A connection whose queue of live frames is full is closed with 4408."""

    frame_limit_bytes: int = MIB
    queue_frames: int = 512
    queue_bytes: int = 8 * MIB
    stall: timedelta = timedelta(seconds=20)
    """A client that reads nothing for so long while frames wait is closed with 4408 as well."""
    recheck: timedelta = timedelta(seconds=20)
    """How often the credential is checked again and the session's heartbeat recorded."""
    allowed_origins: tuple[str, ...] = ()
    """Origins besides the server's own whose pages may open a socket, such as `https://console.example`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Settings of the HTTP routes and, in `websockets`, of the WebSockets."""

    base_url: str = "http://127.0.0.1:7777"
    """Base URL under which workers reach this server; sent to them with their handle."""
    body_limit_bytes: int = 8 * MIB
    page_default: int = 50
    page_limit: int = 200
    default_hold: timedelta = timedelta(seconds=50)
    longest_hold: timedelta = timedelta(hours=48)
    sse_comment_every: timedelta = timedelta(seconds=15)
    sse_recheck: timedelta = timedelta(seconds=20)
    metrics_open: bool = False
    """Whether `/metrics` answers without a credential."""
    access_log: bool = False
    """Whether every request is logged. Server errors always are."""
    auth_rate_limit: AuthRateLimitSettings = field(default_factory=AuthRateLimitSettings)
    websockets: WebSocketSettings = field(default_factory=WebSocketSettings)
