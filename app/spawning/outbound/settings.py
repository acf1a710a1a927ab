"""Settings of outgoing requests: what may be called, and how. They are read where no request is ever sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpWorkerSettings:
    """Which URLs may be called, and how."""

    allow: tuple[str, ...] = ()
    """URL prefixes that the `http` spawner may call."""
    secrets: tuple[bytes, ...] = ()
    """Secrets of 32 bytes or more that sign the calls, the current one first; needed where anything is allowed."""
    timeout_s: float = 30.0
    """How long connecting to an HTTP worker may take, and each pause within its reply."""
    total_timeout_s: float = 120.0
    """How long one call of an HTTP worker may take in all; slower ones reply 202."""
    tries: int = 5
    """How often a call is made in all while the worker cannot be reached."""
    backoff_s: float = 0.5
    """First pause between tries; it doubles each time."""
    max_backoff_s: float = 30.0
    """Longest pause between tries, even if the worker's `Retry-After` is longer."""
    max_reply_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings:
    """Where events may be sent, and how."""

    allow: tuple[str, ...] = ()
    """URL prefixes that events may be sent to; see [webhooks](webhooks.md)."""
    timeout_s: float = 10.0
    """How long connecting may take, and each pause within a reply."""
    total_timeout_s: float = 60.0
    """How long one delivery may take in all."""
    backoff_s: float = 1.0
    """First pause before a failed delivery is tried again; it doubles each time."""
    max_backoff_s: float = 300.0
    """Longest pause between tries, even if the receiver's `Retry-After` is longer."""
    pause_after_s: float = 86_400.0
    """A webhook whose deliveries have failed for so long is paused."""
    batch: int = 100
    """Events of one delivery at most, no more than 500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """The mail server that takes messages for people."""

    host: str | None = None
    """Mail server that takes the messages of webhooks with the format `mail`; without it there are none."""
    port: int = 587
    """Port of the mail server."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted: by STARTTLS, by TLS from the start (usually port 465), or not at all. The
    certificate is verified."""
    ca_file: Path | None = None
    """File of the authorities that the mail server's certificate is verified by; by default those of the system."""
    username: str | None = None
    """Name to sign in with, if the mail server asks for it."""
    password: SecretStr | None = None
    """Password to sign in with."""
    sender: str | None = None
    """Address that messages come from, as `swarm@example.com` or `Swarm <swarm@example.com>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """How people are reached other than by HTTP."""

    smtp: SmtpSettings = field(default_factory=SmtpSettings)
