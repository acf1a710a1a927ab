"""All settings of a server: one frozen tree, composed of the settings that its parts declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from app.config.schema import Exposure, Schema
from app.domain.delegation import WorkerRules
from app.domain.handles import DEFAULT_LENGTH, MIN_LENGTH
from app.domain.limits import Limits
from app.domain.questions import QuestionRules
from app.engine.ops.rules import ClusterRules, EngineCfg
from app.http.door_settings import DoorSettings, McpSettings
from app.http.settings import HttpSettings, WebSocketSettings
from app.spawning.outbound.settings import HttpWorkerSettings, NotifySettings, SenderSettings
from app.spawning.processes.programs import Program
from app.state.policies import HoldPolicy, RetentionPolicy
from app.state.postgres.keepalive import MIN_TIMEOUT, Keepalive
from app.telemetry.settings import OtelSettings
from swarmhold.models.admin import SkillRequest

DATABASE_FILE = "swarmhold.db"
ROOT_KEY_FILE = "root.key"
KEYS_FILE = "keys.json"

LogLevel = Literal["debug", "info", "warning", "error"]
_URL = Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")
_ABSOLUTE = Field(pattern=r"^/")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnSettings:
    """Programs, functions, URLs and plug-ins that the server may use to carry out attempts."""

    programs: Mapping[str, Program] = field(default_factory=dict[str, Program])
    """Allow-list of the `process` spawner: a table for each name, or the program's absolute path alone."""
    functions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Python functions of the `in_process` spawner, each a name and `package.module:function`."""
    http: HttpWorkerSettings = field(default_factory=HttpWorkerSettings)
    http_secrets: tuple[SecretStr, ...] = ()
    """Secrets of 32 bytes or more that sign the calls of the `http` spawner, the current one first; by default one of
    `keys_file`."""
    plugins: bool = True
    """Whether the spawners and layers of installed packages are loaded."""
    workers: WorkerRules = field(default_factory=WorkerRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """For how long finished things are kept, and how they are removed."""

    policy: RetentionPolicy = field(default_factory=RetentionPolicy)
    interval: timedelta = timedelta(seconds=600)
    """How often expired rows are removed."""
    batch: int = 100
    """Rows of each kind that one transaction removes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server. Built by `load`."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 7777
    """Port to listen on; 0 takes a free one."""
    data_dir: Path = Path("data")
    """Directory of the database and the key files; made with mode 0700."""
    database_url: SecretStr | None = None
    """A file's path, `sqlite:///path` or `postgresql://user@host/name`; by default `swarmhold.db` in `data_dir`."""
    database_keepalive_timeout: timedelta = Keepalive().timeout
    """How long a connection to PostgreSQL may go without a packet before either end considers it dead, at least 6; see
    [operations](operations.md)."""
    bus_url: SecretStr | None = None
    """How hints reach other nodes: `nats://host:4222`, or `local` for not at all; by default PostgreSQL carries them.
    See [scaling](scaling.md)."""
    root_key: SecretStr | None = None
    """The key that makes other keys."""
    root_key_file: Path | None = None
    """File of the root key; by default `root.key` in `data_dir`, made at the first start."""
    seal_key: SecretStr | None = None
    """A text of 32 characters or more that seals the server's keys in a PostgreSQL database, the same for all nodes; by
    default the root key does."""
    seal_key_file: Path | None = None
    """File of the seal key."""
    seal_key_previous: SecretStr | None = None
    """The seal key or root key that sealed before, until `swarmhold keys reseal` has run."""
    seal_key_previous_file: Path | None = None
    """File of the key that sealed before."""
    keys_file: Path | None = None
    """File of the signing keys and the digest key, mode 0600; by default `keys.json` in `data_dir`. On PostgreSQL they
    are in the database, and a file of before is taken over at the first start."""
    public_url: Annotated[str, _URL] | None = None
    """Base URL under which workers reach the server; by default the address that it listens on."""
    log_format: Literal["console", "json"] = "console"
    """Format of the log. Secrets are redacted in both."""
    log_level: LogLevel = "info"
    """Least severity that is logged."""
    handle_length: int = DEFAULT_LENGTH
    """Characters of a handle's secret, its check character included; fewer than 27 only on loopback.

    From 27 on, nine that tell when it was made stand before them.
    """
    shutdown_grace: timedelta = timedelta(seconds=8)
    """How long a stop may take in all; `docker stop` kills after 10 seconds unless configured otherwise. Requests and
    connections have what `engine.stop_grace` leaves of it."""
    engine: EngineCfg = field(default_factory=EngineCfg)
    cluster: ClusterRules = field(default_factory=ClusterRules)
    questions: QuestionRules = field(default_factory=QuestionRules)
    spawn: SpawnSettings = field(default_factory=SpawnSettings)
    webhooks: SenderSettings = field(default_factory=SenderSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    doors: DoorSettings = field(default_factory=DoorSettings)
    skills: tuple[SkillRequest, ...] = ()
    """Agents that are published as MCP tools, each a table with the fields of `POST /v1/admin/skills`. A start of the
    server publishes, changes and deletes skills so that these are the ones of the settings."""
    limits: Limits = field(default_factory=Limits)
    otel: OtelSettings = field(default_factory=OtelSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)

    @property
    def store_url(self) -> str:
        """The database: the URL that was given, or the path of the file in the data directory."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return str(self.data_dir / DATABASE_FILE)

    @property
    def database_files(self) -> tuple[Path, ...]:
        """The file of an SQLite database and those beside it; none in memory and on PostgreSQL."""
        url = self.store_url
        if url.startswith("sqlite://"):
            url = url.removeprefix("sqlite://").removeprefix("/")
        if "://" in url or url in ("", ":memory:"):
            return ()
        return tuple(Path(f"{url}{suffix}") for suffix in ("", "-wal", "-shm", ".lock"))

    @property
    def keys_path(self) -> Path:
        """The file of the server's own secrets."""
        return self.keys_file or self.data_dir / KEYS_FILE

    @property
    def root_key_path(self) -> Path:
        """The file of the root key."""
        return self.root_key_file or self.data_dir / ROOT_KEY_FILE

    def url(self, port: int | None = None) -> str:
        """Return the base URL of this server, without a slash at the end: the public one, or the address it listens on.

        `port` is the one that was bound, where the settings leave the choice to the system.
        """
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - an address to call
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port if port is None else port}"


