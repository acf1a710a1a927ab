"""The settings: one frozen tree, read once at the edge and handed down in parts.

What a command's options say wins over the environment, that over the file of `--config`, that over the defaults. In
the environment a setting is its path in capitals, parts joined by two underscores: `engine.lease` is
`SWARMHOLD_ENGINE__LEASE`. Lists may be written with commas or as JSON, objects as JSON. Durations are seconds.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.domain.handles import DEFAULT_LENGTH, SAFE_LENGTH, SHORTEST
from app.domain.tokens import KEY_PREFIX, is_key_text

PREFIX = "SWARMHOLD_"
CONFIG_VARIABLE = "SWARMHOLD_CONFIG"
DATABASE_FILE = "swarmhold.db"
ROOT_KEY_FILE = "root.key"
KEYS_FILE = "keys.json"
SAFE_ROOT_KEY_LENGTH = 32

NOT_SETTINGS = frozenset({"HANDLE", "BASE_URL", "TASK_ID", "ATTEMPT", "AGENT", "URL", "KEY", "CONFIG", "PUBLISH"})
"""Variables of workers, of commands that call a server, and of the compose file: they may stand beside a server's."""

LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
MIB = 1024 * 1024
DAY = 86_400.0


class ConfigurationError(Exception):
    """A setting is unknown or malformed. The message names it, where it was set, and what to do; one line each."""


def _listed(value: object) -> object:
    """A list from text: JSON, or parts between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _decoded(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _decoded(value: object) -> object:
    """An object or list from JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"write it as JSON ({error})") from error


Item = TypeVar("Item")
Listed = Annotated[tuple[Item, ...], BeforeValidator(_listed)]


def _age(value: object) -> object:
    """An age from text, where `never` is none."""
    return None if value == "never" else value


Seconds = Annotated[float, Field(gt=0, le=3660 * DAY, allow_inf_nan=False)]
Age = Annotated[Seconds | None, BeforeValidator(_age)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """One part of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return _decoded(value)


class EngineSettings(Section):
    """The engine's own. `hold` is a preset for what follows it; what is given beside it replaces its value."""

    hold: Literal["strict", "default", "relaxed"] = "default"
    try_only: bool | None = None
    max_retry: Count | None = None
    backoff_step: Seconds | None = None
    max_hold: Seconds | None = None
    max_hold_panic: bool = False
    max_spawn_depth: AtLeastOne = 4
    worker_token_life: Seconds = 1800.0
    handle_life: Seconds = 7 * DAY
    lease: Seconds = 60.0
    attempt_timeout: Seconds | None = None
    default_hold: Seconds = 3600.0
    longest_hold: Seconds = 172_800.0
    heartbeat_interval: Seconds = 300.0
    heartbeat_miss_threshold: AtLeastOne = 3
    keepalive_on_idle: bool = True
    stop_grace: Seconds = 5.0
    recheck: Seconds = 30.0
    strict_hints: bool = False
    most_late_results: AtLeastOne = 100
    most_outputs: AtLeastOne = 100_000
    worker_spawners: Listed[str] = ("external", "in_process", "queue")
    long_hold: Seconds = 3600.0


class ProgramSettings(Section):
    """A program that may be started. `path` is absolute; `timeout` is in seconds."""

    path: Annotated[str, Field(pattern=r"^/")]
    args: Listed[str] = Field(default=(), alias="arguments")
    env: Annotated[dict[str, str], BeforeValidator(_decoded)] = Field(default={}, alias="environment")
    timeout: Seconds | None = None
    cwd: Annotated[str, Field(pattern=r"^/")] | None = None
    allow_args: bool = False
    max_output_bytes: AtLeastOne = 8 * MIB

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: object) -> object:
        """The path alone is enough."""
        return {"path": value} if isinstance(value, str) and value.startswith("/") else value


class SpawnSettings(Section):
    """What may be started where. `functions` names Python functions, as `name: package.module:function`."""

    programs: Annotated[dict[str, ProgramSettings], BeforeValidator(_decoded)] = {}
    functions: Annotated[dict[str, str], BeforeValidator(_decoded)] = {}
    http_allow: Listed[str] = ()
    http_secrets: Listed[SecretStr] = ()
    http_timeout: Seconds = 30.0
    http_tries: AtLeastOne = 5
    plugins: bool = True


