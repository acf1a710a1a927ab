"""The process tree of one attempt: find its processes without mistaking others for them, and end them all.

A process belongs to an attempt when its environment says so (`SWARMHOLD_TASK_ID` and `SWARMHOLD_ATTEMPT`, as they were
when it was started), or when it is in the process group of a leader that is proven: same process id and same start
time, in the same boot of the machine. A process id alone proves nothing, since the system uses it again.
Linux only: proc(5), pidfd_open(2).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_GONE = (ProcessLookupError, FileNotFoundError, PermissionError)
_DEAD = ("Z", "X")
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1


def boot_id() -> str:
    """Return the id of the machine's current boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class _Stat:
    """The fields of proc_pid_stat(5) of a process."""

    state: str
    group: int
    session: int
    start_ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        line = (_PROC / str(pid) / "stat").read_bytes()
    except _GONE:
        return None
    # The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    fields = line[line.rindex(b")") + 2 :].split()
    return _Stat(state=fields[0].decode(), group=int(fields[2]), session=int(fields[3]), start_ticks=int(fields[19]))


def start_ticks(pid: int) -> int:
    """Return when the process started, in clock ticks since the boot; -1 when no process has this id."""
    stat = _stat(pid)
    return -1 if stat is None else stat.start_ticks


async def exited(pid: int) -> None:
    """Wait until a child of this process has exited, without reaping it. Cancelling is safe."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    fd = os.pidfd_open(pid)
    loop.add_reader(fd, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


class ProcessTree:
    """The processes of one attempt. `leader` is the process id and start time of the one that was started, if known.

    `unreaped`: the leader is a child of this server process that was not waited for yet: its process id, and
    so its group's id, cannot be used again before that.
    """

    def __init__(self, task_id: str, attempt: int, *, leader: tuple[int, int] | None, unreaped: bool = False) -> None:
        self._marks = {f"SWARMHOLD_TASK_ID={task_id}".encode(), f"SWARMHOLD_ATTEMPT={attempt}".encode()}
        self._leader = leader
        self._unreaped = unreaped
        self._known: set[tuple[int, int]] = set()

    async def end(self, grace_s: float, *, orphans: bool = True) -> None:
        """Send SIGTERM to all, SIGKILL to those left after the grace period, and return when none is alive.

        Without `orphans` only the process group is ended, not processes that moved to a session of their own.
        """
        if await self._signal_until_gone(grace_s, signal.SIGTERM, orphans=orphans):
            return
        while not await self._signal_until_gone(_LONGEST_PAUSE_S, signal.SIGKILL, orphans=orphans):
            pass

    async def _signal_until_gone(self, within_s: float, how: signal.Signals, *, orphans: bool) -> bool:
        """Send the signal to every member once, also to those that appear meanwhile; return whether none is left."""
        self._signal_group(how)
        signalled: set[tuple[int, int]] = set()
        deadline = asyncio.get_running_loop().time() + within_s
        pause = _FIRST_PAUSE_S
        while members := await asyncio.to_thread(self.find, orphans=orphans):
            for member in members - signalled:
                self._signal(member, how)
            signalled |= members
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        return True

    def find(self, *, orphans: bool = True) -> set[tuple[int, int]]:
        """Return the members that are alive, each by process id and start time."""
        group = self._proven_group()
        self._known = {
            (pid, stat.start_ticks)
            for pid, stat in _processes()
            if self._is_member(pid, stat, group) or (orphans and self._is_marked(pid))
        }
        return self._known

    def _proven_group(self) -> int | None:
        if self._leader is None or start_ticks(self._leader[0]) != self._leader[1]:
            return None
        return self._leader[0]

    def _is_member(self, pid: int, stat: _Stat, group: int | None) -> bool:
        return (group is not None and stat.group == group) or (pid, stat.start_ticks) in self._known

    def _is_marked(self, pid: int) -> bool:
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            return False
        return self._marks <= set(environment.split(b"\0"))

    def _signal_group(self, how: signal.Signals) -> None:
        """Signal the whole group in one call, so that no member escapes by forking; only while its id is not reused."""
        if self._unreaped and self._leader is not None:
            with suppress(*_GONE):
                os.killpg(self._leader[0], how)

    def _signal(self, member: tuple[int, int], how: signal.Signals) -> None:
        """Signal exactly this process: while its pidfd is open, its process id is not reused."""
        pid, started = member
        with suppress(*_GONE):
            fd = os.pidfd_open(pid)
            try:
                if start_ticks(pid) == started:
                    signal.pidfd_send_signal(fd, how)
            finally:
                os.close(fd)


def _processes() -> Iterator[tuple[int, _Stat]]:
    """Yield every process that is alive, except this one."""
    own = os.getpid()
    with os.scandir(_PROC) as entries:
        for entry in entries:
            if entry.name.isdigit() and (pid := int(entry.name)) != own:
                stat = _stat(pid)
                if stat is not None and stat.state not in _DEAD:
                    yield pid, stat
