"""The viewers of each question, among the open connections of this process. Nothing is stored or decided by it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

MOST_NAMES = 20
"""Names that are sent with a question, at most."""


class Viewer(Protocol):
    """A connection that looks at one question at a time."""

    @property
    def namespace(self) -> int:
        """The namespace of the connection."""
        ...

    @property
    def name(self) -> str:
        """How others see it."""
        ...

    def show_viewers(self, key: str, names: list[str]) -> None:
        """Send who else looks at the question. Must not raise."""
        ...


class Presence:
    """The viewers of each question. Each is notified of the others whenever they change."""

    def __init__(self) -> None:
        self._viewers: dict[tuple[int, str], dict[Viewer, None]] = {}
        self._keys: dict[Viewer, str] = {}

    def view(self, viewer: Viewer, key: str | None) -> None:
        """Record what a connection looks at now: a question, or none."""
        before = self._keys.get(viewer)
        if key == before:
            return
        if before is not None:
            self._leave(viewer, before)
        if key is not None:
            self._keys[viewer] = key
            viewers = self._viewers.setdefault((viewer.namespace, key), {})
            viewers[viewer] = None
            _notify(key, viewers)

    def leave(self, viewer: Viewer) -> None:
        """Forget a connection that is closed."""
        self.view(viewer, None)

    def _leave(self, viewer: Viewer, key: str) -> None:
        place = (viewer.namespace, key)
        del self._keys[viewer]
        viewers = self._viewers[place]
        del viewers[viewer]
        if not viewers:
            del self._viewers[place]
        _notify(key, viewers)


def _notify(key: str, viewers: Iterable[Viewer]) -> None:
    present = list(viewers)
    names = list(dict.fromkeys(viewer.name for viewer in present))[: MOST_NAMES + 1]
    for viewer in present:
        viewer.show_viewers(key, [name for name in names if name != viewer.name][:MOST_NAMES])
