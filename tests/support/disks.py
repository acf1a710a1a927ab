"""A small disk of a test's own, which can be filled and emptied without harm to anything else."""

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

LARGEST_CHUNK = 64 * 1024 * 1024


class SmallDisk:
    """A file system mounted at `path`. Everybody may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Take every free block. Calling it again takes what became free since."""
        with self._filler.open("ab") as filler:
            chunk = LARGEST_CHUNK
            while chunk:
                try:
                    os.posix_fallocate(filler.fileno(), filler.seek(0, os.SEEK_END), chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk //= 2

    def empty(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[SmallDisk | None]:
    """Mount a disk of `size` bytes, and unmount it on leaving; None where mounting is not allowed."""
    path = Path(tempfile.mkdtemp(prefix="swarmhold-disk-", dir="/tmp"))
    try:
        path.chmod(0o755)  # other users run PostgreSQL on it
        if not _mounted(path, size):
            yield None
            return
        try:
            yield SmallDisk(path)
        finally:
            # Lazily: a process that was just killed may not have let go of its files.
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    finally:
        path.rmdir()


def _mounted(path: Path, size: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(path)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
