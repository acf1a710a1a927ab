"""A disk that fails on demand, under every SQLite connection opened meanwhile."""

import contextlib
from collections.abc import Iterator
from typing import Any

import apsw

NAME = "faulty"


class FaultyDisk(apsw.VFS):
    """The operating system's files, with failures. `fail(n, error)` lets `n` more writes and syncs pass first."""

    def __init__(self) -> None:
        super().__init__(NAME, "unix", makedefault=True)
        self._passing: int | None = None
        self._error: type[apsw.Error] = apsw.IOError
        self._syncs_only = False
        self._times: int | None = None
        self._suffix = ""
        self.failures = 0

    def fail(
        self,
        passing: int,
        error: type[apsw.Error],
        *,
        syncs_only: bool = False,
        times: int | None = None,
        suffix: str = "",
    ) -> None:
        """Let `passing` more writes and syncs (or syncs alone) be done; all that follow, or `times`, raise `error`.

        Only files whose names end in `suffix` fail.
        """
        self._times = times
        self._suffix = suffix
        self._passing = passing
        self._error = error
        self._syncs_only = syncs_only

    def heal(self) -> None:
        """Work again."""
        self._passing = None

    def touch(self, name: str, *, sync: bool = False) -> None:
        """One write or sync of this file."""
        if self._passing is None or (self._syncs_only and not sync) or not name.endswith(self._suffix):
            return
        if self._passing:
            self._passing -= 1
            return
        self.failures += 1
        if self._times is not None:
            self._times -= 1
            if not self._times:
                self.heal()
        raise self._error("the disk failed")

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: Any) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.touch(self._name)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.touch(self._name, sync=True)
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.touch(self._name)
        super().xTruncate(newsize)


@contextlib.contextmanager
def faulty_disk() -> Iterator[FaultyDisk]:
    """The disk of every connection that is opened inside."""
    disk = FaultyDisk()
    try:
        yield disk
    finally:
        disk.unregister()
