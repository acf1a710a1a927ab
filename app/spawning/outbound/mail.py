"""Mail to people: a notice as a message of plain text, handed to the mail server of the settings."""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from app.domain.errors import InvalidRequest, WebhookInvalid
from app.domain.notices import Notice
from app.domain.redaction import describe
from app.spawning.outbound.client import CallFailed, Timeouts
from app.spawning.outbound.settings import SmtpSettings

SCHEME = "mailto:"
_LOCAL = r"[A-Za-z0-9.!$'*+/=^_`{|}~-]{1,64}"
_DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{SCHEME}({_LOCAL})@({_DOMAIN})")


class MailSender:
    """Sends one message over one connection. Raises ValueError for settings that cannot be used.

    `allow` has the addresses that may be written to: `mailto:pat@example.com`, or `mailto:*@example.com` for all of a
    domain.
    """

    def __init__(self, settings: SmtpSettings, allow: Sequence[str], timeouts: Timeouts) -> None:
        self._settings = settings
        self._timeouts = timeouts
        self._allowed = [_allowed(entry) for entry in allow]
        self._from = _sender(settings)

    def address(self, url: str) -> str:
        """Return the address in a `mailto:` URL. Raises WebhookInvalid, and InvalidRequest unless it is allowed."""
        found = _ADDRESS.fullmatch(url)
        if found is None:
            raise WebhookInvalid("write mailto: and one plain address, as mailto:pat@example.com", "url")
        if self._from is None:
            raise WebhookInvalid("the settings name no mail server (settings notify.smtp.host and .sender)", "url")
        local, domain = found[1], found[2].lower()
        if not {(local, domain), ("*", domain)} & set(self._allowed):
            raise InvalidRequest("the settings do not allow this address (setting webhooks.allow)", "url")
        return f"{local}@{domain}"

    async def send(self, url: str, notice: Notice) -> str:
        """Hand a message to the mail server; return its id, which answers to it refer to.

        Raises CallFailed, WebhookInvalid, InvalidRequest. After a cancellation it is unknown whether it was taken.
        """
        message = self._message(self.address(url), notice)
        delivery = _Delivery(self._settings, self._timeouts.pause_s)
        try:
            async with asyncio.timeout(self._timeouts.total_s):
                await asyncio.to_thread(delivery.run, message)
        except TimeoutError as error:
            raise CallFailed(f"the mail server took longer than {self._timeouts.total_s:g} s") from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise CallFailed(describe(error)) from error
        finally:
            delivery.abort()
        return notice.id

    def _message(self, to: str, notice: Notice) -> EmailMessage:
        """Return the message. A field with a line break is refused by the policy; the subject is one line before."""
        sender = self._from or Address()
        message = EmailMessage(policy=SMTP)
        message["From"] = sender
        message["To"] = Address(addr_spec=to)
        message["Subject"] = " ".join(notice.heading.split())
        message["Date"] = format_datetime(datetime.fromisoformat(notice.at))
        message["Message-ID"] = f"<{notice.id}@{sender.domain}>"
        if notice.reference is not None:
            message["In-Reply-To"] = message["References"] = f"<{notice.reference}@{sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"
        facts = "\n".join(f"{name}: {value}" for name, value in notice.facts)
        parts = (notice.text, notice.action, facts, f"{notice.link_label}: {notice.link}")
        message.set_content("\n\n".join(part for part in parts if part) + "\n", cte="quoted-printable")
        return message


class _Delivery:
    """One conversation with the mail server, in a thread. `abort` ends it from another one."""

    def __init__(self, settings: SmtpSettings, pause_s: float) -> None:
        self._settings = settings
        self._pause_s = pause_s
        self._smtp: smtplib.SMTP | None = None

    def run(self, message: EmailMessage) -> None:
        settings = self._settings
        host, context = settings.host or "", ssl.create_default_context(cafile=settings.ca_file)
        self._smtp = smtp = (
            smtplib.SMTP_SSL(host, settings.port, timeout=self._pause_s, context=context)
            if settings.security == "tls"
            else smtplib.SMTP(host, settings.port, timeout=self._pause_s)
        )
        with smtp:
            if settings.security == "starttls":
                smtp.starttls(context=context)
            if settings.username is not None and settings.password is not None:
                smtp.login(settings.username, settings.password.get_secret_value())
            smtp.send_message(message)

    def abort(self) -> None:
        if self._smtp is not None and self._smtp.sock is not None:
            with suppress(OSError):
                self._smtp.sock.shutdown(socket.SHUT_RDWR)


def _allowed(entry: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(entry)
    if found is None:
        raise ValueError(f"{entry!r} is not mailto: with an address, or with * in place of its first part")
    return found[1], found[2].lower()


def _sender(settings: SmtpSettings) -> Address | None:
    """Return the address of the sender; None without a mail server."""
    if settings.host is None:
        return None
    name, address = parseaddr(settings.sender or "")
    if _ADDRESS.fullmatch(SCHEME + address) is None:
        raise ValueError("notify.smtp.sender has to be an address, as swarm@example.com or Swarm <swarm@example.com>")
    if (settings.username is None) != (settings.password is None):
        raise ValueError("notify.smtp.username and notify.smtp.password belong together")
    if settings.username is not None and settings.security == "none":
        raise ValueError("notify.smtp.security none would send the password in clear; use starttls or tls")
    return Address(display_name=name, addr_spec=address)
