"""The checker of histories finds each kind of broken promise, and nothing in a history that keeps them all."""

import json
from typing import Any

import pytest

from tests.chaos.history import Call, contradictions

TASK, KEY = "T1", "Q1"
HANDLE = "Bearer wh-1"


class Told:
    """A history, told call by call: each begins after the one before has ended."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def call(
        self, method: str, path: str, reply: Any = None, *, body: Any = None, status: int = 200, **more: Any
    ) -> Call:
        """Add a call that was answered."""
        at = float(len(self.calls))
        credential = more.pop("credential", "Bearer operator")
        made = Call(at, method, path, credential, json.dumps(body).encode(), status=status, ended_at=at + 0.5, **more)
        made.reply += reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.calls.append(made)
        return made

    def dispatch(self) -> None:
        """Add a dispatch, whose worker has the handle."""
        reply = {"task_id": TASK, "attempt": 1, "worker_handle": "wh-1"}
        self.call("POST", f"/v1/operator/tasks/{TASK}/dispatch", reply, status=202)

    def submit(self, value: Any) -> Call:
        """Add an accepted result."""
        return self.call("POST", "/v1/worker/submit", b"", body=value, status=204, credential=HANDLE)

    def answer(self, value: Any) -> Call:
        """Add an accepted answer."""
        return self.call("POST", f"/v1/senior/questions/{KEY}/answer", {}, body={"value": value})

    def read(self, version: int, status: str, result: Any = None) -> Call:
        """Add a look at the task."""
        value = {"id": TASK, "version": version, "status": status, "last_result": result}
        return self.call("GET", f"/v1/operator/tasks/{TASK}", value)

    def question(self, status: str, answer: Any = None) -> Call:
        """Add a look at the question."""
        return self.call("GET", f"/v1/worker/questions/{KEY}", {"key": KEY, "status": status, "answer": answer})

    def claim(self, key: str) -> None:
        """Add a claim that got the attempt."""
        self.call(
            "POST", "/v1/worker/claim", {"task_id": TASK, "attempt": 1, "worker_handle": key}, idempotency_key=key
        )

    def stream(self, *cursors: int, after: str | None = None) -> None:
        """Add a stream of events."""
        text = "".join(f"id: {cursor}\ndata: {{}}\n\n" for cursor in cursors)
        self.call("GET", "/v1/operator/events", text.encode(), after=after)


@pytest.fixture
def told() -> Told:
    """A history that keeps every promise."""
    told = Told()
    told.dispatch()
    told.read(1, "running")
    told.question("open")
    told.answer("yes")
    told.question("answered", "yes")
    told.submit("done")
    told.submit("done")
    told.read(2, "pass", "done")
    told.claim("one")
    told.claim("one")
    told.stream(3, 5)
    told.stream(6, after="5")
    return told


def test_a_history_that_keeps_every_promise(told: Told) -> None:
    """Repeats that are answered as before, and reads that see what was acknowledged."""
    assert contradictions(told.calls) == []


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (lambda told: told.submit("other"), "doubled Final"),
        (lambda told: told.read(3, "running"), "lost Final"),
        (lambda told: told.read(1, "pass", "done"), "back in time"),
        (lambda told: told.answer("no"), "doubled answer"),
        (lambda told: told.question("open"), "lost answer"),
        (lambda told: told.question("answered", "no"), "lost answer"),
        (lambda told: told.claim("two"), "doubled claim"),
        (lambda told: told.stream(7, 7), "out of order"),
        (lambda told: told.stream(8, 7), "out of order"),
        (lambda told: told.stream(5, after="5"), "out of order"),
    ],
)
def test_a_broken_promise_is_found(told: Told, broken: Any, found: str) -> None:
    """What was accepted twice with different content, what is gone later, and what comes in another order."""
    broken(told)
    wrong = contradictions(told.calls)
    assert len(wrong) == 1
    assert wrong[0].startswith(found)


def test_a_cancel_that_is_lost_and_a_task_that_is_made_twice_are_found() -> None:
    """A later reader sees the task as running; one key made two tasks."""
    told = Told()
    told.call("POST", f"/v1/operator/tasks/{TASK}/cancel", {})
    told.read(1, "running")
    for task in ("T2", "T3"):
        told.call("POST", "/v1/operator/tasks", {"id": task}, idempotency_key="k", status=201)
    assert [one.partition(":")[0] for one in contradictions(told.calls)] == ["doubled", "lost cancel"]


def test_calls_at_the_same_time_may_see_either(told: Told) -> None:
    """A read that began before the answer was acknowledged may come without it, and one whose reply broke off."""
    late = told.read(1, "running")
    late.begun_at = 0.5
    told.question("open").ended_at = None
    assert contradictions(told.calls) == []