SCHEMA = Schema(
    Settings,
    {
        Settings: Exposure(
            bounds={
                "database_keepalive_timeout": Field(ge=MIN_TIMEOUT.total_seconds(), le=3600),
                "handle_length": Field(ge=MIN_LENGTH, le=64),
                "port": Field(ge=0, le=65535),
            }
        ),
        EngineCfg: Exposure(
            hidden=frozenset({"base_url", "limits", "workers", "questions", "cluster", "writes_spans"}),
            inline={"hold": ""},
            presets={"hold": {"strict": HoldPolicy.strict(), "default": HoldPolicy(), "relaxed": HoldPolicy.relaxed()}},
        ),
        ClusterRules: Exposure(
            bounds={
                "heartbeat_ms": Field(ge=0.1, le=300),
                "lease_ms": Field(ge=0.2, le=600),
                "drain_ms": Field(ge=0, le=600),
                "node_url": _URL,
            }
        ),
        HoldPolicy: Exposure(bounds={"max_retry": Field(ge=0)}),
        SpawnSettings: Exposure(inline={"http": "http_", "workers": "worker_"}),
        HttpWorkerSettings: Exposure(hidden=frozenset({"secrets", "backoff_s", "max_backoff_s", "max_reply_bytes"})),
        Program: Exposure(
            names={
                "args": ("arguments", "args"),
                "env": ("environment", "env"),
                "max_output_bytes": ("max_output_bytes",),
            },
            bounds={"path": _ABSOLUTE, "cwd": _ABSOLUTE},
            shorthand="path",
        ),
        SenderSettings: Exposure(bounds={"batch": Field(ge=1, le=500)}),
        HttpSettings: Exposure(
            hidden=frozenset({"base_url", "identity", "limits", "doors", "longest_hold", "sse_recheck"})
            | {"finished_kept", "blocked_kept"},
            inline={"websockets": ""},
            bounds={"default_hold": Field(ge=0, allow_inf_nan=False)},
        ),
        WebSocketSettings: Exposure(hidden=frozenset({"queue_frames", "queue_bytes", "stall", "recheck"})),
        DoorSettings: Exposure(bounds={"hold": Field(ge=0, le=50)}),
        McpSettings: Exposure(bounds={"concurrency": Field(ge=1)}),
        Limits: Exposure(
            names={"output_bytes": ("output_bytes",), "late_bytes": ("late_bytes",), "page_bytes": ("page_bytes",)},
            bounds={"digits": Field(ge=400, le=4300)},
        ),
        RetentionSettings: Exposure(inline={"policy": ""}),
    },
)
"""The names of the settings and how they are read. What stands here departs from the conventions."""

RENAMED: Mapping[str, str] = {
    "database_silence": "database_keepalive_timeout",
    "engine.max_late_results": "limits.late_results",
    "engine.max_outputs": "limits.outputs",
    "engine.most_late_results": "limits.late_results",
    "engine.most_outputs": "limits.outputs",
    "engine.recheck": "engine.poll_interval",
    "engine.worker_spawners": "spawn.worker_spawners",
    "http.body_limit": "limits.body",
    "http.frame_limit": "limits.frame",
    "http.guess_burst": "http.auth_rate_limit.burst_overall",
    "http.guess_burst_per_source": "http.auth_rate_limit.burst_per_source",
    "http.guesses_per_second": "http.auth_rate_limit.overall_per_second",
    "http.guesses_per_source_per_second": "http.auth_rate_limit.per_source_per_second",
    "http.page_limit": "limits.page_items",
    "retention.every": "retention.interval",
}
"""New names by old ones, which still work, with a warning, until `RENAMED_UNTIL`."""

RENAMED_UNTIL = "0.2"
