"""Settings: where they come from, how they are written, and what is said of those that cannot be used."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.config import NOT_SETTINGS, ConfigurationError, is_loopback, load, names, shown
from app.config.loading import variable
from app.config.tree import RENAMED, SCHEMA
from app.engine.ops.rules import EngineCfg
from app.http.settings import HttpSettings
from app.spawning.outbound.settings import SenderSettings
from app.state.policies import HoldPolicy, RetentionPolicy
from app.state.postgres.keepalive import MIN_TIMEOUT


def _told(environ: dict[str, str], **flags: object) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(environ=environ, flags=flags)
    return str(raised.value)


def test_nothing_set_is_all_defaults() -> None:
    """Without anything it serves the loopback address, from a file in ./data."""
    loaded = load(environ={"PATH": "/bin"})

    assert loaded.origins == {}
    assert (loaded.settings.host, loaded.settings.port, loaded.settings.store_url) == (
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
    assert loaded.settings.engine.lease_ms == 5000
    assert loaded.origins["port"] == "--port"
    assert loaded.origins["log_format"] == "SWARMHOLD_LOG_FORMAT"
    assert loaded.origins["engine.lease"] == f"engine.lease in {file}"


@pytest.mark.parametrize("name", [name for name, _, one in SCHEMA.all() if "secret" in one.kind.label])
def test_every_secret_can_be_in_a_file(name: str, tmp_path: Path) -> None:
    """Given by the path of the file, which the message names where it cannot be read."""
    text = "nats://there" if name == "bus_url" else "shk_" + "s" * 40
    database = {"SWARMHOLD_DATABASE_URL": "postgresql://there/db"} if name == "bus_url" else {}
    file, name_of_file = tmp_path / "secret", variable(f"{name}_file")
    file.write_text(f"{text}\n")
    loaded = load(environ={**database, name_of_file: str(file)})
    assert name_of_file not in loaded.secret_variables
    if f"{name}_file" in names():
        return  # a setting of its own, read where the server starts
    given = load(environ={**database, variable(name): text})
    assert loaded.settings == given.settings
    assert loaded.origins[name] == name_of_file
    assert "both set" in _told({name_of_file: str(file), variable(name): text})
    file.write_text("\n")
    assert f"{name_of_file}: {file} is empty" in _told({name_of_file: str(file)})
    file.unlink()
    assert f"{name_of_file}: {file} cannot be read" in _told({name_of_file: str(file)})


def test_the_lines_of_a_file_are_a_list_of_secrets(tmp_path: Path) -> None:
    """The current one first; also from the settings' own file."""
    secrets, file = tmp_path / "secrets", tmp_path / "settings.toml"
    secrets.write_text(f"{'a' * 32}\n{'b' * 32}\n")
    file.write_text(f'[spawn]\nhttp_secrets_file = "{secrets}"\n')
    found = load(environ={}, file=file).settings.spawn.http_secrets
    assert [one.get_secret_value()[0] for one in found] == ["a", "b"]


def test_a_keepalive_timeout_that_no_network_could_keep_is_refused() -> None:
    """Probes are sent in whole seconds, so that detecting a dead host takes a minimum time."""
    assert "SWARMHOLD_DATABASE_KEEPALIVE_TIMEOUT" in _told({"SWARMHOLD_DATABASE_KEEPALIVE_TIMEOUT": "5"})
    loaded = load(environ={"SWARMHOLD_DATABASE_KEEPALIVE_TIMEOUT": "6"})
    assert loaded.settings.database_keepalive_timeout == MIN_TIMEOUT


def test_a_preset_is_refined_by_what_is_given_beside_it() -> None:
    """`engine.hold` chooses the policy, the settings beside it replace its values; unset ones keep the preset's."""
    environ = {"SWARMHOLD_ENGINE__HOLD": "relaxed", "SWARMHOLD_ENGINE__MAX_RETRY": "0"}
    assert load(environ=environ).settings.engine.hold == replace(HoldPolicy.relaxed(), max_retry=0)
    assert load(environ={"SWARMHOLD_ENGINE__MAX_HOLD": "0.2"}).settings.engine.hold == HoldPolicy(max_hold_ms=200.0)


