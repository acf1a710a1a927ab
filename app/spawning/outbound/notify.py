"""Messages by Apprise (the extra `swarmhold[notify]`): a notice for any of its services, sent by its own process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import orjson

from app.domain.errors import WebhookInvalid
from app.domain.notices import Notice, shortened
from app.domain.redaction import printable
from app.spawning.outbound.client import CallFailed, Timeouts
from app.spawning.outbound.urls import UrlPrefix

_LONGEST_TEXT = 8_000
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "TZ")


class AppriseSender:
    """Sends one message at a time for each webhook. `allow` are the prefixes of the settings.

    A service is reached at hosts and ports that a prefix without a path allows: a path means nothing to most services.
    """

    def __init__(self, allow: Sequence[UrlPrefix], timeouts: Timeouts) -> None:
        self._allowed = [(prefix.host, prefix.port) for prefix in allow if not prefix.segments]
        self._timeouts = timeouts

    async def check(self, url: str) -> None:
        """Raise WebhookInvalid without the extra, without an allowed host, and for a URL that Apprise does not know."""
        if find_spec("apprise") is None:
            raise WebhookInvalid("this needs Apprise; install swarmhold[notify]", "format")
        if not self._allowed:
            raise WebhookInvalid(
                "the settings allow no whole host, as https://api.telegram.org/ (webhooks.allow)", "url"
            )
        try:
            outcome = await self._run({"url": url})
        except CallFailed as failure:
            raise WebhookInvalid(f"Apprise cannot read it: {failure}", "url") from failure
        if not outcome["known"]:
            raise WebhookInvalid("Apprise knows no service with such a URL", "url")

    async def send(self, url: str, notice: Notice) -> None:
        """Send a message. Raises CallFailed. After a cancellation it is unknown whether it arrived."""
        facts = "\n".join(f"{name}: {value}" for name, value in notice.facts)
        texts = (shortened(text, _LONGEST_TEXT) for text in (notice.text, notice.action, facts) if text)
        body = "\n\n".join([*texts, f"{notice.link_label}: {notice.link}"])
        outcome = await self._run({"url": url, "title": notice.heading, "body": body})
        if outcome["refused"]:
            where = printable(str(outcome["refused"][0]), longest=200)
            raise CallFailed(f"the settings do not allow {where} (setting webhooks.allow, an entry without a path)")
        if not outcome["sent"]:
            why = printable(str(outcome["line"]), longest=300) or "it gave no reason"
            raise CallFailed(f"Apprise could not send it: {why}")

    async def _run(self, job: dict[str, Any]) -> dict[str, Any]:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app.spawning.outbound.apprise_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
        try:
            async with asyncio.timeout(self._timeouts.total_s):
                written, _ = await child.communicate(orjson.dumps(job | {"allowed": self._allowed}))
            found: dict[str, Any] = orjson.loads(written)
        except TimeoutError as error:
            raise CallFailed(f"Apprise took longer than {self._timeouts.total_s:g} s") from error
        except orjson.JSONDecodeError as error:
            raise CallFailed(
                f"Apprise ended with status {child.returncode}; is swarmhold[notify] installed?"
            ) from error
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        return found