class WebhookSettings(Section):
    """Where events may be sent: `allow` holds URL prefixes. What fails for longer than `pause_after` is paused."""

    allow: Listed[str] = ()
    timeout: Seconds = 10.0
    backoff: Seconds = 1.0
    max_backoff: Seconds = 300.0
    pause_after: Seconds = DAY
    batch: Annotated[int, Field(ge=1, le=500)] = 100


class HttpSection(Section):
    """Limits of the HTTP and WebSocket edge."""

    body_limit: AtLeastOne = 8 * MIB
    frame_limit: AtLeastOne = MIB
    page_default: AtLeastOne = 50
    page_limit: AtLeastOne = 200
    default_hold: Annotated[float, Field(ge=0)] = 50.0
    sse_comment_every: Seconds = 15.0
    metrics_open: bool = False
    access_log: bool = False
    allowed_origins: Listed[str] = ()
    trusted_proxies: Listed[str] = ()
    guess_burst_per_source: Seconds = 100.0
    guesses_per_source_per_second: Seconds = 1.0
    guess_burst: Seconds = 2000.0
    guesses_per_second: Seconds = 20.0
    keep_alive: Seconds = 30.0


class RetentionSettings(Section):
    """For how long finished things are kept, in seconds or `never` removed; and how often what is older goes."""

    finished: Age = 30 * DAY
    blocked: Age = 90 * DAY
    events: Age = 30 * DAY
    credentials: Age = 7 * DAY
    sessions: Age = 30 * DAY
    idempotency: Age = DAY
    every: Seconds = 600.0
    batch: AtLeastOne = 100


class Settings(BaseSettings):
    """Everything that a server can be told. Built by `load`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 7777
    data_dir: Path = Path("data")
    database_url: SecretStr | None = None
    database_silence: Annotated[float, Field(ge=6, le=3600)] = 30.0
    bus_url: SecretStr | None = None
    root_key: SecretStr | None = None
    root_key_file: Path | None = None
    keys_file: Path | None = None
    public_url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")] | None = None
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    handle_length: Annotated[int, Field(ge=SHORTEST, le=64)] = DEFAULT_LENGTH
    shutdown_grace: Seconds = 30.0
    engine: EngineSettings = EngineSettings()
    spawn: SpawnSettings = SpawnSettings()
    webhooks: WebhookSettings = WebhookSettings()
    http: HttpSection = HttpSection()
    retention: RetentionSettings = RetentionSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What `load` merged is all there is."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @property
    def store_place(self) -> str:
        """The database: the URL that was given, or the file in the data directory."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return str(self.data_dir / DATABASE_FILE)

    @property
    def keys_path(self) -> Path:
        """The file of the server's own secrets."""
        return self.keys_file or self.data_dir / KEYS_FILE

    @property
    def root_key_path(self) -> Path:
        """The file of the root key."""
        return self.root_key_file or self.data_dir / ROOT_KEY_FILE

    def url(self, port: int | None = None) -> str:
        """Where this server is reached: the public URL, or the address it listens on; no slash at the end."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - an address to call
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port if port is None else port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and where each that was set comes from, by its dotted name."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Loaded:
    """Read options, environment and file. Flags that are None are not given.

    Raises ConfigurationError.
    """
    environ = os.environ if environ is None else environ
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if file is not None:
        _merge(merged, origins, _from_file(file), f"{{name}} in {file}")
    _merge_environment(merged, origins, environ)
    for name, value in (flags or {}).items():
        if value is not None:
            _merge(merged, origins, {name: value}, f"--{name.replace('_', '-')}")
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        lines = [_explain(found["loc"], found, origins) for found in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from error
    _check(settings, origins)
    return Loaded(settings=settings, origins=origins)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}. Name another file with --config."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML: {error}. Mend it, or leave --config out.") from error


def _merge_environment(merged: dict[str, Any], origins: dict[str, str], environ: Mapping[str, str]) -> None:
    # Shorter names first, so that a part of an object is laid over the object.
    for variable in sorted(environ, key=lambda name: (name.count("__"), name)):
        rest = variable.removeprefix(PREFIX)
        if rest == variable or rest in NOT_SETTINGS or not environ[variable].strip():
            continue
        value: Any = environ[variable].strip()
        for part in reversed(rest.lower().split("__")):
            value = {part: value}
        _merge(merged, origins, value, variable)


def _merge(into: dict[str, Any], origins: dict[str, str], new: Mapping[str, Any], origin: str, at: str = "") -> None:
    for key, value in new.items():
        name = f"{at}{key}"
        if not isinstance(value, Mapping):
            into[key] = value
            origins[name] = origin.format(name=name)
            continue
        below = into.get(key)
        if isinstance(below, str):
            below = _opened(below, origins.get(name, name))
        into[key] = below if isinstance(below, dict) else {}
        _merge(into[key], origins, cast("Mapping[str, Any]", value), origin, f"{name}.")


def _opened(text: str, origin: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{origin}: write it as JSON ({error}).") from error


def _explain(loc: tuple[int | str, ...], found: Any, origins: Mapping[str, str]) -> str:
    name = ".".join(str(part) for part in loc)
    # The nearest name above that was set says where it was set.
    known = next((at for at in _upwards(name) if at in origins), None)
    where = origins[known] if known else name
    if known != name and known:
        where = f"{where} ({name})"
    if found["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(names()), n=1, cutoff=0.6)
        hint = f"Did you mean {_spelled(near[0], where)}?" if near else "Remove it; README.md lists the settings."
        return f"{where} is no setting. {hint}"
    if found["type"] == "missing":
        return f"{where}: {loc[-1]} is missing."
    return f"{where}: {found['msg'].removeprefix('Value error, ')}."


def _upwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _spelled(name: str, where: str) -> str:
    return PREFIX + name.upper().replace(".", "__") if where.startswith(PREFIX) else name


def names(model: type[BaseModel] = Settings, at: str = "") -> Iterator[str]:
    """The dotted names of all settings."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from names(inner, f"{at}{name}.")
        else:
            yield at + name


