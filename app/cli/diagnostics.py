"""The diagnostics of `swarmhold doctor`. A check that fails is a finding, and does not end the others."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import httpx

import app as package
from app.bootstrap import descriptors, pidfile
from app.bootstrap.errors import StartFailed
from app.bootstrap.keyring import given_root_key
from app.cli import database
from app.cli.database_diagnostics import check_database
from app.cli.endpoint import running_server
from app.config import Loaded, Settings, is_loopback, shown
from app.domain.errors import StoreUnavailable
from app.domain.redaction import redact

LITTLE_DISK = 1024**3
TOO_LITTLE_DISK = 100 * 1024**2
MOST_SKEW_S = 5.0

Health = Literal["good", "info", "warning", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check; `mend` says what to do about it."""

    about: str
    state: Health
    found: str
    mend: str = ""


def examine(loaded: Loaded, *, deep: bool) -> Iterator[Finding]:
    """Yield the results of all checks, from the settings to the running server."""
    settings = loaded.settings
    yield Finding(about="version", state="info", found=package.__version__)
    yield from _settings(loaded)
    yield from _clock()
    yield _open_files()
    yield from _data_dir(settings)
    yield from _secrets(settings)
    yield from _programs(settings)
    for about, state, found, mend in check_database(settings, deep=deep):
        yield Finding(about=about, state=state, found=found, mend=mend)
    yield from _server(settings)


def _settings(loaded: Loaded) -> Iterator[Finding]:
    for name, origin in sorted(loaded.origins.items()):
        yield Finding(
            about=f"setting {name}", state="info", found=f"{redact(shown(loaded.settings, name))} (from {origin})"
        )
    if not loaded.origins:
        yield Finding(about="settings", state="info", found="nothing is set: all defaults")
    for warning in loaded.warnings:
        yield Finding(about="settings", state="warning", found=warning)
    host = loaded.settings.host
    if not is_loopback(host) and loaded.settings.public_url is None:
        yield Finding(
            about="setting public_url",
            state="warning",
            found=f"the server listens on {host}, and the URL given to workers is {loaded.settings.url()}",
            mend="Set SWARMHOLD_PUBLIC_URL to the address by which workers reach it.",
        )


