"""Dispatches: starting an attempt and what came of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from swarmhold.models.enums import Outcome
from swarmhold.models.instants import Instant, Seconds
from swarmhold.models.names import Name
from swarmhold.models.shapes import JsonValue, Request, Shape, null_as
from swarmhold.models.spawners import Spawner

__all__ = ["DispatchOutcome", "DispatchRequest", "Dispatched"]


class DispatchRequest(Request):
    """One more attempt. `layers` are hint keys, outermost last; `lease` is in seconds."""

    spawner: Spawner
    layers: Annotated[tuple[Name, ...], Field(max_length=64), null_as(())] = ()
    lease: Seconds | None = None


class Dispatched(Shape):
    """The attempt runs. `worker_handle` is shown for `external` only, and only here."""

    task_id: str
    attempt: int
    worker_handle: str | None = Field(default=None, repr=False)
    expires_at: Instant | None = None


class DispatchOutcome(Shape):
    """The attempt ended, or its task was suspended, within the wait.

    `value` comes with pass and blocked, `key` with suspended, `reason` where no worker chose the outcome.
    """

    outcome: Outcome
    value: JsonValue = None
    key: str | None = None
    reason: str | None = None
