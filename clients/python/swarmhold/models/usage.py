"""Usage: tokens of models and their cost, as workers report and as the server adds them up."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from swarmhold.models.names import NewName
from swarmhold.models.shapes import Request, Shape, integral

__all__ = ["AttemptUsage", "ModelUsage", "TaskUsage", "Usage", "UsageReport"]

_Tokens = Annotated[int, Field(strict=True, ge=0, le=10**9), integral]
_Cost = Annotated[float, Field(strict=True, ge=0, le=1_000_000, allow_inf_nan=False)]
_KNOWN: dict[str, Any] = {
    "anyOf": [
        {"required": [name], "properties": {name: {"type": "number"}}}
        for name in ("input_tokens", "output_tokens", "cost")
    ]
}


class UsageReport(Request):
    """A report of what a model used since the last one; it has at least one number. Those of an attempt are added up.

    `cost` is in whatever unit the workers agree on. An attempt has sums for 16 models; what is reported of more of
    them is added up as the model `other`.
    """

    model_config = ConfigDict(json_schema_extra=_KNOWN)

    type: Literal["usage"] = "usage"
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    cost: _Cost | None = None
    model: NewName | None = None

    @model_validator(mode="after")
    def _has_a_number(self) -> UsageReport:
        if self.input_tokens is None and self.output_tokens is None and self.cost is None:
            raise ValueError("give at least one of input_tokens, output_tokens and cost")
        return self


class Usage(Shape):
    """The sum of reports; a field that none of them had is left out."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


class ModelUsage(Usage):
    """Usage of one model; of reports that name none, without `model`."""

    model: str | None = None


class AttemptUsage(Usage):
    """Usage of an attempt, in all and of each model."""

    models: list[ModelUsage]


class TaskUsage(Shape):
    """Usage of a task itself, and in `total` with the `tasks` below it.

    `complete` is false when there are more of those than the 10,000 that are added up.
    """

    task_id: str
    own: Usage
    total: Usage
    tasks: int
    complete: bool
