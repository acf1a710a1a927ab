"""`swarmhold serve`: run one server until SIGTERM or SIGINT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import structlog
import typer

from app.bootstrap.init_process import fork_if_adopting_orphans
from app.bootstrap.prctl import deny_memory_access, forget_variables
from app.config import load
from app.telemetry.logs import configure

Host = Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")]
Port = Annotated[int | None, typer.Option(help="Port to listen on (7777); 0 takes a free one.")]
DataDir = Annotated[Path | None, typer.Option(help="Directory of the database and the keys (./data).")]
DatabaseUrl = Annotated[
    str | None, typer.Option(help="A file's path, sqlite:///path or postgresql://…; by default a file in the data dir.")
]
BusUrl = Annotated[
    str | None, typer.Option(help="nats://host:4222 carries hints between nodes; by default PostgreSQL.")
]
PublicUrl = Annotated[str | None, typer.Option(help="Base URL under which workers reach this server.")]
LogFormat = Annotated[str | None, typer.Option(help="console or json.")]
AsJson = Annotated[bool, typer.Option("--json", help="Short for --log-format json.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")]


def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    bus_url: BusUrl = None,
    public_url: PublicUrl = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Every option is also a variable of the environment, e.g. SWARMHOLD_PORT; nested settings have two underscores, e.g.
    SWARMHOLD_ENGINE__LEASE=30.
    """
    flags = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "database_url": database_url,
        "bus_url": bus_url,
        "public_url": public_url,
        "log_format": "json" if as_json and log_format is None else log_format,
        "log_level": log_level,
    }
    loaded = load(flags=flags, file=config)
    settings = loaded.settings
    forget_variables(loaded.secret_variables)
    deny_memory_access()
    fork_if_adopting_orphans()
    configure(log_format=settings.log_format, level=settings.log_level)
    for warning in loaded.warnings:
        structlog.get_logger(__name__).warning("setting_warning", detail=warning)
    from app.bootstrap.server import run  # other commands need neither engine nor web server

    run(settings)
