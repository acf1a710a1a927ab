"""Turn what a worker returned into the attempt's Final.

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

    Functions, programs, backends and HTTP workers return values; `{type: final, content, ok}` is read as the event that
    it spells. Any other value passes by reference, without being decoded.
    """

    key = "sink"
    skips_detached = True
    """Only returned values are read; a worker that submits says exactly what it means."""

    def settle(self, final: Final, facts: Facts) -> Final:
        """Return the Final with value and `ok` taken out of an output event."""
        del facts
        if not final.value.text.startswith("{") or _TAG not in final.value.text:
            return final
        meant = as_exact_final(final.value.value)
        if meant is None:
            return final
        return Final(value=meant.value, ok=meant.ok and final.ok)