def test_durations_are_seconds_in_whatever_unit_the_part_wants_them() -> None:
    """Milliseconds, seconds and timedeltas are all written as seconds; `never` is none."""
    settings = load(
        environ={
            "SWARMHOLD_ENGINE__LEASE": "0.0001",
            "SWARMHOLD_ENGINE__ATTEMPT_TIMEOUT": "never",
            "SWARMHOLD_WEBHOOKS__TIMEOUT": "1.5",
            "SWARMHOLD_HTTP__DEFAULT_HOLD": "0",
            "SWARMHOLD_RETENTION__EVENTS": "60",
        }
    ).settings

    assert (settings.engine.lease_ms, settings.engine.attempt_timeout_ms) == (1, None)
    assert (settings.webhooks.timeout_s, settings.http.default_hold) == (1.5, timedelta(0))
    assert settings.retention.policy.events == timedelta(minutes=1)


def test_the_defaults_of_the_tree_are_those_of_the_parts() -> None:
    """What nobody sets is what a part has that is built without settings."""
    settings = load(environ={}).settings
    assert (settings.engine, settings.http, settings.webhooks) == (EngineCfg(), HttpSettings(), SenderSettings())
    assert settings.retention.policy == RetentionPolicy()


_LISTS = {"engine.worker_spawners"}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_works_with_a_warning_that_names_the_new_one(old: str, new: str, tmp_path: Path) -> None:
    """In the environment and in the file, each as it writes names."""
    file = tmp_path / "settings.toml"
    file.write_text(f'{old} = ["40"]' if old in _LISTS else f"{old} = 40\n")
    for loaded, spelled in (
        (load(environ={variable(old): "40"}), variable),
        (load(environ={}, file=file), str),
    ):
        (warning,) = loaded.warnings
        assert spelled(old) in warning
        assert f"is now called {spelled(new)}." in warning
        assert shown(loaded.settings, new) == "40"
        assert loaded.origins[new].startswith(spelled(old))
    assert old not in names()


def test_a_setting_that_is_given_by_both_names_has_the_value_of_the_new_one() -> None:
    """In one source the new name counts; across sources the stronger source does, whichever name it uses."""
    both = load(environ={"SWARMHOLD_ENGINE__RECHECK": "1", "SWARMHOLD_ENGINE__POLL_INTERVAL": "2"})
    assert (both.settings.engine.poll_interval_ms, len(both.warnings)) == (2000, 1)


def test_a_stronger_source_wins_by_either_name(tmp_path: Path) -> None:
    """The old name in the environment wins over the new one in the file."""
    file = tmp_path / "settings.toml"
    file.write_text("[engine]\npoll_interval = 5\n")
    loaded = load(environ={"SWARMHOLD_ENGINE": '{"recheck": 7}'}, file=file)
    assert loaded.settings.engine.poll_interval_ms == 7000


_SERVICE_LINKS = {
    "SWARMHOLD_SERVICE_HOST": "10.96.0.12",
    "SWARMHOLD_SERVICE_PORT": "7777",
    "SWARMHOLD_SERVICE_PORT_HTTP": "7777",
    "SWARMHOLD_PORT": "tcp://10.96.0.12:7777",
    "SWARMHOLD_PORT_7777_TCP": "tcp://10.96.0.12:7777",
    "SWARMHOLD_PORT_7777_TCP_PROTO": "tcp",
    "SWARMHOLD_PORT_7777_TCP_PORT": "7777",
    "SWARMHOLD_PORT_7777_TCP_ADDR": "fd00::12",
    "SWARMHOLD_DATABASE_SERVICE_HOST": "10.96.0.13",
    "SWARMHOLD_DATABASE_PORT": "tcp://10.96.0.13:5432",
}
"""What Kubernetes injects for the Services `swarmhold` and `swarmhold-database`."""


def test_the_variables_of_kubernetes_services_are_ignored_with_one_warning() -> None:
    """They are known by their shape; all are named."""
    loaded = load(environ={**_SERVICE_LINKS, "SWARMHOLD_HOST": "::1"})
    (warning,) = loaded.warnings
    assert [name for name in _SERVICE_LINKS if name not in warning] == []
    assert "enableServiceLinks: false" in warning
    assert loaded.settings == load(environ={"SWARMHOLD_HOST": "::1"}).settings


@pytest.mark.parametrize(
    "unknown",
    [
        {"SWARMHOLD_SERVICE_HOST": "tcp://10.96.0.12"},
        {"SWARMHOLD_SERVICE_NAME": "10.96.0.12"},
        {"SWARMHOLD_PORT_7777": "tcp://10.96.0.12:7777"},
        {"SWARMHOLD_PORT": "http://10.96.0.12:7777"},
    ],
)
def test_variables_of_any_other_shape_still_stop_the_start(unknown: dict[str, str]) -> None:
    """Beside those of a Service, too."""
    (name,) = unknown
    assert name in _told({**_SERVICE_LINKS, **unknown})


