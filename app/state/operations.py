"""Running an operation inside an open transaction: it must be a plain function and must not hold the state for long."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from time import perf_counter
from types import AsyncGeneratorType, GeneratorType
from typing import Any, TypeVar

import structlog

from app.domain.errors import MaxHoldExceeded
from app.state.policies import HoldPolicy
from app.state.state import State

R = TypeVar("R")

_GENERATORS: Any = (GeneratorType, AsyncGeneratorType)
"""What calling a function that contains `yield` returns: none of its body has run."""

_log: Any = structlog.get_logger(__name__)


def run_operation(op: str, fn: Callable[[State], R], state: State, policy: HoldPolicy) -> R:
    """Run `fn(state)`, write its events, and check how long it held the state.

    Raises what `fn` raises, TypeError when `fn` is a coroutine or generator function, and MaxHoldExceeded when the
    policy forbids the time it took. On any exception the caller rolls back.
    """
    started = perf_counter()
    try:
        answer = fn(state)
        state.flush()
    except StopIteration as error:
        # A future cannot carry StopIteration, and inside a coroutine it would end the coroutine.
        raise RuntimeError(f"{op} raised StopIteration") from error
    held_ms = (perf_counter() - started) * 1000
    if hasattr(answer, "__await__") or isinstance(answer, _GENERATORS):
        _reject(op, answer)
    if held_ms > policy.max_hold_ms:
        _report_hold(op, held_ms, policy)
    return answer


def _reject(op: str, answer: object) -> None:
    if inspect.iscoroutine(answer):
        answer.close()
    raise TypeError(
        f"{op} returned a {type(answer).__name__}: an operation on the state must be a plain function whose work is "
        "done when it returns"
    )


def _report_hold(op: str, held_ms: float, policy: HoldPolicy) -> None:
    if policy.max_hold_panic:
        raise MaxHoldExceeded(op, held_ms, policy.max_hold_ms)
    _log.warning("state_held_too_long", op=op, held_ms=round(held_ms, 1), max_hold_ms=policy.max_hold_ms)
