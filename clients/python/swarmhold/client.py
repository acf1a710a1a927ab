"""The entry point: one server, one connection pool, and an object with calls for each kind of credential."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import httpx

from swarmhold.call_retry import CallRetry
from swarmhold.calls import read
from swarmhold.errors import InvalidArgument
from swarmhold.models.enums import OperatorKind, Role
from swarmhold.models.sessions import Attached, AttachRequest, SessionRole
from swarmhold.models.shapes import JsonValue, given
from swarmhold.tls import verification
from swarmhold.transport import Transport

# What this client returns is imported when it is asked for: most programs need one of them.
if TYPE_CHECKING:
    from swarmhold.admin import Admin
    from swarmhold.asking import Hold
    from swarmhold.jobs import Job
    from swarmhold.operator import Operator
    from swarmhold.queue_worker import QueueWorker
    from swarmhold.senior import Senior
    from swarmhold.sessions import Observer
    from swarmhold.worker import Worker

KEY_PREFIX = "shk_"


class SwarmholdClient:
    """A client of one server. Use it as an async context manager, or close it; what it returns shares its pool.

        async with SwarmholdClient("http://127.0.0.1:7777") as client:
            operator = await client.attach_operator(api_key, "nightly")
            task = await operator.start_task("greeter", "Say hello.")

    Calls that fail on a busy or absent server are retried as `call_retry` says, if that is safe.
    """

    def __init__(
        self, base_url: str, *, call_retry: CallRetry | None = None, http: httpx.AsyncClient | None = None
    ) -> None:
        """`http` replaces the pool, with `base_url` already set on it; its owner closes it.

        Raises:
            InvalidArgument: `base_url` is not a URL.
        """
        self._owned = http is None
        self._http = http or _pool(base_url)
        self._call_retry = call_retry

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the pool; the objects that this client returned cannot be used any more."""
        if self._owned:
            await self._http.aclose()

    async def is_ready(self) -> bool:
        """Return whether the server answers and has everything that it needs; never raises for an absent one."""
        try:
            reply = await self._http.get("/readyz", timeout=5.0)
        except httpx.RequestError:
            return False
        return reply.status_code == 200

    async def attach(
        self,
        api_key: str,
        operator_id: str | None = None,
        *,
        role: SessionRole = Role.OPERATOR,
        ttl: timedelta = timedelta(hours=12),
        kind: OperatorKind | None = None,
        bridge_id: str | None = None,
        hook_id: str | None = None,
        operator_backend_id: str | None = None,
        operator_kind_overrides: Mapping[str, OperatorKind] | None = None,
        bp_agent_kinds: Mapping[str, OperatorKind] | None = None,
        bp_global_kind: OperatorKind | None = None,
        namespace: str | None = None,
        quiet: bool = False,
        idempotency_key: str | None = None,
    ) -> Attached:
        """Attach a new session for as long as `ttl` and return it with its token.

        `operator_id` is its label, by default the key's name. Keep the token to come back as the same session. A
        `quiet` session leaves no events: for what only looks.

        Raises:
            ApiProblem: `unauthenticated`, or `role-violation` when the key does not carry the role.
        """
        body = AttachRequest(
            role=role,
            ttl=ttl.total_seconds(),
            operator_kind_overrides=dict(operator_kind_overrides or {}),
            bp_agent_kinds=dict(bp_agent_kinds or {}),
            **given(
                operator_id=operator_id,
                kind=kind,
                bridge_id=bridge_id,
                hook_id=hook_id,
                operator_backend_id=operator_backend_id,
                bp_global_kind=bp_global_kind,
                namespace=namespace,
                quiet=quiet or None,
            ),
        )
        return read(Attached, await self._transport(api_key).create("/v1/operator/sessions", body, key=idempotency_key))

    async def attach_operator(
        self,
        api_key: str,
        operator_id: str | None = None,
        *,
        ttl: timedelta = timedelta(hours=12),
        bridge_id: str | None = None,
        namespace: str | None = None,
    ) -> Operator:
        """Attach a new session and return its operator; `attach` takes more options."""
        attached = await self.attach(
            api_key, operator_id, role=Role.OPERATOR, ttl=ttl, bridge_id=bridge_id, namespace=namespace
        )
        return self.operator(attached.token)

    async def attach_senior(
        self,
        api_key: str,
        operator_id: str | None = None,
        *,
        ttl: timedelta = timedelta(hours=12),
        namespace: str | None = None,
    ) -> Senior:
        """Attach a new session and return its senior."""
        attached = await self.attach(api_key, operator_id, role=Role.SENIOR, ttl=ttl, namespace=namespace)
        return self.senior(attached.token)

    async def attach_observer(
        self,
        api_key: str,
        operator_id: str | None = None,
        *,
        ttl: timedelta = timedelta(hours=12),
        namespace: str | None = None,
    ) -> Observer:
        """Attach a new session and return its observer."""
        attached = await self.attach(api_key, operator_id, role=Role.OBSERVER, ttl=ttl, namespace=namespace)
        return self.observer(attached.token)

    def operator(self, token: str) -> Operator:
        """Return the operator of an existing session."""
        from swarmhold.operator import Operator

        return Operator(self._transport(token))

    def senior(self, token: str) -> Senior:
        """Return the senior of an existing session."""
        from swarmhold.senior import Senior

        return Senior(self._transport(token))

    def observer(self, token: str) -> Observer:
        """Return the observer of an existing session or a minted token."""
        from swarmhold.sessions import Observer

        return Observer(self._transport(token))

    def worker(self, bearer: str) -> Worker:
        """Return the worker of one attempt, by its handle or its worker token."""
        from swarmhold.worker import Worker

        return Worker(self._transport(bearer))

    def admin(self, root_key: str) -> Admin:
        """Return the calls that manage API keys and webhooks."""
        from swarmhold.admin import Admin

        return Admin(self._transport(root_key))

    def asking(self, credential: str, *, namespace: str | None = None) -> Hold:
        """Return what asks people with an operator's API key or a worker's handle, and waits for as long as it takes.

        A worker asks about its own task. `namespace` is where the root key asks.
        """

        from swarmhold.asking import Hold

        async def attach() -> Operator | Worker:
            # The session has no label: with the key's own name, every process finds what another one asked.
            if not credential.startswith(KEY_PREFIX):
                return self.worker(credential)
            return await self.attach_operator(credential, namespace=namespace)

        @asynccontextmanager
        async def apart() -> AsyncGenerator[Hold]:
            async with SwarmholdClient(str(self._http.base_url), call_retry=self._call_retry) as server:
                yield server.asking(credential, namespace=namespace)

        return Hold(attach, apart)

    def queue_worker(
        self,
        api_key: str,
        queue: str,
        work: Callable[[Job], Awaitable[JsonValue]],
        *,
        agents: Sequence[str] | None = None,
        concurrency: int = 1,
        hold: timedelta = timedelta(seconds=10),
        heartbeat: timedelta = timedelta(seconds=20),
        name: str | None = None,
        namespace: str | None = None,
    ) -> QueueWorker:
        """Return a loop that claims from `queue` with a worker's API key; call its `run`.

        `namespace` is where the root key claims; every other key has its own.
        """
        from swarmhold.queue_worker import QueueWorker

        return QueueWorker(
            self._transport(api_key),
            queue,
            work,
            agents=agents,
            concurrency=concurrency,
            hold=hold,
            heartbeat=heartbeat,
            name=name,
            namespace=namespace,
        )

    def _transport(self, credential: str) -> Transport:
        return Transport(self._http, credential, call_retry=self._call_retry)


def _pool(base_url: str) -> httpx.AsyncClient:
    # Every long poll holds a connection, so how many there are is for the caller to decide.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=3.0)
    try:
        return httpx.AsyncClient(base_url=base_url, limits=limits, verify=verification(base_url))
    except httpx.InvalidURL as error:
        raise InvalidArgument(f"give a base URL such as http://127.0.0.1:7777: {error}") from error
