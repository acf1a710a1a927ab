"""Open files of the process: every connection is one, and a shell's usual limit of a thousand is soon reached."""

from __future__ import annotations

import sys
from contextlib import suppress

MOST = 1_048_576
"""As many as a busy server could use; some systems allow any number."""
FEW = 4_096
"""A server with fewer is told of by the doctor."""


def raise_limit() -> int:
    """Lift the limit of this process to what the system lets it have; the limit that holds then."""
    if sys.platform == "win32":
        return MOST
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft not in (resource.RLIM_INFINITY, wanted) and soft < wanted:
        # Where the system says one number and allows another, the old limit stays.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return _known(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def allowed() -> int:
    """What a server that is started here could lift its limit to."""
    if sys.platform == "win32":
        return MOST
    import resource

    return _known(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _known(limit: int) -> int:
    """The limit, or `MOST` where there is none."""
    return MOST if limit < 0 else min(limit, MOST)
