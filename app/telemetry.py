"""Logs: structured, on standard error, one line each, without secrets.

Every line passes `redact` as it is written, whatever it came from: secrets are known by their shape.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal

import orjson
import structlog

from app.domain.redaction import redact

LogFormat = Literal["console", "json"]
Processor = Callable[[Any, str, MutableMapping[str, Any]], Any]


def configure(*, log_format: LogFormat = "console", level: str = "info") -> None:
    """Set up logging for this process; both structlog's loggers and the standard library's. May be called again."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    render = _renderers(log_format)
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    logging.captureWarnings(True)


def _renderers(log_format: LogFormat) -> list[Any]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, _json_line]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        timestamp_key="at",
        repr_native_str=True,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_redacted(console)]


def _json_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return redact(orjson.dumps(_sorted(event), default=repr, option=orjson.OPT_NON_STR_KEYS).decode())


def _sorted(event: Mapping[str, Any]) -> dict[str, Any]:
    first = {name: event[name] for name in ("at", "level", "event") if name in event}
    return {**first, **event}


def _redacted(console: structlog.dev.ConsoleRenderer) -> Processor:
    """The console's line, redacted. Colours end before a value begins, so that they hide no secret from the pattern."""

    def render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return redact(str(console(logger, method, event)))

    return render
