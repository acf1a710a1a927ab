"""The limit of open files: every connection is one, and a shell's usual limit of a thousand is soon reached."""

from __future__ import annotations

import sys
from contextlib import suppress

MAX_LIMIT = 1_048_576
"""More than a busy server needs; some systems allow any number."""
LOW_LIMIT = 4_096
"""Below this `swarmhold doctor` warns."""


def raise_limit() -> int:
    """Raise the soft limit of this process to its hard limit, and return the new soft limit."""
    if sys.platform == "win32":
        return MAX_LIMIT
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MAX_LIMIT)
    if soft not in (resource.RLIM_INFINITY, wanted) and soft < wanted:
        # Some systems refuse what they state as the hard limit; the old limit stays there.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return _capped(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def attainable_limit() -> int:
    """Return the limit to which a server that is started here could raise its own."""
    if sys.platform == "win32":
        return MAX_LIMIT
    import resource

    return _capped(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _capped(limit: int) -> int:
    """Return the limit, or `MAX_LIMIT` where there is none."""
    return MAX_LIMIT if limit < 0 else min(limit, MAX_LIMIT)
