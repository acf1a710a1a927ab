"""Results of tools, as the protocol has them."""

from __future__ import annotations

from typing import Any

import orjson
from mcp import types

from app.mcp.calls import Value


def result_of(value: Value, *, text_alone: bool = False, is_error: bool = False) -> types.CallToolResult:
    """Return the result with this value, whose text is the same JSON. `text_alone` leaves the structure out."""
    structured: Any = None if text_alone else value
    return types.CallToolResult(content=[text_of(value)], structured_content=structured, is_error=is_error)


def failure_of(problem: Value) -> types.CallToolResult:
    """Return the result of a call that failed with a problem document."""
    return result_of(problem, text_alone=True, is_error=True)


def text_of(value: Value) -> types.TextContent:
    """Return a value as text."""
    return types.TextContent(text=orjson.dumps(value).decode())
