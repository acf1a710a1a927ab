"""Usage: the tokens of models that an attempt used, and what they cost, as its worker reports them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.domain.errors import InvalidRequest
from app.domain.names import check_optional

MOST_TOKENS = 10**9
"""Tokens of one report, of each kind."""
MOST_COST = 1_000_000.0
"""Cost of one report."""
OTHER_MODEL = "other"
"""The model under which what has no row or label of its own is counted."""
MOST_SPENDERS = 100
"""Pairs of agent and model of a namespace that are counted apart."""

Spender = tuple[int, str, str]
"""Namespace, agent and model (empty for none) of a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and cost, of one report or of several added up; None where no report said anything.

    `cost` is in the unit that the workers of a namespace agree on.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None

    def plus(self, other: Usage) -> Usage:
        """Return the sum of both."""
        return Usage(
            input_tokens=_sum(self.input_tokens, other.input_tokens),
            output_tokens=_sum(self.output_tokens, other.output_tokens),
            cost=_sum(self.cost, other.cost),
        )


class UsageRow(NamedTuple):
    """One row of `usage`: all that an attempt reported of a model, which is empty where its reports name none."""

    task_id: str
    attempt: int
    model: str
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None

    @property
    def usage(self) -> Usage:
        """The sums of the row."""
        return Usage(input_tokens=self.input_tokens, output_tokens=self.output_tokens, cost=self.cost)


class UsageTotals:
    """Usage by each agent of each model; beyond `MOST_SPENDERS` of a namespace, that of all others together."""

    def __init__(self) -> None:
        self._found: dict[Spender, Usage] = {}
        self._pairs: Counter[int] = Counter()

    def add(self, who: Spender, used: Usage) -> None:
        """Add a report."""
        if who not in self._found:
            if self._pairs[who[0]] >= MOST_SPENDERS:
                who = (who[0], OTHER_MODEL, OTHER_MODEL)
            else:
                self._pairs[who[0]] += 1
        self._found[who] = self._found.get(who, Usage()).plus(used)

    def items(self) -> list[tuple[Spender, Usage]]:
        """Return what was used, by namespace, agent and model."""
        return list(self._found.items())


def read_report(fields: Mapping[str, Any]) -> tuple[str, Usage]:
    """Return the model (empty for none) and the usage that a report spells. Raises InvalidRequest, InvalidName."""
    model = fields.get("model")
    if not isinstance(model, str | None):
        raise InvalidRequest("give the name of a model", "model")
    check_optional(model, "model")
    tokens = {name: _tokens(fields.get(name), name) for name in ("input_tokens", "output_tokens")}
    used = Usage(**tokens, cost=_cost(fields.get("cost")))
    if used == Usage():
        raise InvalidRequest("give at least one of input_tokens, output_tokens and cost", "type")
    return model or "", used


def _tokens(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS or value % 1:
        raise InvalidRequest(f"give a whole number from 0 to {MOST_TOKENS}", name)
    return int(value)


def _cost(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_COST:
        raise InvalidRequest(f"give a number from 0 to {MOST_COST:.0f}", "cost")
    return float(value)


def _sum(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other
