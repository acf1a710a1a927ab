"""Calls of the C library for which Python has no function; each does nothing where the system does not know it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable

_SET_PARENT_DEATH_SIGNAL = 1
_SET_DUMPABLE = 4
_GET_CHILD_SUBREAPER = 37


def _prctl(option: int, argument: object) -> bool:
    try:
        done: int = ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return done == 0


def deny_memory_access() -> None:
    """Keep other processes of the same user from reading this one's memory and environment; it leaves no core file."""
    _prctl(_SET_DUMPABLE, 0)


def die_with_parent() -> None:
    """Let this process be killed when its parent ends."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL))


def adopts_orphans() -> bool:
    """Return whether processes whose parent ended become children of this one."""
    found = ctypes.c_int(0)
    return os.getpid() == 1 or (_prctl(_GET_CHILD_SUBREAPER, ctypes.byref(found)) and found.value != 0)


def forget_variables(names: Iterable[str]) -> None:
    """Remove variables from the environment, and overwrite their values where the system shows them (/proc)."""
    for name in names:
        if name in os.environ:
            _overwrite(name, len(os.fsencode(os.environ[name])))
            del os.environ[name]


def _overwrite(name: str, length: int) -> None:
    try:
        getenv = ctypes.CDLL(None).getenv
    except (OSError, AttributeError):
        return
    getenv.restype = ctypes.c_void_p
    if (at := getenv(os.fsencode(name))) is not None:
        ctypes.memset(at, 0, length)
