"""Run as a child of a minimal init process where the server would otherwise adopt orphaned processes (in a container).

Such a process has to reap whatever ends below it, or zombies fill the process table. A server that did this itself
would take the exit statuses of its own children from the code that waits for them. So it runs as a child of a process
that does nothing else: it passes signals on, reaps, and exits with the status of the server.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from app.bootstrap import prctl

_FORWARDED = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT}
)
_WAITED_FOR = _FORWARDED | {signal.SIGCHLD}


def fork_if_adopting_orphans() -> None:
    """Fork if this process adopts orphans: the child returns, the parent passes signals on and exits with its status.

    Call it before any thread is started.
    """
    if not prctl.adopts_orphans():
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked before the child exists, so that no signal is lost in between.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    child = os.fork()
    if child:
        os._exit(_run(child))
    prctl.die_with_parent()
    # A terminal sends its signals to a whole group: the server gets them from its parent, once.
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(child: int) -> int:
    """Pass signals on and reap until the child has ended; return the status to end with."""
    while (status := _reap(child)) is None:
        number = signal.sigwait(_WAITED_FOR)
        if number != signal.SIGCHLD:
            os.kill(child, number)
    return status if status >= 0 else 128 - status


def _reap(child: int) -> int | None:
    """Reap every process that has ended; return the exit status of the child if it was among them."""
    found: int | None = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                found = os.waitstatus_to_exitcode(ended[1])
    return found
