"""Processes by their ids: whether one is there, and which it started."""

from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs; one that merely waits to be waited for does not."""
    try:
        return b") Z" not in (Path("/proc") / str(pid) / "stat").read_bytes()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that it started and that still run."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has just ended
            continue
        if parent == str(pid):
            found.append(int(stat.parent.name))
    return found
