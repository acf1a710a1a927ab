"""Trace contexts by W3C Trace Context: validated, kept with tasks, and passed on to whatever works on them.

A context is kept as one text: the `traceparent`, and after a space the `tracestate` if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from hashlib import sha256
from typing import NamedTuple

LONGEST_STATE = 512
"""Characters of a `tracestate` beyond which it is ignored."""
_MOST_MEMBERS = 32
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_KNOWN_FLAGS = 0x03


class Trace(NamedTuple):
    """The context of a call. `begun`: this server began it, since the caller sent none."""

    text: str
    begun: bool = False


TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The context of the request that is being served. The edges set it; transactions take it along as `State.trace`."""


TRACE_KEY = "swarmhold.trace"
"""Where the scope of a request has the context of its span, if it has one."""
TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"
"""The headers of a context, as ASGI has their names."""


class Parts(NamedTuple):
    """A context in its parts; ids are lower-case hexadecimal, `parent` is the id of the span that calls."""

    trace_id: str
    parent: str
    flags: str
    state: str | None


def read(parents: Iterable[str], states: Iterable[str] = ()) -> str | None:
    """Return the context of a call's `traceparent` and `tracestate` values; None unless there is one that is valid.

    A `tracestate` that is not valid, or too long, is left out.
    """
    given = tuple(parents)
    found = _PARENT.fullmatch(given[0]) if len(given) == 1 and len(given[0]) <= LONGEST_STATE else None
    if found is None:
        return None
    version, trace_id, parent, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not trace_id.strip("0") or not parent.strip("0"):
        return None
    # What a later version adds is not known here, so that the context goes on as one of this version.
    text = f"00-{trace_id}-{parent}-{int(flags, 16) & _KNOWN_FLAGS:02x}"
    state = _state(",".join(states))
    return text if state is None else f"{text} {state}"


def trace_of(headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
    """Return the context that a request's headers carry; None unless they carry a valid one."""
    given = [(name, value.decode("latin-1")) for name, value in headers if name in (TRACEPARENT, TRACESTATE)]
    text = read(*([value for name, value in given if name == wanted] for wanted in (TRACEPARENT, TRACESTATE)))
    return None if text is None else Trace(text)


def take(values: Mapping[str, object]) -> None:
    """Make the context that these values name that of this request, if they name a valid one."""
    given = [(values.get(name),) for name in ("traceparent", "tracestate")]
    text = read(*([value for value in one if isinstance(value, str)] for one in given))
    if text is not None:
        TRACE.set(Trace(text))


def _state(text: str) -> str | None:
    if not text or len(text) > LONGEST_STATE:
        return None
    members = [member for one in text.split(",") if (member := one.strip(" \t"))]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {one[1] for one in found if one is not None}
    if not members or len(keys) != len(members) or len(members) > _MOST_MEMBERS:
        return None
    return ",".join(members)


def parts(text: str) -> Parts:
    """Return the parts of a context that `read` returned."""
    parent, _, state = text.partition(" ")
    _, trace_id, span_id, flags = parent.split("-")
    return Parts(trace_id, span_id, flags, state or None)


def fields(text: str) -> dict[str, str]:
    """Return a context as bodies, headers and events have it."""
    parent, _, state = text.partition(" ")
    return {"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}


def of_span(trace: str | None, root: str, span_id: str) -> str:
    """Return the context of a span of this server within a task's; `root` is the task's root if it has no context."""
    if trace is None:
        return f"00-{trace_id_of(root)}-{span_id}-01"
    found = parts(trace)
    text = f"00-{found.trace_id}-{span_id}-{found.flags}"
    return text if found.state is None else f"{text} {found.state}"


def trace_id_of(root: str) -> str:
    """Return the id of the trace of a tree of tasks that came without a context."""
    return _derived(f"trace:{root}", 16)


def span_of_attempt(task_id: str, number: int) -> str:
    """Return the id of an attempt's span, which its worker knows before the span is written."""
    return _derived(f"attempt:{task_id}.{number}", 8)


def span_of_question(key: str) -> str:
    """Return the id of a question's span."""
    return _derived(f"question:{key}", 8)


def _derived(text: str, size: int) -> str:
    return sha256(text.encode()).digest()[:size].hex()
