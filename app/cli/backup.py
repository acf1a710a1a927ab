"""`swarmhold backup` and `restore`: everything that a server needs to continue elsewhere, in one file.

The file is a plain tar archive of the database's copy, the server's own keys, the root key if it is kept in a file, and
a manifest with digests. On PostgreSQL the keys are in the copy, sealed as they are in the database. The archive holds
secrets, and is made readable for its owner alone.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

import app as package
from app.bootstrap import pidfile, private_files
from app.cli import command_records, database
from app.cli.endpoint import AsJson, ConfigFile, DatabaseUrl, DataDir, settings_of
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.output import print_json
from app.cli.progress import progress
from app.config import DATABASE_FILE, KEYS_FILE, ROOT_KEY_FILE, Settings
from app.domain.clock import system_clock, to_rfc3339
from app.domain.redaction import redact
from app.state import private_file

MANIFEST = "manifest.json"
PARTIAL = "archive.partial"
DUMP = "postgres.dump"
SHOWN = 3
_TABLES = (
    "SELECT tablename::text FROM pg_tables WHERE schemaname <> 'information_schema' "
    "AND NOT starts_with(schemaname, 'pg_') ORDER BY 1"
)

Target = Annotated[Path, typer.Argument(help="The new file.")]
Source = Annotated[Path, typer.Argument(help="A file that `swarmhold backup` made.")]


def backup(
    target: Target,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """Copy the database and the keys to a new file, whether the server runs or not."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    if os.path.lexists(target):
        raise CommandFailed(f"{target} exists already. Name a new file.", status=EXIT_MISUSED)
    command_records.record(settings, "backup_made", file=str(target.absolute()))
    try:
        # The directory is new and private, so that nobody can have placed a file in it.
        with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".swarmhold-backup-") as name:
            folder = Path(name)
            with progress("Copying the database"):
                _collect(settings, folder)
            _pack(folder, folder / PARTIAL)
            (folder / PARTIAL).rename(target)
    except OSError as error:
        raise CommandFailed(f"The backup cannot be written: {error.strerror}.") from error
    size = target.stat().st_size
    if as_json:
        print_json({"file": str(target.absolute()), "bytes": size})
    else:
        print(f"{target}: {size:,} bytes. It holds the server's keys: keep it as safe as those.")


def _pack(folder: Path, archive_path: Path) -> None:
    members = sorted(folder.iterdir())
    with os.fdopen(private_file.create(archive_path), "wb") as file:
        total = sum(path.stat().st_size for path in members)
        with tarfile.open(fileobj=file, mode="w") as archive, progress("Writing the archive", total=total) as advance:
            for path in members:
                archive.add(path, arcname=path.name, filter=_private_member)
                advance(path.stat().st_size)
        file.flush()
        os.fsync(file.fileno())


def _private_member(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Let the member be unpacked readable for its owner alone, and name no user of this machine."""
    member.mode = private_file.MODE
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(private_file.create(path), "wb") as file:
        file.write(content)


def _collect(settings: Settings, folder: Path) -> None:
    from app.state import migrations

    if database.is_postgres(settings):
        from app.state.postgres.dump import dump

        dump(settings.store_url, folder / DUMP)
    else:
        from app.state.sqlite.files import copy_database

        source = database.database_file(settings)
        if not source.is_file():
            raise CommandFailed(f"There is no database at {source}.")
        copy_database(str(source), folder / DATABASE_FILE)
    in_database = database.is_postgres(settings) and database.sealed_ring(settings) is not None
    for path, name in ((settings.keys_path, KEYS_FILE), (settings.root_key_path, ROOT_KEY_FILE)):
        if path.is_file() and not (in_database and name == KEYS_FILE):
            _write(folder / name, path.read_bytes())
    manifest = {
        "version": package.__version__,
        "schema": migrations.head(),
        "made_at": to_rfc3339(system_clock()),
        "files": {path.name: _digest(path) for path in sorted(folder.iterdir())},
    }
    _write(folder / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def restore(
    source: Source,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """Put a backup into an empty data directory (and an empty PostgreSQL database), before the server is started."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    _require_empty(settings)
    private_files.open_data_directory(settings)
    with tempfile.TemporaryDirectory(dir=settings.data_dir, prefix=".restore-") as made:
        folder = Path(made)
        with progress("Reading the archive"):
            age_s = _unpack(source, folder)
        if database.is_postgres(settings):
            with progress("Loading the database"):
                _load(settings, folder / DUMP, age_s)
        else:
            _leap_cursors(folder / DATABASE_FILE, age_s)
            _place(folder / DATABASE_FILE, database.database_file(settings))
        for path, name in ((settings.keys_path, KEYS_FILE), (settings.root_key_path, ROOT_KEY_FILE)):
            if (folder / name).is_file():
                _place(folder / name, path)
    if as_json:
        print_json({"data_dir": str(settings.data_dir.absolute())})
    else:
        print(f"Restored into {settings.data_dir}. Start the server: it continues from there.")


def _require_empty(settings: Settings) -> None:
    here = pidfile.find_server(settings.data_dir)
    if here is not None:
        raise CommandFailed(f"A server (process {here.pid}) is running there. Stop it first.")
    taken = [settings.keys_path, settings.root_key_path]
    if not database.is_postgres(settings):
        taken.append(database.database_file(settings))
    found = [str(path) for path in taken if os.path.lexists(path)]
    if found:
        raise CommandFailed(f"{', '.join(found)} exist already. Move them away, or name another --data-dir.")
    if database.is_postgres(settings):
        with database.connected(settings) as link:
            tables = [row[0] for row in link.query(_TABLES, ())]
        if tables:
            place, some = redact(settings.store_url), ", ".join(tables[:SHOWN])
            raise CommandFailed(f"{place} is not empty: it has {some}. Create an empty database and name that.")


def _unpack(source: Path, folder: Path) -> float:
    """Unpack a backup, and return how many seconds ago it was made."""
    try:
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        manifest: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
        made_at = datetime.fromisoformat(manifest["made_at"])
        wrong = [name for name, digest in manifest["files"].items() if _digest(folder / name) != digest]
    except tarfile.ReadError as error:
        raise CommandFailed(f"{source} is not a backup: `swarmhold backup` writes those.") from error
    except (OSError, tarfile.TarError, ValueError, TypeError, KeyError) as error:
        raise CommandFailed(f"{source} is not a readable backup: {error}.") from error
    if wrong:
        raise CommandFailed(f"{source} is damaged: {', '.join(wrong)} differ from what was saved.")
    return max(0.0, system_clock() / 1000 - made_at.timestamp())


def _place(source: Path, target: Path) -> None:
    if not source.is_file():
        raise CommandFailed(f"The backup holds no {source.name}: it was made from another kind of database.")
    source.chmod(private_file.MODE)
    _flush(source)
    source.rename(target)


def _leap_cursors(file: Path, age_s: float) -> None:
    from app.state.sqlite.files import leap_cursors

    if file.is_file():
        leap_cursors(file, age_s)


def _load(settings: Settings, dump: Path, age_s: float) -> None:
    from app.state.postgres.cursors import leap_cursors
    from app.state.postgres.dump import load

    if not dump.is_file():
        raise CommandFailed("The backup holds no dump of PostgreSQL: it was made from an SQLite file.")
    load(settings.store_url, dump)
    leap_cursors(settings.store_url, age_s)
