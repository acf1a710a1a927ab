"""The shared objects of every endpoint: the engine, the settings, rate limits and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends
from starlette.requests import Request

from app.domain.questions import Question
from app.domain.tokens import Bearer
from app.engine.engine import Engine
from app.engine.ops.idempotency import Idempotency
from app.http import auth, question_views
from app.http.auth_rate_limit import AuthFailures
from app.http.connected import Connected
from app.http.holds import Holds
from app.http.idempotency import idempotency_of
from app.http.key_sessions import KeySessions
from app.http.metrics import Metrics
from app.http.presence import Presence
from app.http.replies import SharedBodies
from app.http.settings import HttpSettings
from app.http.views import Names, View

SCOPE_KEY = "swarmhold"


class InNamespace(Protocol):
    """A row of a namespace."""

    @property
    def namespace(self) -> int:
        """The namespace's id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerContext:
    """The objects that all requests and sockets of one server share; it is in the scope of each."""

    engine: Engine
    settings: HttpSettings
    holds: Holds
    auth_failures: AuthFailures
    metrics: Metrics
    document: Callable[[], bytes]
    key_sessions: KeySessions
    connected: Connected
    presence: Presence = field(default_factory=Presence)
    bodies: SharedBodies = field(default_factory=SharedBodies)

    def names(self, namespace: int) -> str | None:
        """Return the name of a namespace, None for all of them."""
        return self.engine.namespaces.name(namespace)

    async def names_of(self, rows: Iterable[InNamespace]) -> Names:
        """Return `names`, which knows those of these rows: root reads what lies in any namespace."""
        await self.engine.namespaces.learn(*{row.namespace for row in rows})
        return self.names

    def question(self, row: Question) -> View:
        """Render a question as it is now."""
        return question_views.question(self.names, row, self.engine.parts.clock())


def context_of(request: Request) -> ServerContext:
    """Return the context of the server that received a request."""
    context: ServerContext = request.scope[SCOPE_KEY]
    return context


# Dependencies are coroutines: FastAPI would run plain functions in a thread each.


async def _context(request: Request) -> ServerContext:
    return context_of(request)


async def _bearer(request: Request) -> Bearer:
    return auth.bearer(request.scope)


async def _api_key(request: Request) -> str:
    return auth.api_key(request.scope)


async def _idempotency(request: Request) -> Idempotency | None:
    return await idempotency_of(request.scope, await request.body())


ContextDep = Annotated[ServerContext, Depends(_context)]
Token = Annotated[Any, Depends(_bearer)]
ApiKeyText = Annotated[str, Depends(_api_key)]
Once = Annotated[Idempotency | None, Depends(_idempotency)]
