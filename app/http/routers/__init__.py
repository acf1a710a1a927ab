"""The routes, one module per kind of caller."""

from __future__ import annotations

from starlette.routing import BaseRoute

from app.http.routers import (
    admin,
    attempts,
    doors,
    events,
    health,
    links,
    operator,
    selections,
    senior,
    skills,
    tasks,
    webhooks,
    worker,
)

_ROUTERS = (
    selections.router,
    tasks.routes("/v1/operator", "operator", "token"),
    operator.router,
    attempts.router,
    events.router,
    tasks.routes(worker.PREFIX, "worker", "worker"),
    worker.hot,
    worker.router,
    senior.hot,
    senior.router,
    links.router,
    links.opened,
    admin.router,
    webhooks.router,
    skills.router,
    webhooks.public,
    doors.router,
    health.router,
    links.pages,
)


def all_routes() -> list[BaseRoute]:
    """Return every HTTP route, the most frequently used first."""
    return [route for router in _ROUTERS for route in router.routes]
