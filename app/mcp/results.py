"""Results of tools, as the protocol has them."""

from __future__ import annotations

import orjson
from mcp import types

from app.mcp.calls import Value
from app.mcp.resources import link_to


def result_of(value: Value, *, text_alone: bool = False, is_error: bool = False) -> types.CallToolResult:
    """Return the result with this value: JSON text, a link to what it is about, and, unless `text_alone`, structure."""
    if text_alone:
        return types.CallToolResult(content=[text_of(value)], is_error=is_error)
    link = link_to(value)
    content: list[types.ContentBlock] = [text_of(value)] if link is None else [text_of(value), link]
    return types.CallToolResult(content=content, structured_content=value, is_error=is_error)


def failure_of(problem: Value) -> types.CallToolResult:
    """Return the result of a call that failed with a problem document."""
    return result_of(problem, text_alone=True, is_error=True)


def text_of(value: object) -> types.TextContent:
    """Return a value as text."""
    return types.TextContent(text=orjson.dumps(value).decode())
