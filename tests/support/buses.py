"""Buses that lose what they are given."""

import random
from collections.abc import Iterable

from app.bus.local import LocalBus


class LossyBus(LocalBus):
    """Loses this share of all hints, by a seeded chance."""

    def __init__(self, share: float = 1.0, *, seed: int = 0) -> None:
        super().__init__()
        self._share = share
        self._random = random.Random(seed)
        self.lost = 0

    def publish(self, topics: Iterable[str]) -> None:
        """Pass on what is not lost."""
        kept = [topic for topic in topics if self._random.random() >= self._share]
        self.lost += len(list(topics)) - len(kept)
        super().publish(kept)
