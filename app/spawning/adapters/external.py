"""Start nothing: the dispatcher gets the handle and passes it to a worker of its own."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Phase
from app.spawning.specs import only_fields
from app.spawning.workers import DetachedSpawner


class ExternalSpawner(DetachedSpawner):
    """`{kind: external}`. Such an attempt is driven only if its layers need it."""

    kind = "external"
    first_phase = Phase.RUNNING
    hands_out_handle = True
    leased = False

    __slots__ = ()

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that is recorded with the attempt."""
        return {"kind": self.kind}


_EXTERNAL = ExternalSpawner()
"""It has no state: one serves all."""


def build_external(spec: dict[str, Any]) -> ExternalSpawner:
    """Build from `{kind: external}`. Raises DispatchFailed for any other field."""
    only_fields(spec, ())
    return _EXTERNAL
