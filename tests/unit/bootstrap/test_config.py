"""Settings: where they come from, how they are written, and what is said of those that cannot be used."""

from pathlib import Path

import pytest

from app.config import NOT_SETTINGS, ConfigurationError, is_loopback, load, names
from app.state.postgres.keepalive import MIN_TIMEOUT


def _told(environ: dict[str, str], **flags: object) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(environ=environ, flags=flags)
    return str(raised.value)


def test_nothing_set_is_all_defaults() -> None:
    """Without anything it serves the loopback address, from a file in ./data."""
    loaded = load(environ={"PATH": "/bin"})

    assert loaded.origins == {}
    assert (loaded.settings.host, loaded.settings.port, loaded.settings.store_place) == (
        "127.0.0.1",
        7777,
        "data/swarmhold.db",
    )


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """Each value says where it comes from."""
    file = tmp_path / "settings.toml"
    file.write_text('port = 1\nlog_level = "debug"\nlog_format = "json"\n[engine]\nlease = 5\n')
    environ = {"SWARMHOLD_PORT": "2", "SWARMHOLD_LOG_FORMAT": "console", "SWARMHOLD_CONFIG": str(file)}
    loaded = load(environ=environ, flags={"port": 3, "host": None})

    assert (loaded.settings.port, loaded.settings.log_format, loaded.settings.log_level) == (3, "console", "debug")
    assert loaded.settings.engine.lease == 5
    assert loaded.origins["port"] == "--port"
    assert loaded.origins["log_format"] == "SWARMHOLD_LOG_FORMAT"
    assert loaded.origins["engine.lease"] == f"engine.lease in {file}"


def test_a_silence_that_no_network_could_keep_is_refused() -> None:
    """PostgreSQL is probed in whole seconds, so that there is a least time to find a dead host in."""
    assert "SWARMHOLD_DATABASE_SILENCE" in _told({"SWARMHOLD_DATABASE_SILENCE": "5"})
    assert load(environ={"SWARMHOLD_DATABASE_SILENCE": "6"}).settings.database_silence == MIN_TIMEOUT.total_seconds()


def test_lists_and_objects_have_several_spellings() -> None:
    """Commas or JSON for lists; JSON, or a variable for a part, for objects; a path alone for a program."""
    settings = load(
        environ={
            "SWARMHOLD_SPAWN__HTTP_ALLOW": "http://a/, http://b/",
            "SWARMHOLD_HTTP__ALLOWED_ORIGINS": '["https://c"]',
            "SWARMHOLD_SPAWN__PROGRAMS": '{"cat": "/bin/cat", "sh": {"path": "/bin/sh", "arguments": ["-e"]}}',
            "SWARMHOLD_SPAWN__PROGRAMS__SH__TIMEOUT": "2.5",
            "SWARMHOLD_RETENTION__EVENTS": "never",
            "SWARMHOLD_PUBLIC_URL": "",
        }
    ).settings

    assert settings.spawn.http_allow == ("http://a/", "http://b/")
    assert settings.http.allowed_origins == ("https://c",)
    assert settings.spawn.programs["cat"].path == "/bin/cat"
    assert (settings.spawn.programs["sh"].args, settings.spawn.programs["sh"].timeout) == (("-e",), 2.5)
    assert (settings.retention.events, settings.public_url) == (None, None)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"SWARMHOLD_PORT": "x"}, "SWARMHOLD_PORT: "),
        ({"SWARMHOLD_ENGINE__LEAS": "1"}, "Did you mean SWARMHOLD_ENGINE__LEASE?"),
        ({"SWARMHOLD_ENGINE__LEASE": "0"}, "SWARMHOLD_ENGINE__LEASE: "),
        ({"SWARMHOLD_SPAWN__PROGRAMS": "{"}, "SWARMHOLD_SPAWN__PROGRAMS: write it as JSON"),
        ({"SWARMHOLD_SPAWN__PROGRAMS": '{"a": {"path": "b"}}'}, "spawn.programs.a.path"),
        ({"SWARMHOLD_DATABASE_URL": "mysql://h/d"}, "mysql:// is no known kind of database"),
        ({"SWARMHOLD_ROOT_KEY": "secret"}, "a root key begins with shk_"),
        ({"SWARMHOLD_HOST": "0.0.0.0", "SWARMHOLD_ROOT_KEY": "shk_short"}, "can be guessed"),
        ({"SWARMHOLD_HOST": "::", "SWARMHOLD_HANDLE_LENGTH": "26"}, "no loopback address"),
        ({"SWARMHOLD_HANDLE_LENGTH": "7"}, "SWARMHOLD_HANDLE_LENGTH: "),
        ({"SWARMHOLD_SPAWN__HTTP_SECRETS": "short"}, "32 bytes or more"),
        ({"SWARMHOLD_CONFIG": "/nonexistent.toml"}, "/nonexistent.toml cannot be read"),
        ({"SWARMHOLD_HTTP__PAGE_DEFAULT": "500"}, "SWARMHOLD_HTTP__PAGE_DEFAULT: "),
    ],
)
def test_what_cannot_be_used_is_named_with_what_to_do(environ: dict[str, str], told: str) -> None:
    """The message has the variable's own name."""
    assert told in _told(environ)


def test_everything_wrong_is_told_at_once_and_no_secret_with_it() -> None:
    """One start is enough to learn of all mistakes; values that may be secrets are not repeated."""
    told = _told(
        {"SWARMHOLD_PORT": "-1", "SWARMHOLD_NOPE": "1", "SWARMHOLD_ROOT_KEY": "shk_\x07hidden"}, log_level="loud"
    )
    assert len(told.splitlines()) == 3
    assert "hidden" not in told + _told({"SWARMHOLD_ROOT_KEY": "hidden"})


def test_variables_of_workers_and_commands_may_stand_beside() -> None:
    """A server started by a worker, or in a shell that calls servers, is not confused by their variables."""
    load(environ={f"SWARMHOLD_{name}": "x" for name in NOT_SETTINGS - {"CONFIG"}})
    assert {name.upper() for name in names()}.isdisjoint(NOT_SETTINGS)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_is_known(host: str) -> None:
    """Every spelling of this machine alone."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_what_can_be_reached_from_elsewhere_is_no_loopback(host: str) -> None:
    """Names that are not known are taken for the worst."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:5"), ("0.0.0.0", "http://127.0.0.1:5"), ("::1", "http://[::1]:5")],
)
def test_workers_are_told_an_address_that_they_can_call(host: str, url: str) -> None:
    """An address that means every interface is no address to call."""
    assert load(environ={"SWARMHOLD_HOST": host}).settings.url(5) == url
