"""Where results flow to: what a worker returned becomes the attempt's Final.

Bodies never pass through the dispatch path itself: it moves their text undecoded. What is large goes out as artifacts,
which stay readable with the attempt's outputs, or into named resources, which `input_inject` takes into other prompts.
"""

from __future__ import annotations

from app.domain.outputs import Final
from app.spawning.outputs import as_exact_final
from app.spawning.ports import Facts, Layer

_TAG = '"type":"final"'


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