def _clock() -> Iterator[Finding]:
    year = time.gmtime().tm_year
    if year < 2024:
        yield Finding(
            about="clock", state="wrong", found=f"it shows the year {year}", mend="Set it, and synchronise it by NTP."
        )
    else:
        yield Finding(about="clock", state="good", found=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _open_files() -> Finding:
    limit = descriptors.attainable_limit()
    if limit >= descriptors.LOW_LIMIT:
        return Finding(about="open files", state="good", found=f"a server here may have {limit:,}")
    found = f"a server here may have {limit:,}, and each parked request and socket is one"
    return Finding(about="open files", state="warning", found=found, mend="Raise the hard limit (ulimit -Hn).")


def _data_dir(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir
    if not path.exists():
        yield Finding(
            about="data directory", state="info", found=f"{path.absolute()} does not exist; the first start creates it"
        )
        return
    yield _private(path, "data directory", 0o700)
    free = shutil.disk_usage(path).free
    health: Health = "wrong" if free < TOO_LITTLE_DISK else "warning" if free < LITTLE_DISK else "good"
    mend = "" if health == "good" else "Free space: without it the server answers 503 and writes nothing."
    yield Finding(about="disk", state=health, found=f"{free / 1024**3:.1f} GiB free", mend=mend)


def _private(path: Path, about: str, mode: int) -> Finding:
    """Check that only the owner can access a file or directory, and that it is the user who runs the command."""
    status = path.stat()
    others = stat.S_IMODE(status.st_mode) & ~mode
    found = f"{path.absolute()}, mode {stat.S_IMODE(status.st_mode):04o}"
    if others:
        return Finding(about=about, state="wrong", found=found, mend=f"chmod {mode:o} {path.absolute()}")
    if status.st_uid != os.getuid() and os.getuid() != 0:
        return Finding(
            about=about, state="warning", found=f"{found}, of another user", mend="Run this as the server's user."
        )
    return Finding(about=about, state="good", found=found)


def _secrets(settings: Settings) -> Iterator[Finding]:
    if settings.keys_path.exists() and not database.is_postgres(settings):
        yield _private(settings.keys_path, "keys", 0o600)
    try:
        ring = database.existing_keyring(settings)
    except StoreUnavailable:
        pass  # the findings about the database say so
    except StartFailed as failure:
        yield Finding(about="keys", state="wrong", found=str(failure))
    else:
        if ring is not None:
            found = f"{ring.signing[0].kid} signs, {len(ring.signing)} verify"
            yield Finding(about="keys", state="good", found=found)
    try:
        root = given_root_key(settings)
    except StartFailed as failure:
        yield Finding(about="root key", state="wrong", found=str(failure))
        return
    if root is None:
        yield Finding(about="root key", state="info", found="none yet; the first start creates it")
    elif settings.root_key is not None:
        yield Finding(about="root key", state="good", found="from the settings")
    else:
        yield _private(settings.root_key_path, "root key", 0o600 if settings.root_key_file is None else 0o644)


def _programs(settings: Settings) -> Iterator[Finding]:
    for name, program in sorted(settings.spawn.programs.items()):
        path = Path(program.path)
        good = path.is_file() and os.access(path, os.X_OK)
        yield Finding(
            about=f"program {name}",
            state="good" if good else "wrong",
            found=str(path) if good else f"{path} is not an executable program",
            mend="" if good else f"Correct spawn.programs.{name}.path.",
        )


def _server(settings: Settings) -> Iterator[Finding]:
    here = pidfile.find_server(settings.data_dir)
    url = here.url if here else settings.url()
    # The address it listens on, since a public one may lead through a proxy.
    try:
        reply = httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False)
    except httpx.TransportError as error:
        yield Finding(
            about="server",
            state="wrong" if here else "info",
            found=f"process {here.pid} does not answer at {url}: {error}" if here else f"none runs here, none at {url}",
            mend="See its log; a server that hangs may be killed, nothing is lost." if here else "",
        )
        return
    whose = f"process {here.pid} " if here else ""
    if reply.status_code == 200:
        yield Finding(about="server", state="good", found=f"{whose}is ready at {url}")
    else:
        yield Finding(
            about="server",
            state="wrong",
            found=f"{whose}answers {reply.status_code} at {url}: {reply.text[:200]}",
            mend="Its database is unreachable or full; see the findings above and its log.",
        )
    yield from _clock_skew(reply)
    if here is not None and running_server(settings) is not None:
        yield from _root_key_accepted(settings, url)


def _clock_skew(reply: httpx.Response) -> Iterator[Finding]:
    try:
        shown = parsedate_to_datetime(reply.headers.get("date", ""))
    except ValueError:
        return
    skew = time.time() - shown.replace(tzinfo=UTC).timestamp()
    if abs(skew) > MOST_SKEW_S:
        yield Finding(
            about="server clock",
            state="warning",
            found=f"it differs from this machine's by {skew:.0f} s",
            mend="Synchronise both by NTP: leases and deadlines go by the server's.",
        )


def _root_key_accepted(settings: Settings, url: str) -> Iterator[Finding]:
    try:
        root = given_root_key(settings)
    except StartFailed:
        return
    if root is None:
        return
    try:
        reply = httpx.get(
            f"{url}/v1/admin/keys?limit=1",
            headers={"Authorization": f"Bearer {root.text}"},
            timeout=5.0,
            trust_env=False,
        )
    except httpx.TransportError:
        return
    if reply.status_code == 401:
        yield Finding(
            about="root key",
            state="wrong",
            found=f"the server at {url} does not accept it",
            mend="Name the data directory of that server, or restart it: the key of its settings or file counts.",
        )
