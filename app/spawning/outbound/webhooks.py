"""Send events to webhooks: a signed POST to a URL that the settings allow.

The body is what `app.spawning.outbound.formats` makes of the events, in order, or what `app.spawning.outbound.chat`
makes of one for people, signed with the webhook's own secret as
described in `app.spawning.outbound.signing`. A 2xx reply accepts them; any other reply, and none, is a
failure. 410 says that the receiver wants no more. Redirects are not followed. Events may be sent again, perhaps with
more behind them; their cursors identify them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import httpx

from app.domain.errors import DispatchFailed, InvalidRequest, WebhookInvalid
from app.domain.events import Event
from app.domain.json import decode, encode
from app.domain.notices import Notice
from app.domain.redaction import printable
from app.domain.webhooks import UNSIGNED, Webhook, WebhookFormat, WebhookSign
from app.spawning.outbound import chat, formats
from app.spawning.outbound.client import CallFailed, OutboundClient, Reply, Timeouts
from app.spawning.outbound.formats import Names
from app.spawning.outbound.mail import SCHEME, MailSender
from app.spawning.outbound.notify import AppriseSender
from app.spawning.outbound.settings import SenderSettings, SmtpSettings
from app.spawning.outbound.signing import sign, sign_by_keys
from app.spawning.outbound.urls import UrlPrefix, allowed

GONE = 410
VERIFIED_WITHIN_S = 10.0
"""How long a receiver has to repeat a challenge."""
NOT_FOUND = 404
_READ_OF_A_REPLY = 2_000
_READ_OF_A_MESSAGE = 64_000
"""Of a reply that repeats the whole message."""


class DeliveryFailed(Exception):
    """The receiver did not accept the events. `final`: it wants no more of them."""

    def __init__(self, detail: str, *, retry_after_s: float = 0.0, final: bool = False) -> None:
        super().__init__(detail, retry_after_s, final)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.final = final

    def __str__(self) -> str:
        return self.detail


class WebhookSender:
    """Sends events. Its client is created on first use and closed by `aclose`. Raises ValueError for a bad prefix."""

    def __init__(
        self,
        settings: SenderSettings,
        *,
        source: str = "swarmhold:",
        answer_links: bool = True,
        instances: bool = True,
        smtp: SmtpSettings | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`source` is the server's URL, which CloudEvents name; `answer_links` is whether messages may have them.

        `instances` is whether those of the approval provider are notified, `smtp` the settings of the mail server.
        """
        self.settings = settings
        self.answer_links = answer_links
        self._instances = instances
        self._source = source
        addresses = [entry for entry in settings.allow if entry.startswith(SCHEME)]
        self._prefixes = [UrlPrefix.parse(entry) for entry in settings.allow if entry not in addresses]
        self._clock_s = clock_s
        timeouts = Timeouts(settings.timeout_s, settings.total_timeout_s)
        self._client = OutboundClient(timeouts)
        self._mail = MailSender(smtp or SmtpSettings(), addresses, timeouts)
        self._apprise = AppriseSender(self._prefixes, timeouts)

    async def check(self, format: WebhookFormat, url: str) -> None:
        """Raise InvalidRequest unless the settings allow the URL, WebhookInvalid for one that the format has not."""
        if format is WebhookFormat.MAIL:
            self._mail.address(url)
        elif format is WebhookFormat.APPRISE:
            await self._apprise.check(url)
        else:
            self._url(url)

    def _url(self, text: str) -> httpx.URL:
        try:
            return allowed(text, self._prefixes)
        except DispatchFailed as refusal:
            raise InvalidRequest(f"{refusal.reason} (setting webhooks.allow)", "url") from refusal

    def longest_batch(self, row: Webhook) -> int:
        """Return how many events one delivery may have."""
        return self.settings.batch if row.format is WebhookFormat.SWARMHOLD else 1

    async def send(self, row: Webhook, secrets: Sequence[str], events: Sequence[Event], names: Names) -> None:
        """POST the events once. Raises DeliveryFailed. After a cancellation it is unknown whether they arrived."""
        message = formats.render(row, events, names, source=self._source)
        headers = {
            "Content-Type": message.content_type,
            "Idempotency-Key": f"{row.id}.{events[0].cursor}-{events[-1].cursor}",
            **self._signatures(row, secrets, message.id, message.body),
        }
        reply = await self._call("POST", self._destination(row), message.body, headers, limit=_READ_OF_A_REPLY)
        _raise_unless_accepted(reply)

    async def verify(self, url: str, secret: str, challenge: str, **said: str) -> None:
        """Raise DeliveryFailed unless the receiver repeats the challenge of a signed message, InvalidRequest for a URL
        that the settings do not allow.
        """
        body, now_s = encode({**said, "challenge": challenge}), int(self._clock_s())
        headers = sign([secret.encode()], body, id=said["id"], at_s=now_s)
        try:
            async with asyncio.timeout(VERIFIED_WITHIN_S):
                reply = await self._call("POST", self._url(url), body, headers, limit=_READ_OF_A_REPLY)
        except TimeoutError as error:
            raise DeliveryFailed(f"no reply came within {VERIFIED_WITHIN_S:g} s") from error
        if reply.status != 200 or not _repeats(reply.body, challenge):
            raise DeliveryFailed(f"the receiver replied {reply.status}, without the challenge or not 200")

    async def send_notice(self, row: Webhook, secrets: Sequence[str], notice: Notice) -> str | None:
        """Send a message for people once; return the receiver's id of it, if it gave one that is of use.

        Raises DeliveryFailed. After a cancellation it is unknown whether the message arrived.
        """
        if row.format in UNSIGNED:
            return await self._hand_over(row, notice)
        asked = chat.request(row, self._destination(row), notice)
        headers = {
            **asked.headers,
            "Content-Type": asked.content_type,
            "Idempotency-Key": notice.id,
            **self._signatures(row, secrets, notice.id, asked.body),
        }
        reply = await self._call(asked.method, asked.url, asked.body, headers, limit=_READ_OF_A_MESSAGE)
        if not (asked.accepts_missing and reply.status == NOT_FOUND):
            _raise_unless_accepted(reply)
        return chat.reference_in(row, reply.body)

    async def _hand_over(self, row: Webhook, notice: Notice) -> str | None:
        """Send a message by a mail server or by Apprise."""
        try:
            if row.format is WebhookFormat.MAIL:
                return await self._mail.send(row.url, notice)
            return await self._apprise.send(row.url, notice)
        except (InvalidRequest, WebhookInvalid, CallFailed) as failure:
            raise DeliveryFailed(str(failure)) from failure

    def _signatures(self, row: Webhook, secrets: Sequence[str], id: str, body: bytes) -> dict[str, str]:
        if row.sign is WebhookSign.ASYMMETRIC:
            return sign_by_keys(secrets, body, id=id, at_s=int(self._clock_s()))
        return sign([secret.encode() for secret in secrets], body, id=id, at_s=int(self._clock_s()))

    def _destination(self, row: Webhook) -> httpx.URL:
        """Return the URL of a webhook. Raises DeliveryFailed when the settings have changed since it was made."""
        if row.instance is not None and not self._instances:
            raise DeliveryFailed("the approval provider is switched off (setting doors.aap.enabled)")
        try:
            return self._url(row.url)
        except InvalidRequest as refusal:
            raise DeliveryFailed(str(refusal)) from refusal

    async def _call(self, method: str, url: httpx.URL, body: bytes, headers: dict[str, str], *, limit: int) -> Reply:
        try:
            return await self._client.post(url, body, headers, limit=limit, method=method)
        except CallFailed as failure:
            raise DeliveryFailed(str(failure)) from failure

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


def _repeats(body: bytes, challenge: str) -> bool:
    with suppress(ValueError):
        return bool(decode(body) == {"challenge": challenge})
    return False


def _raise_unless_accepted(reply: Reply) -> None:
    if 200 <= reply.status < 300:
        return
    detail = printable(reply.body[:_READ_OF_A_REPLY].decode(errors="replace"), longest=300)
    raise DeliveryFailed(
        f"the receiver replied {reply.status}: {detail}".rstrip(": "),
        retry_after_s=reply.retry_after_s,
        final=reply.status == GONE,
    )
