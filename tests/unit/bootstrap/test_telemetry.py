"""Logs contain no secret, whatever wrote them."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from app.domain.redaction import redact
from app.telemetry.logs import configure, dropped_lines
from app.telemetry.rate_limit import BURST

SECRETS = {
    "an API key": "shk_0123456789abcdefghjkmnpqrstvwxyz0123",
    "a webhook's secret": "whsec_" + "0123456789abcde+/" * 2 + "=",
    "an older webhook's secret": "whs_" + "0123456789abcdef" * 4,
    "a handle": "wh-0123456789abcdefghjkmnpqrs",
    "a token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl-_x",
    "a password": "postgresql://user:hunter2@host/db",
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Whatever is configured here is gone after the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.unraisablehook, threading.excepthook
    yield
    sys.unraisablehook, threading.excepthook = hooks
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize("secret", SECRETS.values(), ids=list(SECRETS))
def test_secrets_are_known_by_their_shape(secret: str) -> None:
    """Alone, in a sentence, in JSON and in a URL's place, nothing of them is left."""
    hidden = "hunter2" if "hunter2" in secret else secret[-8:]
    for text in (
        secret,
        f"failed with {secret}.",
        json.dumps({"a": [secret]}),
        f"Bearer {secret}",
        repr(secret.encode()),
    ):
        assert hidden not in redact(text)


def test_plain_text_stays_as_it_is() -> None:
    """Words that only begin like secrets, ids and URLs without passwords are left alone."""
    text = "wh-y a wh-quest about T-01m81hrfbxe009aqx2w7b4cpkf at http://127.0.0.1:7777/v1 by shk and eyJ"
    assert redact(text) == text


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_log_line_holds_a_secret(log_format: Literal["console", "json"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields, messages, tracebacks, context and other libraries' logs all pass the same filter."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    writer = configure(log_format=log_format, level="debug")
    log = structlog.get_logger("test")
    for secret in SECRETS.values():
        with structlog.contextvars.bound_contextvars(request=secret):
            log.info(f"message {secret}", field=secret, deep={"list": [secret]})  # noqa: G004 - the mistake that is made
        try:
            raise ValueError(secret)
        except ValueError:
            log.exception("failed")
            logging.getLogger("elsewhere").exception("failed with %s", secret)

    writer.close()
    written = stream.getvalue()
    assert written.count("\n") > 8
    for secret in ("0123456789abcdefghjkmn", "c2lnbmF0dXJl", "hunter2"):
        assert secret not in written


def test_json_logs_are_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines read time, level and event; a line's end in a value ends no line."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    writer = configure(log_format="json", level="info")
    structlog.get_logger("test").debug("unseen")
    structlog.get_logger("test").info("seen", text="two\nlines", path=object())
    writer.close()

    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert list(read)[:3] == ["at", "level", "event"]
    assert (read["level"], read["event"], read["text"]) == ("info", "seen", "two\nlines")


def test_the_console_shows_values_inert(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value cannot forge a line or move the cursor."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    writer = configure(log_format="console", level="info")
    structlog.get_logger("test").info("seen", agent="a\n2026 [info] forged\x1b[2J")
    writer.close()

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


class _Unprintable:
    """A value whose own text fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_value_that_cannot_be_shown_fails_nobody(
    log_format: Literal["console", "json"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever logs it goes on, and the line says what could not be rendered."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    writer = configure(log_format=log_format)
    structlog.get_logger("test").error("value_lost", value=_Unprintable())
    logging.getLogger("elsewhere").error("lost %s", _Unprintable())
    writer.close()

    assert "value_lost" in stream.getvalue()
    assert "lost %s" in stream.getvalue()


def test_one_message_is_written_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of one message is cut and counted; other messages, and the access log, are written as before."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    writer = configure(log_format="json")
    before = dropped_lines()
    for number in range(BURST * 3):
        logging.getLogger("elsewhere").warning("refused %d", number)
        structlog.get_logger("test").info("request", number=number)
    structlog.get_logger("test").info("other")
    writer.close()

    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    refused = sum(event.startswith("refused") for event in events)
    assert BURST <= refused < BURST * 3
    assert dropped_lines() - before == BURST * 3 - refused
    assert events.count("request") == BURST * 3
    assert "other" in events