def test_variables_that_may_hold_secrets_are_known() -> None:
    """By their own name, inside a table and as a whole section."""
    secret = {
        "SWARMHOLD_ROOT_KEY": "shk_" + "k" * 40,
        "SWARMHOLD_DATABASE_URL": "postgresql://a:b@host/name",
        "SWARMHOLD_SPAWN": f'{{"http_secrets": ["{"s" * 32}"]}}',
        "SWARMHOLD_SPAWN__PROGRAMS__ONE": '{"path": "/bin/true", "environment": {"TOKEN": "x"}}',
    }
    loaded = load(environ={**secret, "SWARMHOLD_LOG_LEVEL": "error", "SWARMHOLD_ENGINE__LEASE": "30"})
    assert set(loaded.secret_variables) == set(secret)


def test_every_setting_says_what_it_does() -> None:
    """The reference has no empty cells."""
    assert [name for name, _, setting in SCHEMA.all() if not setting.help] == []


def test_what_only_code_sets_is_not_a_setting() -> None:
    """The base URL comes from the public URL, for one."""
    assert "is not a setting" in _told({"SWARMHOLD_ENGINE__BASE_URL": "http://x"})
    assert "is not a setting" in _told({"SWARMHOLD_HTTP__LONGEST_HOLD": "1"})


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

    assert settings.spawn.http.allow == ("http://a/", "http://b/")
    assert settings.http.websockets.allowed_origins == ("https://c",)
    assert settings.spawn.programs["cat"].path == "/bin/cat"
    assert (settings.spawn.programs["sh"].args, settings.spawn.programs["sh"].timeout_s) == (("-e",), 2.5)
    assert (settings.retention.policy.events, settings.public_url) == (None, None)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"SWARMHOLD_PORT": "x"}, "SWARMHOLD_PORT: "),
        ({"SWARMHOLD_ENGINE__LEAS": "1"}, "Did you mean SWARMHOLD_ENGINE__LEASE?"),
        ({"SWARMHOLD_ENGINE__LEASE": "0"}, "SWARMHOLD_ENGINE__LEASE: "),
        ({"SWARMHOLD_SPAWN__PROGRAMS": "{"}, "SWARMHOLD_SPAWN__PROGRAMS: write it as JSON"),
        ({"SWARMHOLD_SPAWN__PROGRAMS": '{"a": {"path": "b"}}'}, "spawn.programs.a.path"),
        ({"SWARMHOLD_SPAWN__PROGRAMS": '{"a": {}}'}, "path is missing"),
        ({"SWARMHOLD_SPAWN__PROGRAMS": '{"a": {"path": "/b", "no": 1}}'}, "(spawn.programs.a.no) is not a setting"),
        ({"SWARMHOLD_ENGINE": "5"}, "SWARMHOLD_ENGINE: a table is expected here"),
        ({"SWARMHOLD_ENGINE__HOLD": "loose"}, "SWARMHOLD_ENGINE__HOLD: "),
        ({"SWARMHOLD_WEBHOOKS__BATCH": "501"}, "SWARMHOLD_WEBHOOKS__BATCH: "),
        ({"SWARMHOLD_DATABASE_URL": "mysql://h/d"}, "mysql:// is not a supported database"),
        ({"SWARMHOLD_ROOT_KEY": "secret"}, "a root key begins with shk_"),
        ({"SWARMHOLD_HOST": "0.0.0.0", "SWARMHOLD_ROOT_KEY": "shk_short"}, "can be guessed"),
        ({"SWARMHOLD_HOST": "::", "SWARMHOLD_HANDLE_LENGTH": "26"}, "not a loopback address"),
        ({"SWARMHOLD_HANDLE_LENGTH": "7"}, "SWARMHOLD_HANDLE_LENGTH: "),
        ({"SWARMHOLD_SPAWN__HTTP_SECRETS": "short"}, "32 bytes or more"),
        ({"SWARMHOLD_CONFIG": "/nonexistent.toml"}, "/nonexistent.toml cannot be read"),
        ({"SWARMHOLD_BUS_URL": "nats://h"}, "on SQLite a node is alone"),
        ({"SWARMHOLD_DATABASE_URL": "postgresql://h/d", "SWARMHOLD_BUS_URL": "http://h"}, "give nats://host:4222"),
        ({"SWARMHOLD_CLUSTER__LEASE": "9"}, "twice cluster.heartbeat (5)"),
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
