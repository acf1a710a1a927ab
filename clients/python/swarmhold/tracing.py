"""Trace contexts (W3C): the calls made within `traced` carry one, so that the server's work belongs to that trace."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmhold.models.workers import TraceContext

_HEADERS: ContextVar[Mapping[str, str] | None] = ContextVar("swarmhold_trace", default=None)
_NONE: Mapping[str, str] = {}


@contextmanager
def traced(traceparent: str | None = None, tracestate: str | None = None) -> Generator[None]:
    """Let the calls made inside carry this context, those of asyncio tasks that begin inside included.

    Without arguments it is the context that the environment names (`TRACEPARENT`, `TRACESTATE`), as for programs that
    swarmhold starts; where it names none, nothing changes. The server ignores what is not valid.
    """
    if traceparent is None:
        traceparent, tracestate = os.environ.get("TRACEPARENT"), os.environ.get("TRACESTATE")
    given = {"traceparent": traceparent, "tracestate": tracestate}
    headers = {name: value for name, value in given.items() if value and value.isascii() and value.isprintable()}
    if "traceparent" not in headers:
        yield
        return
    before = _HEADERS.set(headers)
    try:
        yield
    finally:
        _HEADERS.reset(before)


@contextmanager
def traced_by(trace: TraceContext | None) -> Generator[None]:
    """Let the calls made inside carry a context that the server returned; without one nothing changes."""
    if trace is None:
        yield
        return
    with traced(trace.traceparent, trace.tracestate):
        yield


def trace_headers() -> Mapping[str, str]:
    """Return the headers of the context that is active now."""
    return _HEADERS.get() or _NONE
