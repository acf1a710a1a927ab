"""Logs hold no secret, whatever wrote them and however."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from app.domain.redaction import redact
from app.telemetry import configure

SECRETS = {
    "an API key": "shk_0123456789abcdefghjkmnpqrstvwxyz0123",
    "a webhook's secret": "whs_" + "0123456789abcdef" * 4,
    "a handle": "wh-0123456789abcdefghjkmnpqrs",
    "a token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl-_x",
    "a password": "postgresql://user:hunter2@host/db",
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Whatever is configured here is gone after the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
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
    configure(log_format=log_format, level="debug")
    log = structlog.get_logger("test")
    for secret in SECRETS.values():
        with structlog.contextvars.bound_contextvars(request=secret):
            log.info(f"message {secret}", field=secret, deep={"list": [secret]})  # noqa: G004 - the mistake that is made
        try:
            raise ValueError(secret)
        except ValueError:
            log.exception("failed")
            logging.getLogger("elsewhere").exception("failed with %s", secret)

    written = stream.getvalue()
    assert written.count("\n") > 8
    for secret in ("0123456789abcdefghjkmn", "c2lnbmF0dXJl", "hunter2"):
        assert secret not in written


def test_json_logs_are_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines read time, level and event; a line's end in a value ends no line."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure(log_format="json", level="info")
    structlog.get_logger("test").debug("unseen")
    structlog.get_logger("test").info("seen", text="two\nlines", path=object())

    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert list(read)[:3] == ["at", "level", "event"]
    assert (read["level"], read["event"], read["text"]) == ("info", "seen", "two\nlines")


def test_the_console_shows_values_inert(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value cannot forge a line or move the cursor."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure(log_format="console", level="info")
    structlog.get_logger("test").info("seen", agent="a\n2026 [info] forged\x1b[2J")

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
