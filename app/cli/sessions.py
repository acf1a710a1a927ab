"""A command's own session on a server: attached with a key when it begins, left when it ends."""

from __future__ import annotations

import getpass
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TypeVar

from app.cli.site import Site
from swarmhold.client import SwarmholdClient
from swarmhold.errors import ApiProblem, Error
from swarmhold.models.enums import Role
from swarmhold.models.sessions import SessionRole
from swarmhold.observer import Observer
from swarmhold.operator import Operator
from swarmhold.senior import Senior

Seat = TypeVar("Seat", Operator, Senior, Observer)

TTL = timedelta(hours=12)
HEARTBEAT = timedelta(seconds=120)


def user() -> str:
    """Who runs the command, for the server's books."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


@asynccontextmanager
async def reading(site: Site) -> AsyncGenerator[Observer | Operator]:
    """A session that may read: an observer's, or an operator's where the key allows nothing else."""
    async with site.connect() as server:
        try:
            token = await _token(server, site, Role.OBSERVER)
        except ApiProblem as problem:
            if problem.code != "role-violation":
                raise
            token = await _token(server, site, Role.OPERATOR)
            async with _seated(server.operator(token)) as seat:
                yield seat
            return
        async with _seated(server.observer(token)) as seat:
            yield seat


@asynccontextmanager
async def operating(site: Site) -> AsyncGenerator[Operator]:
    """An operator's session."""
    async with site.connect() as server, _seated(server.operator(await _token(server, site, Role.OPERATOR))) as seat:
        yield seat


@asynccontextmanager
async def answering(site: Site) -> AsyncGenerator[Senior]:
    """A senior's session."""
    async with site.connect() as server, _seated(server.senior(await _token(server, site, Role.SENIOR))) as seat:
        yield seat


async def _token(server: SwarmholdClient, site: Site, role: SessionRole) -> str:
    return (await server.attach(site.key, f"cli:{user()}", role=role, ttl=TTL)).token


@asynccontextmanager
async def _seated(seat: Seat) -> AsyncGenerator[Seat]:
    """Stay attached while the block runs, then leave; a server that is away does not keep the command from ending."""
    async with seat.staying_attached(interval=HEARTBEAT):
        try:
            yield seat
        finally:
            with suppress(Error):
                await seat.detach()
