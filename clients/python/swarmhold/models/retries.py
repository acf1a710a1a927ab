"""Retry policies: when the engine dispatches a blocked task again by itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from swarmhold.models.enums import RetryOn
from swarmhold.models.instants import MAX_SECONDS
from swarmhold.models.shapes import Request, integral

__all__ = ["Retry"]


class Retry(Request):
    """The n-th retry waits `min(backoff * multiplier**(n-1), max_backoff)` seconds.

    `jitter` spreads that wait by up to its fraction either way. `max_attempts` counts the
    first attempt too, so 1 means that nothing is retried. A Final that is not ok is tried again only if `on` has
    `blocked`.
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
