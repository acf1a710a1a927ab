"""Hooks of schemathesis, named in `schemathesis.toml`."""

from __future__ import annotations

import secrets
from typing import Any

import schemathesis
from hypothesis.strategies import SearchStrategy
from hypothesis.strategies._internal import regex
from hypothesis.strategies._internal.lazy import unwrap_strategies

HEADER = "Idempotency-Key"

_build = regex._strategy
_classes: dict[object, SearchStrategy[Any]] = {}


def _build_once(codes: Any, context: Any, is_unicode: bool, *, alphabet: Any) -> SearchStrategy[Any]:
    """Build the strategy of a part of a regular expression, of equal character classes only one.

    Hypothesis looks at each of the 137,000 characters of the private use areas, which many patterns exclude, whenever
    it meets such a class: nine tenths of the time of a run.
    """
    if not isinstance(codes, tuple) or str(codes[0]) != "IN":
        return _build(codes, context, is_unicode, alphabet=alphabet)
    intervals = None if alphabet is None else unwrap_strategies(alphabet).intervals
    key = (tuple(codes[1]), context.flags, is_unicode, intervals)
    if key not in _classes:
        _classes[key] = _build(codes, context, is_unicode, alphabet=alphabet)
    return _classes[key]


regex._strategy = _build_once


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, object]) -> None:
    """Make each valid idempotency key one of its own, as clients do; invalid ones are sent as generated."""
    del context, kwargs
    if case.meta is not None and case.meta.generation.mode.is_positive and case.headers and HEADER in case.headers:
        case.headers[HEADER] = secrets.token_hex(16)
