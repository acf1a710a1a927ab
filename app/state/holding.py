"""How an operation is run once it has its transaction: it must be plain, and it must not hold the state for long."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from time import perf_counter
from types import AsyncGeneratorType, GeneratorType
from typing import Any, TypeVar

import structlog

from app.domain.errors import MaxHoldExceeded
from app.state.port import HoldPolicy
from app.state.state import State

R = TypeVar("R")

_UNBEGUN: Any = (GeneratorType, AsyncGeneratorType)
"""What a function returns instead of running when there is a `yield` in it."""

_log: Any = structlog.get_logger(__name__)


def run_held(op: str, fn: Callable[[State], R], state: State, policy: HoldPolicy) -> R:
    """`fn(state)` and its events, timed.

    Raises TypeError when `fn` is a coroutine function and MaxHoldExceeded when the policy says so; the caller rolls
    back on whatever is raised.
    """
    started = perf_counter()
    try:
        answer = fn(state)
        state.flush()
    except StopIteration as error:
        # A future cannot carry it, and inside a coroutine it would read as the end of the coroutine.
        raise RuntimeError(f"{op} let StopIteration out") from error
    held_ms = (perf_counter() - started) * 1000
    if hasattr(answer, "__await__") or isinstance(answer, _UNBEGUN):
        _refuse(op, answer)
    if held_ms > policy.max_hold_ms:
        _judge(op, held_ms, policy)
    return answer


def _refuse(op: str, answer: object) -> None:
    if inspect.iscoroutine(answer):
        answer.close()
    raise TypeError(
        f"{op} gave a {type(answer).__name__}: an operation on the state is a plain function, whose work is done "
        f"when it returns"
    )


def _judge(op: str, held_ms: float, policy: HoldPolicy) -> None:
    if policy.max_hold_panic:
        raise MaxHoldExceeded(op, held_ms, policy.max_hold_ms)
    _log.warning("state_held_too_long", op=op, held_ms=round(held_ms, 1), max_hold_ms=policy.max_hold_ms)
