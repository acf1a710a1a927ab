"""Send the attempt to a worker's URL, by a signed POST.

The body is `{task_id, attempt, agent, handle, base_url, prompt, system?}`, signed as described in
`app.spawning.outbound.signing`, with `Idempotency-Key: <task_id>.<attempt>`, since a request whose reply was lost is
sent again. The worker replies

- 202, 204, or 200 without a value: it was started, works with the handle and submits by itself;
- 200 `{value, ok?}` or `{error}`: it is done, or it failed.

Connection errors, 429, 502, 503 and 504 are tried again with growing pauses. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import httpx
import orjson
import structlog

from app.domain import traces
from app.domain.attempts import Phase
from app.domain.clock import to_rfc3339
from app.domain.errors import Conflict, PayloadTooLarge
from app.domain.json_size import decode_within
from app.domain.limits import Limits
from app.domain.redaction import printable
from app.spawning.outbound.client import CallFailed, OutboundClient, Reply, Timeouts
from app.spawning.outbound.settings import HttpWorkerSettings
from app.spawning.outbound.signing import check_secret, sign
from app.spawning.outbound.urls import UrlPrefix, allowed
from app.spawning.outputs import read_reply
from app.spawning.ports import Control, Exit, Job, SpawnFailed, Worker
from app.spawning.specs import only_fields, text
from app.spawning.workers import FinishedWorker, RemoteWorker

ACCEPTED = {"http": "accepted"}
"""Recorded once the worker has accepted, so that a restarted server does not ask it again."""

RETRIED = frozenset({429, 502, 503, 504})

_log = structlog.get_logger(__name__)
_AT_ONCE = 64 * 1024
"""Bytes of a reply that are decoded on the event loop."""


class HttpWorkers:
    """Calls workers. The client is made when first needed, unless one is given, and closed by `aclose`.

    Raises ValueError for prefixes that are no URLs, and for short secrets, or none, where anything is allowed.
    """

    def __init__(
        self,
        settings: HttpWorkerSettings,
        *,
        limits: Limits | None = None,
        client: httpx.AsyncClient | None = None,
        clock_s: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        secrets = settings.secrets
        if settings.allow and not secrets:
            raise ValueError("calls of HTTP workers are signed: give a secret of 32 bytes or more")
        if settings.allow:
            for secret in secrets:
                check_secret(secret)
        self._settings = settings
        self._limits = limits or Limits()
        self._prefixes = [UrlPrefix.parse(prefix) for prefix in settings.allow]
        self._client = OutboundClient(Timeouts(settings.timeout_s, settings.total_timeout_s), http=client)
        self._clock_s = clock_s
        self._jitter = jitter

    def build(self, spec: dict[str, Any]) -> HttpSpawner:
        """Build from `{kind: http, url}`. Raises DispatchFailed."""
        only_fields(spec, ("url",))
        url = text(spec, "url")
        return HttpSpawner(self, url, allowed(url, self._prefixes))

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def call(self, url: httpx.URL, body: bytes, job: Job, control: Control) -> Exit | None:
        """POST, with retries, and return how the worker ended; None when it was started. Raises SpawnFailed.

        Before each pause it is recorded when the next try is.
        """
        failure = "was not called"
        for number in range(self._settings.tries):
            try:
                reply = await self._post(url, body, job, number + 1)
            except CallFailed as error:
                failure, asked_s = str(error), 0.0
            else:
                if reply.status not in RETRIED:
                    return await self._read(reply)
                failure, asked_s = f"replied {reply.status}", reply.retry_after_s
            if number + 1 < self._settings.tries:
                pause_s = self._pause_s(number, asked_s)
                next_try_at = round(1000 * (self._clock_s() + pause_s))
                with suppress(Conflict):  # the attempt is over, and this call is about to be cancelled
                    await control.record_process(
                        {"next_try_at": next_try_at, "tried": number + 1, "failure": printable(failure)}
                    )
                next_try = to_rfc3339(next_try_at)
                _log.info("http_worker_failed", url=str(url), tried=number + 1, failure=failure, next_try=next_try)
                await asyncio.sleep(pause_s)
        raise SpawnFailed(f"the worker {failure}, {self._settings.tries} times")

    def _pause_s(self, number: int, asked_s: float) -> float:
        grown_s = self._settings.backoff_s * 2**number * (0.5 + self._jitter() / 2)
        return min(max(grown_s, asked_s), self._settings.max_backoff_s)

    async def _read(self, reply: Reply) -> Exit | None:
        if len(reply.body) <= _AT_ONCE:
            return _read(reply, self._limits)
        return await asyncio.to_thread(_read, reply, self._limits)

    async def _post(self, url: httpx.URL, body: bytes, job: Job, number: int) -> Reply:
        idempotency_key = f"{job.task_id}.{job.attempt}"
        headers = {
            "Accept": "application/json",
            "Idempotency-Key": idempotency_key,
            **({} if job.trace is None else traces.fields(job.trace)),
            **sign(self._settings.secrets, body, id=f"A-{idempotency_key}.{number}", at_s=int(self._clock_s())),
        }
        return await self._client.post(url, body, headers, limit=self._settings.max_reply_bytes)


def _read(reply: Reply, limits: Limits) -> Exit | None:
    """Return how the worker ended; None when it was started. Raises SpawnFailed."""
    if reply.status in (202, 204):
        return None
    if 300 <= reply.status < 400:
        raise SpawnFailed(f"the worker replied {reply.status}; redirects are not followed")
    if not reply.whole:
        raise SpawnFailed(f"the worker replied {reply.status} with more than is read of a reply")
    if reply.status not in (200, 201):
        reason = printable(reply.body[:2000].decode(errors="replace"))
        raise SpawnFailed(f"the worker replied {reply.status}: {reason}".rstrip(": "))
    try:
        fields: Any = decode_within(reply.body, limits) if reply.body.strip() else {}
        if not isinstance(fields, dict):
            raise ValueError("it is not an object")
        return read_reply(cast("dict[str, Any]", fields))
    except (ValueError, PayloadTooLarge) as error:
        raise SpawnFailed(f"the worker's reply cannot be read as {{value, ok}}: {printable(str(error))}") from error


class HttpSpawner:
    """`{kind: http, url}`. Its workers are elsewhere and outlive the server."""

    kind = "http"
    first_phase = Phase.SPAWNING
    outlives_server = True
    leased = False

    __slots__ = ("_target", "_workers", "url")

    def __init__(self, workers: HttpWorkers, url: str, target: httpx.URL) -> None:
        self._workers = workers
        self.url = url
        self._target = target

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that is recorded with the attempt."""
        return {"kind": self.kind, "url": self.url}

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Send the attempt to the worker. Raises SpawnFailed.

        Cancelling cannot take back what was sent: such a worker finds its handle dead.
        """
        if job.process is not None and job.process.value == ACCEPTED:
            return RemoteWorker(control)
        body = _body(job, await control.mint_handle())
        exit = await self._workers.call(self._target, body, job, control)
        if exit is not None:
            return FinishedWorker(exit)
        try:
            await control.record_process(ACCEPTED)
        except Conflict:
            _log.debug("attempt_over_before_accepted", task_id=job.task_id, attempt=job.attempt)
        return RemoteWorker(control)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Watch a worker that accepted. When that is not known, ask it again under the same idempotency key."""
        return await self.spawn(job, control)

    async def reap(self, job: Job, grace_s: float) -> None:
        """Do nothing: the worker is elsewhere."""
        del job, grace_s


def _body(job: Job, handle: str) -> bytes:
    fields: dict[str, Any] = {
        "task_id": job.task_id,
        "attempt": job.attempt,
        "agent": job.agent,
        "handle": handle,
        "base_url": job.base_url,
        "prompt": job.prompt,
    }
    if job.system is not None:
        fields["system"] = job.system
    return orjson.dumps(fields)
