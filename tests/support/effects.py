"""A listener that remembers."""

from app.state.state import Effects


class EffectsLog:
    """Everything that followed commits, in order."""

    def __init__(self) -> None:
        self.wakes: list[str] = []
        self.dues: list[int] = []
        self.events = 0

    def __call__(self, effects: Effects) -> None:
        self.wakes += sorted(effects.wakes)
        self.events += effects.events
        if effects.due is not None:
            self.dues.append(effects.due)
