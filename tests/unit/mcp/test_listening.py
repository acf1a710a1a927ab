"""Which events change what a stream follows."""

import pytest

from app.domain.events import Event, EventKind, Lagged
from app.mcp.listening import Followed, Wanted

OWN, OTHER = 1, 2


def event(kind: EventKind, task_id: str, namespace: int = OWN) -> Event:
    """One of the feed."""
    return Event(
        cursor=1, kind=kind, at=0, task_id=task_id, session_id=None, attempt=None, data=None, namespace=namespace
    )  # fmt: skip


@pytest.mark.parametrize(
    ("batch", "changed", "inbox"),
    [
        ([event(EventKind.TASK_PASS, "T-1")], ["R-1", "T-1"], False),
        ([event(EventKind.SENIOR_ANSWERED, "T-1")], ["R-1", "T-1"], True),
        ([event(EventKind.SENIOR_QUERIED, "T-3")], [], True),
        ([event(EventKind.SENIOR_QUERIED, "T-3", OTHER)], [], False),
        ([event(EventKind.TASK_PASS, "T-2"), event(EventKind.TASK_PASS, "T-2")], ["T-2"], False),
        ([Lagged(cursor=9)], ["R-1", "T-1", "T-2"], True),
    ],
)
def test_what_events_change(batch: list[Event | Lagged], changed: list[str], inbox: bool) -> None:
    """What is of their tasks; open questions by questions of the caller's namespace; everything after a gap."""
    wanted = Wanted(inbox=True, namespace=OWN)
    wanted.by_task |= {"T-1": [Followed("R-1"), Followed("T-1")], "T-2": [Followed("T-2")]}
    found, of_inbox = wanted.changed_by(batch)
    assert ([one.name for one in found], of_inbox) == (changed, inbox)
    wanted.inbox = False
    assert wanted.changed_by(batch)[1] is False
