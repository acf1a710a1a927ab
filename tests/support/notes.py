"""The smallest operations on a store: named texts and counters, kept in its table of settings."""

from collections.abc import Callable

from app.state.state import State
from app.state.tables import get_meta, set_meta


def write(name: str, value: str) -> Callable[[State], str]:
    """Set a note."""

    def operation(state: State) -> str:
        set_meta(state.db, name, value)
        return value

    return operation


def read(name: str) -> Callable[[State], str | None]:
    """A note's text."""
    return lambda state: get_meta(state.db, name)


def fail_after_writing(name: str, value: str, error: BaseException) -> Callable[[State], None]:
    """Set a note, then raise."""

    def operation(state: State) -> None:
        set_meta(state.db, name, value)
        state.wake(f"failed:{name}")
        raise error

    return operation


def add_one(name: str) -> Callable[[State], int]:
    """Count up a note that exists, holding its row."""

    def operation(state: State) -> int:
        value = int(get_meta(state.db, name, lock=True) or 0) + 1
        set_meta(state.db, name, str(value))
        return value

    return operation
