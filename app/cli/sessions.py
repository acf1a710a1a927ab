"""The session of a command: attached with an API key when it begins, detached when it ends."""

from __future__ import annotations

import getpass
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from app.cli.endpoint import Endpoint, run_call
from swarmhold.models.enums import Role

if TYPE_CHECKING:
    from swarmhold.admin import Admin
    from swarmhold.client import SwarmholdClient
    from swarmhold.models.sessions import SessionRole
    from swarmhold.operator import Operator
    from swarmhold.senior import Senior
    from swarmhold.sessions import Observer

R = TypeVar("R")
Seat = TypeVar("Seat")
Session = TypeVar("Session", "Operator", "Senior", "Observer")

TTL = timedelta(hours=12)
LONG_TTL = timedelta(days=29)
"""For commands that run on as a service does."""
HEARTBEAT = timedelta(seconds=120)


def user() -> str:
    """Return the name of the user who runs the command, for the session's principal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


@asynccontextmanager
async def reader_session(endpoint: Endpoint) -> AsyncGenerator[Observer | Operator]:
    """Attach a session that can read, and leaves no events: as observer, else as operator."""
    from swarmhold.errors import ApiProblem

    async with endpoint.connect() as server:
        try:
            token = await _token(server, endpoint, Role.OBSERVER, quiet=True)
        except ApiProblem as problem:
            if problem.code != "role-violation":
                raise
            token = await _token(server, endpoint, Role.OPERATOR, quiet=True)
            async with _attached(server.operator(token)) as session:
                yield session
            return
        async with _attached(server.observer(token)) as session:
            yield session


@asynccontextmanager
async def operator_session(endpoint: Endpoint) -> AsyncGenerator[Operator]:
    """Attach a session as operator."""
    async with (
        endpoint.connect() as server,
        _attached(server.operator(await _token(server, endpoint, Role.OPERATOR))) as session,
    ):
        yield session


@asynccontextmanager
async def key_session(endpoint: Endpoint) -> AsyncGenerator[Operator]:
    """Attach a session as operator whose label is the key's own name, and which leaves no events."""
    async with endpoint.connect() as server:
        attached = await server.attach(endpoint.key, role=Role.OPERATOR, ttl=LONG_TTL, quiet=True)
        async with _attached(server.operator(attached.token)) as session:
            yield session


@asynccontextmanager
async def senior_session(endpoint: Endpoint, *, quiet: bool = False) -> AsyncGenerator[Senior]:
    """Attach a session as senior; a `quiet` one, which only looks, leaves no events."""
    async with (
        endpoint.connect() as server,
        _attached(server.senior(await _token(server, endpoint, Role.SENIOR, quiet=quiet))) as session,
    ):
        yield session


@asynccontextmanager
async def admin_calls(endpoint: Endpoint) -> AsyncGenerator[Admin]:
    """Yield the administration calls, which take the key itself and no session."""
    async with endpoint.connect() as server:
        yield server.admin(endpoint.key)


def call_in(session: AbstractAsyncContextManager[Seat], call: Callable[[Seat], Awaitable[R]]) -> R:
    """Run one call in a session of its own, and return the result. Raises CommandFailed."""

    async def run() -> R:
        async with session as seat:
            return await call(seat)

    return run_call(run)


async def _token(server: SwarmholdClient, endpoint: Endpoint, role: SessionRole, *, quiet: bool = False) -> str:
    attached = await server.attach(
        endpoint.key, f"cli:{user()}", role=role, ttl=TTL, namespace=endpoint.namespace, quiet=quiet
    )
    return attached.token


@asynccontextmanager
async def _attached(session: Session) -> AsyncGenerator[Session]:
    """Send heartbeats while the block runs, then detach, unless the server cannot be reached."""
    from swarmhold.errors import Error

    async with session.staying_attached(interval=HEARTBEAT):
        try:
            yield session
        finally:
            with suppress(Error):
                await session.detach()
