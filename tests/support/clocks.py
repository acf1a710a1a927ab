"""A clock that stands until a test moves it."""

from app.domain.clock import Instant

START = 1_760_000_000_000
"""A whole second: tokens have their times in seconds."""


class HandClock:
    """Milliseconds since the epoch, as many as a test says."""

    def __init__(self, now: Instant = START) -> None:
        self.now = now

    def __call__(self) -> Instant:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; negative when the machine's clock is set back."""
        self.now += round(seconds * 1000)
