"""The tree of the settings. Lists may be written with commas or as JSON, objects as JSON. Durations are seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.domain.handles import DEFAULT_LENGTH, SHORTEST

DATABASE_FILE = "swarmhold.db"
ROOT_KEY_FILE = "root.key"
KEYS_FILE = "keys.json"
MIB = 1024 * 1024
DAY = 86_400.0


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