def _check(settings: Settings, origins: Mapping[str, str]) -> None:
    problems = [text for text in _conflicts(settings, origins) if text]
    if problems:
        raise ConfigurationError("\n".join(problems))


def _conflicts(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    """What each setting alone cannot say."""

    def at(name: str) -> str:
        return origins.get(name, name)

    place = settings.store_place
    if "://" in place and not place.startswith(("sqlite://", "postgresql://", "postgres://")):
        yield (
            f"{at('database_url')}: {place.partition('://')[0]}:// is no known kind of database; "
            "give a file's path, sqlite:///path or postgresql://user@host/name."
        )
    if settings.bus_url is not None and settings.bus_url.get_secret_value() != "local":
        yield f"{at('bus_url')}: one server works alone and needs no bus; leave it out, or give 'local'."
    if settings.root_key is not None:
        yield from _root_key_conflicts(settings.root_key.get_secret_value(), settings.host, at("root_key"))
    if not is_loopback(settings.host) and settings.handle_length < SAFE_LENGTH:
        yield (
            f"{at('handle_length')}: handles of {settings.handle_length} characters can be guessed from elsewhere, and "
            f"{settings.host} is no loopback address; give {SAFE_LENGTH} or more, or bind to 127.0.0.1."
        )
    if settings.http.page_default > settings.http.page_limit:
        yield f"{at('http.page_default')}: a page has at most http.page_limit ({settings.http.page_limit}) items."
    if any(len(secret.get_secret_value().encode()) < 32 for secret in settings.spawn.http_secrets):
        yield f"{at('spawn.http_secrets')}: a secret has 32 bytes or more; make one with `openssl rand -hex 32`."


def _root_key_conflicts(key: str, host: str, where: str) -> Iterator[str]:
    if not is_key_text(key):
        yield f"{where}: a root key begins with {KEY_PREFIX} and holds plain characters without spaces."
    elif not is_loopback(host) and len(key) < SAFE_ROOT_KEY_LENGTH:
        yield (
            f"{where}: a root key of {len(key)} characters can be guessed from elsewhere; "
            f"give {SAFE_ROOT_KEY_LENGTH} or more: printf 'shk_%s' \"$(openssl rand -hex 32)\"."
        )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
