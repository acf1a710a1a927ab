"""Whether a process is there, by its id."""

from pathlib import Path


def alive(pid: int) -> bool:
    """Whether it runs; one that merely waits to be waited for does not."""
    try:
        return b") Z" not in (Path("/proc") / str(pid) / "stat").read_bytes()
    except OSError:
        return False
