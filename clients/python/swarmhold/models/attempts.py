"""Attempts: the request for a dispatch, its record, its retry policy, and late results."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from swarmhold.models.enums import Outcome, Phase, RetryOn
from swarmhold.models.instants import MAX_SECONDS, Instant, Seconds
from swarmhold.models.names import Name
from swarmhold.models.shapes import JsonObject, JsonValue, Request, Shape, integral, null_as
from swarmhold.models.spawners import Spawner
from swarmhold.models.usage import AttemptUsage

__all__ = [
    "Attempt",
    "AttemptStatus",
    "DispatchOutcome",
    "DispatchRequest",
    "Dispatched",
    "FinalValue",
    "LateResult",
    "Retry",
]

AttemptStatus = Literal["live", "ended"]


class FinalValue(Shape):
    """The Final that ended an attempt."""

    value: JsonValue
    ok: bool


class Attempt(Shape):
    """One dispatch of a task.

    `phase` says how far the dispatch has come; an attempt in `finishing` has ended for its task, and its worker is
    being stopped or its layers have steps to do. `reason` says why it ended: a Final, or the cause that came first.
    `outputs` counts them, `usage` is what its worker reported of tokens and cost. In a list, `cut` names the fields
    (`prompt`, `final`) of which this is a preview: the beginning of a text, null for other JSON.
    """

    task_id: str
    attempt: int
    status: AttemptStatus
    phase: Phase
    outcome: Outcome | None = None
    reason: str | None = None
    detail: str | None = None
    agent: str
    spawner: JsonObject
    layers: list[str]
    worker_id: str | None = None
    prompt: str
    system: str | None = None
    started_at: Instant
    ended_at: Instant | None = None
    lease_expires_at: Instant | None = None
    timeout_at: Instant | None = None
    last_seen_at: Instant | None = None
    owner: str | None = None
    session_id: str | None = None
    outputs: int = 0
    late_results: int = 0
    final: FinalValue | None = None
    usage: AttemptUsage | None = None
    cut: list[str] | None = None


class LateResult(Shape):
    """A Final for an attempt that had ended; `index` addresses it for adoption.

    In a list, `cut` names `value` when it is a preview: the beginning of a text, null for other JSON.
    """

    index: int
    task_id: str
    attempt: int
    value: JsonValue
    ok: bool
    reason: str
    received_at: Instant
    adopted_at: Instant | None = None
    adopted_by: str | None = None
    cut: list[str] | None = None


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


class Retry(Request):
    """The n-th retry waits `min(backoff * multiplier**(n-1), max_backoff)` seconds.

    `jitter` spreads that wait by up to its fraction either way. `max_attempts` counts the
    first attempt too, so 1 means that nothing is retried. `on` says after which ends an attempt is repeated: by
    default when its worker's program failed or could not be started (`failed`), its time was up or it was lost. A
    worker's own verdict, such as a `JobFailed`, is a result: it is tried again only if `on` has `blocked`.
    """

    max_attempts: Annotated[int, Field(strict=True, ge=1, le=100), integral] = 1
    backoff: Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)] = 1.0
    multiplier: Annotated[float, Field(strict=True, ge=1, le=100, allow_inf_nan=False)] = 2.0
    max_backoff: Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)] = 300.0
    jitter: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = 0.1
    on: Annotated[tuple[RetryOn, ...], Field(max_length=4, json_schema_extra={"uniqueItems": True})] = (
        RetryOn.FAILED,
        RetryOn.TIMEOUT,
        RetryOn.LOST,
    )

    @model_validator(mode="after")
    def _causes_once(self) -> Retry:
        if len(set(self.on)) != len(self.on):
            raise ValueError("on names a cause twice")
        return self
