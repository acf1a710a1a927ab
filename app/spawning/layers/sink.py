"""Where results flow to: an attempt's products stay readable as named data, and a Final is a value.

Bodies never pass through the dispatch path itself: it moves their text undecoded. What is large goes out as artifacts,
which are named data from then on (`artifact_key`), so that another task's prompt can take them in (see `input_inject`).
"""

from __future__ import annotations

import re

from app.domain.outputs import Final
from app.spawning.outputs import as_exact_final
from app.spawning.ports import Facts, Layer

_TAG = '"type":"final"'
_KEY = re.compile(r"(T-[0-9a-z]{26})/artifacts/(.+)", re.DOTALL)


def artifact_key(task_id: str, name: str) -> str:
    """The key under which a task's artifact is read as data: the latest one of that name."""
    return f"{task_id}/artifacts/{name}"


def parse_artifact_key(key: str) -> tuple[str, str] | None:
    """Task and name of an artifact's key; None when the key is not of that shape."""
    match = _KEY.fullmatch(key)
    return None if match is None else (match[1], match[2])


class SinkLayer(Layer):
    """A base layer: a returned Final that is spelled as a whole output event counts as that event.

    Functions, backends and HTTP workers return values; one that returns `{type: final, content, ok}` means what it
    says. Any other value passes by reference, without being decoded.
    """

    key = "sink"
    kinds = frozenset({"in_process", "process", "operator", "http"})
    """Where values are returned; workers that submit by themselves say exactly what they mean."""

    def settle(self, final: Final, facts: Facts) -> Final:
        """Take value and `ok` out of an output event."""
        del facts
        if not final.value.text.startswith("{") or _TAG not in final.value.text:
            return final
        meant = as_exact_final(final.value.value)
        if meant is None:
            return final
        return Final(value=meant.value, ok=meant.ok and final.ok)
