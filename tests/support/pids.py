"""Processes by their ids: whether one is there, and which it started."""

from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs; one that merely waits to be waited for does not."""
    try:
        return b") Z" not in (Path("/proc") / str(pid) / "stat").read_bytes()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes whose parent it is, those that merely wait to be waited for included."""
    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == pid]


def _parent(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has just ended
        return None
