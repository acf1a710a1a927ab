"""Backup and restore of a PostgreSQL database with PostgreSQL's own `pg_dump` and `pg_restore`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from psycopg import pq

from app.domain.errors import StoreUnavailable
from app.state import private_file


def dump(url: str, target: Path) -> None:
    """Write the database to a new file in `pg_restore`'s custom format. Blocks until it is complete.

    Raises StoreUnavailable, also when `pg_dump` is not installed or older than the server.
    """
    program = shutil.which("pg_dump")
    if program is None:
        raise StoreUnavailable("a backup of PostgreSQL needs pg_dump; install PostgreSQL's client programs")
    if target.exists():
        raise StoreUnavailable(f"{target} already exists; name a new file for the backup")
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        # It gets the file and not its name, which somebody could have put a link under meanwhile.
        with os.fdopen(private_file.create(partial), "wb") as file:
            done = subprocess.run(
                [program, "--format=custom", "--no-password"],
                env=_environment(url),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        if done.returncode:
            raise StoreUnavailable(f"pg_dump failed: {' '.join(done.stderr.split())}")
        partial.rename(target)
    except OSError as error:
        raise StoreUnavailable(f"the backup to {target} failed: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def load(url: str, source: Path) -> None:
    """Fill an empty database from a file that `dump` wrote, in one transaction. Blocks.

    Raises StoreUnavailable, also when `pg_restore` is not installed.
    """
    program = shutil.which("pg_restore")
    if program is None:
        raise StoreUnavailable("restoring PostgreSQL needs pg_restore; install PostgreSQL's client programs")
    environment = _environment(url)
    database = environment.get("PGDATABASE") or environment.get("PGUSER", "postgres")
    # The roles of the old database need not exist in the new cluster.
    rights = ("--no-owner", "--no-privileges")
    options = ("--exit-on-error", "--single-transaction", *rights, "--no-password", f"--dbname={database}")
    done = subprocess.run(
        [program, *options, str(source)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StoreUnavailable(f"pg_restore failed: {' '.join(done.stderr.split())[:500]}")


def _environment(url: str) -> dict[str, str]:
    """Return a URL as environment variables: the arguments of a process are public, and the URL holds the password."""
    given = {
        option.envvar.decode(): option.val.decode()
        for option in pq.Conninfo.parse(url.encode())
        if option.envvar is not None and option.val is not None
    }
    return {**os.environ, **given}
