"""The operating-system processes of one attempt: finding them without mistaking others for them, and ending them all.

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
    """The machine's present boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class _Stat:
    """What proc_pid_stat(5) says of a process."""

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
    """When the process started, in clock ticks since the boot; -1 when there is none of this id."""
    stat = _stat(pid)
    return -1 if stat is None else stat.start_ticks


async def exited(pid: int) -> None:
    """Return when a child of this process has exited; it is left to be waited for. Cancelling is safe."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    fd = os.pidfd_open(pid)
    loop.add_reader(fd, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


class Family:
    """The processes of one attempt. `leader` is process id and start time of the one that was started, if known.

    It is `held` while it is a child of this process that was not waited for: its id, and so its group's, is not free.
    """

    def __init__(self, task_id: str, attempt: int, *, leader: tuple[int, int] | None, held: bool = False) -> None:
        self._marks = {f"SWARMHOLD_TASK_ID={task_id}".encode(), f"SWARMHOLD_ATTEMPT={attempt}".encode()}
        self._leader = leader
        self._held = held
        self._known: set[tuple[int, int]] = set()

    async def end(self, grace_s: float, *, strays: bool = True) -> None:
        """SIGTERM to all, SIGKILL to those that are left after the grace period; returns when none is alive.

        Without `strays` only the process group is meant, not those that left it for a session of their own.
        """
        if await self._gone(grace_s, signal.SIGTERM, strays=strays):
            return
        while not await self._gone(_LONGEST_PAUSE_S, signal.SIGKILL, strays=strays):
            pass

    async def _gone(self, within_s: float, how: signal.Signals, *, strays: bool) -> bool:
        """Send `how` to every member once, also to those that appear meanwhile; whether none is left in time."""
        self._tell_group(how)
        told: set[tuple[int, int]] = set()
        deadline = asyncio.get_running_loop().time() + within_s
        pause = _FIRST_PAUSE_S
        while members := await asyncio.to_thread(self.find, strays=strays):
            for member in members - told:
                self._tell(member, how)
            told |= members
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        return True

    def find(self, *, strays: bool = True) -> set[tuple[int, int]]:
        """The members that are alive, each by process id and start time."""
        group = self._proven_group()
        self._known = {
            (pid, stat.start_ticks)
            for pid, stat in _processes()
            if self._is_member(pid, stat, group) or (strays and self._is_marked(pid))
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

    def _tell_group(self, how: signal.Signals) -> None:
        """Signal the group at once, so that none of it forks away in between; only while its id cannot be another's."""
        if self._held and self._leader is not None:
            with suppress(*_GONE):
                os.killpg(self._leader[0], how)

    def _tell(self, member: tuple[int, int], how: signal.Signals) -> None:
        """Signal this very process: the descriptor holds on to it while its start time is compared."""
        pid, started = member
        with suppress(*_GONE):
            fd = os.pidfd_open(pid)
            try:
                if start_ticks(pid) == started:
                    signal.pidfd_send_signal(fd, how)
            finally:
                os.close(fd)


def _processes() -> Iterator[tuple[int, _Stat]]:
    """Every process that is alive, but for this one."""
    own = os.getpid()
    with os.scandir(_PROC) as entries:
        for entry in entries:
            if entry.name.isdigit() and (pid := int(entry.name)) != own:
                stat = _stat(pid)
                if stat is not None and stat.state not in _DEAD:
                    yield pid, stat
