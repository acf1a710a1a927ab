"""Logs: structured, on standard error, one line each, without secrets, and never in the way of what is logged.

Every line passes `redact` as it is written, whatever it came from: secrets are known by their shape. Lines go through
a bounded queue to a thread (`LogWriter`) and each message has a rate (`LineLimit`); what is over either bound is
dropped and counted. Nothing here raises into, or blocks, the code that logs.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO

import orjson
import structlog

from app.domain.redaction import redact
from app.telemetry.rate_limit import LineLimit
from app.telemetry.writer import FileDescriptor, LogWriter, Sink

LogFormat = Literal["console", "json"]
Event = MutableMapping[str, Any]
Processor = Callable[[Any, str, Event], Any]

UNLIMITED = frozenset({"request"})
"""Messages without a rate: the access log, a line for each request by its setting."""

_log = structlog.get_logger(__name__)


class _Output:
    """The outputs of this process's logs; replaced whole by `configure`."""

    def __init__(self, writer: LogWriter, limit: LineLimit) -> None:
        self.writer = writer
        self.limit = limit

    @property
    def dropped(self) -> int:
        return self.writer.dropped + self.limit.suppressed


_current: list[_Output] = []


def configure(*, log_format: LogFormat = "console", level: str = "info") -> LogWriter:
    """Set up logging for this process; both structlog's loggers and the standard library's. May be called again.

    Returns the writer; its `close` waits for the queued lines. That is done at exit, too.
    """
    output = _Output(LogWriter(_sink(sys.stderr)), LineLimit())
    _current[:] = [output]
    atexit.register(output.writer.close)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _limited(output.limit),
    ]
    render = _renderers(log_format)
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Lines(output.writer),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(output.writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    logging.captureWarnings(True)
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_failed
    return output.writer


def dropped_lines() -> int:
    """Return how many log lines of this process were dropped: nobody read them, or there were too many alike."""
    return _current[0].dropped if _current else 0


class _Closed:
    """The sink of a process that has no standard error."""

    def write(self, data: bytes, /) -> None:
        raise OSError("there is no standard error")


class _Text:
    """A sink over a text stream that has no file descriptor."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: bytes, /) -> None:
        self._stream.write(data.decode())


def _sink(stream: TextIO | None) -> Sink:
    if stream is None:
        return _Closed()
    try:
        return FileDescriptor(stream.fileno())
    except (OSError, ValueError):
        return _Text(stream)


class _Lines:
    """The logger at the end of structlog's chain: passes each rendered line to the writer."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def msg(self, message: str) -> None:
        """Queue one line."""
        self._writer.put(message)

    debug = info = warning = error = critical = exception = fatal = failure = err = warn = log = msg


class _Handler(logging.Handler):
    """The standard library's loggers, written the same way."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line. Never raises."""
        try:
            self._writer.put(self.format(record))
        except structlog.DropEvent:
            return
        except Exception as error:  # noqa: BLE001 - a record that cannot be rendered must not fail the caller that logged it
            self._writer.put(_unrendered(str(record.msg), error))


def _limited(limit: LineLimit) -> Processor:
    def process(_logger: Any, _method: str, event: Event) -> Event:
        # The standard library's messages are distinguished before their values are filled in.
        record = event.get("_record")
        message = str(event.get("event") if record is None else record.msg)
        if message in UNLIMITED:
            return event
        refused = limit.admit(message)
        if refused is None:
            raise structlog.DropEvent
        if refused:
            event["suppressed"] = refused
        return event

    return process


def _unraisable(failed: sys.UnraisableHookArgs) -> None:
    _log.error("unraisable_exception", where=repr(failed.object), exc_info=failed.exc_value)


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread is not None else None
    _log.error("thread_failed", thread=name, exc_info=failed.exc_value)


def _unrendered(message: str, error: Exception) -> str:
    return redact(f"[error] log_line_not_rendered message={message!r} error={type(error).__name__}")


def _renderers(log_format: LogFormat) -> list[Any]:
    if log_format == "json":
        return [_safely(_json_line)]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        timestamp_key="at",
        repr_native_str=True,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_safely(_redacted(console))]


def _safely(render: Processor) -> Processor:
    """Return `render` that never raises: a value whose own `repr` fails must not fail the caller that logged it."""

    def process(logger: Any, method: str, event: Event) -> str:
        message = str(event.get("event"))
        try:
            return str(render(logger, method, event))
        except Exception as error:  # noqa: BLE001 - the line is the by-product, the code that logs is not
            return _unrendered(message, error)

    return process


def _json_line(_logger: Any, _method: str, event: Event) -> str:
    event = structlog.processors.format_exc_info(_logger, _method, event)
    return redact(orjson.dumps(_sorted(event), default=repr, option=orjson.OPT_NON_STR_KEYS).decode())


def _sorted(event: Mapping[str, Any]) -> dict[str, Any]:
    first = {name: event[name] for name in ("at", "level", "event") if name in event}
    return {**first, **event}


def _redacted(console: structlog.dev.ConsoleRenderer) -> Processor:
    """The console's line, redacted. Colours end before a value begins, so that they hide no secret from the pattern."""

    def render(logger: Any, method: str, event: Event) -> str:
        return redact(str(console(logger, method, event)))

    return render
