"""Reports: what a task waits for, and counts of tasks, attempts, questions and more."""

from __future__ import annotations

from typing import Any, NamedTuple, Required, TypedDict

import sqlalchemy as sa

from app.domain.access import Caller
from app.domain.attempts import Attempt, Phase, Reason
from app.domain.namespaces import ALL_ID
from app.domain.tasks import Status, Task
from app.engine.ops import listeners, loop
from app.engine.ops.nodes import Membership
from app.engine.ops.queries import CHILDREN, OPEN_QUESTIONS, require_task
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS


class WhyLink(TypedDict, total=False):
    """One link of what a task waits for. Which fields it has depends on `kind`."""

    kind: Required[str]
    detail: Required[str]
    since: int | None
    at: int | None
    task_id: str
    key: str
    asked_by: str
    bridge_id: str | None
    seen_by: list[str]
    deadline: int | None
    on_deadline: str
    attempt: int
    phase: str
    spawner: str
    queue: str | None
    lease_holder: str | None
    owner: str | None
    last_seen_at: int | None
    outcome: str | None
    reason: str | None
    reason_detail: str | None
    late_results: int
    name: str


class Why(TypedDict):
    """Why a task is where it is: a sentence for people and the chain of what it waits for, nearest first."""

    task_id: str
    status: str
    summary: str
    chain: list[WhyLink]


class AttemptCount(TypedDict):
    """How many attempts of a kind of spawner are in a phase."""

    spawner: str
    phase: str
    count: int


class Stats(TypedDict):
    """Counts of everything that lives."""

    tasks: dict[str, int]
    questions: dict[str, int]
    oldest_open_question_at: int | None
    sessions: dict[str, int]
    attempts: list[AttemptCount]
    queues: dict[str, int]
    webhooks: dict[str, int]
    loop: loop.Switches


_T, _Q, _S, _A = schema.tasks.c, schema.questions.c, schema.sessions.c, schema.attempts.c


class _Counts:
    """A statement that counts the rows of one namespace, and one that counts all."""

    def __init__(self, namespace: sa.Column[int], *columns: Any, where: tuple[Any, ...] = ()) -> None:
        found = sa.select(*columns).where(*where)
        groups: list[Any] = [column for column in columns if hasattr(column, "table")]
        of = found.where(namespace == sa.bindparam("of_namespace"))
        self._of, self._all = Statement(of.group_by(*groups)), Statement(found.group_by(*groups))

    def query(self, state: State, namespace: int) -> list[tuple[Any, ...]]:
        """Return the rows, of all namespaces with `ALL_ID`."""
        if namespace == ALL_ID:
            return self._all.query(state.db)
        return self._of.query(state.db, of_namespace=namespace)


_W, _COUNT = schema.webhooks.c, sa.func.count()
_BY_STATUS = _Counts(_T.namespace, _T.status, _COUNT)
_QUESTIONS = _Counts(_Q.namespace, _Q.status, _COUNT)
_OLDEST_OPEN = _Counts(_Q.namespace, sa.func.min(_Q.asked_at), where=(_Q.status == "open",))
_ATTACHED = _Counts(_S.namespace, _S.attached, _COUNT)
_PHASES = _Counts(_A.namespace, _A.kind, _A.phase, _COUNT, where=(sa.text("phase <> 'ended'"),))
_WEBHOOKS = _Counts(_W.namespace, _W.status, _COUNT)
_QUEUES = _Counts(_A.namespace, _A.queue, _COUNT, where=(sa.text("phase = 'queued' AND paused_at IS NULL"),))


def why(state: State, caller: Caller, task_id: str, nodes: Membership) -> Why:
    """Return the task, a sentence on what it waits for, and the chain of that, nearest first. Raises TaskNotFound."""
    task = require_task(state, task_id, caller)
    attempt = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    chain: list[WhyLink] = []
    if task.status is Status.SUSPENDED:
        chain += _questions(state, task)
    if attempt is not None:
        chain.append(_attempt(attempt))
        chain += _node(state, attempt, nodes)
        chain += _workers(state, attempt)
        chain += _next_try(attempt)
        chain += _timers(attempt)
    if task.retry_at is not None:
        chain.append(
            {"kind": "retry", "detail": "the engine dispatches again by the retry policy", "at": task.retry_at}
        )
    paused = loop.is_paused(state, task.namespace)
    if paused is not None and task.status in (Status.PENDING, Status.RUNNING):
        chain.append({"kind": "loop", "detail": f"dispatching is paused by {paused.by}", "since": paused.since})
    chain += _children(state, task)
    summary = _summary(task, attempt, chain)
    return {"task_id": task.id, "status": task.status.value, "summary": summary, "chain": chain}


class Outlook(NamedTuple):
    """An open or blocked task: what it waits for, whether it is tried again, how it failed (None: by a result)."""

    waits_for: str | None
    tries_again: bool
    failure: str | None


def outlook(state: State, caller: Caller, task_id: str, nodes: Membership) -> Outlook:
    """Return what is to be expected of a task. Raises TaskNotFound."""
    task = require_task(state, task_id, caller)
    attempt = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    chain = why(state, caller, task_id, nodes)["chain"]
    failure = _failure(task, attempt) if task.status is Status.BLOCKED else None
    return Outlook(chain[0]["detail"] if chain else None, task.retry_at is not None, failure)


def _failure(task: Task, attempt: Attempt | None) -> str | None:
    """Return why a blocked task has no result that says so."""
    if attempt is None:
        return Reason.DEADLINE.value if task.last_result is None else None
    # A worker whose program failed may have said how, which is no result.
    if attempt.reason in (None, Reason.FINAL, Reason.VERDICT):
        return None
    return attempt.reason.value


def _questions(state: State, task: Task) -> list[WhyLink]:
    return [
        {
            "kind": "question",
            "detail": f"waits for an answer{f' from {q.bridge_id}' if q.bridge_id else ' from any senior'}",
            "key": q.key,
            "since": q.asked_at,
            "asked_by": q.asked_by,
            "bridge_id": q.bridge_id,
            "seen_by": q.delivered_to.value,
            "deadline": q.deadline,
            "on_deadline": q.on_deadline.value,
        }
        for q in OPEN_QUESTIONS.all(state.db, task_id=task.id)
    ]


_OTHER_QUEUES = 5
_PHASE_TEXT = {
    Phase.WAITING: "its spawn hook has not approved it yet",
    Phase.QUEUED: "no worker has claimed it yet",
    Phase.SPAWNING: "its worker is being started",
    Phase.RUNNING: "a worker is working on it",
    Phase.HELD: "its final result waits for a senior",
    Phase.FINISHING: "settled; its worker is being stopped, or layers have work to do",
    Phase.ENDED: "ended",
}


def _attempt(attempt: Attempt) -> WhyLink:
    return {
        "kind": "attempt",
        "detail": _PHASE_TEXT[attempt.phase],
        "attempt": attempt.attempt,
        "phase": attempt.phase.value,
        "spawner": attempt.kind,
        "queue": attempt.queue,
        "since": attempt.started_at,
        "lease_holder": attempt.worker_id,
        "owner": attempt.owner,
        "last_seen_at": attempt.last_seen_at,
        "outcome": attempt.outcome.value if attempt.outcome else None,
        "reason": attempt.reason.value if attempt.reason else None,
        "reason_detail": attempt.detail,
        "late_results": attempt.late,
    }


def _node(state: State, attempt: Attempt, nodes: Membership) -> list[WhyLink]:
    """Return the node that carries out an attempt which needs one."""
    if not attempt.needs_driver or attempt.phase is Phase.ENDED or attempt.owner is None:
        return []
    found = nodes.find(state, attempt.owner)
    if found is None:
        return [{"kind": "node", "detail": "the node that ran it has left", "name": attempt.owner}]
    detail = "runs on" if found.alive else "ran on a node that gives no heartbeat any more,"
    row = found.node
    return [{"kind": "node", "detail": f"{detail} {row.url}", "name": row.id, "last_seen_at": row.seen_at}]


def _workers(state: State, attempt: Attempt) -> list[WhyLink]:
    """Return who listens to the queue that the attempt waits in, and to the others."""
    if attempt.phase is not Phase.QUEUED or attempt.queue is None:
        return []
    found = listeners.by_queue(state, attempt.namespace)
    own = found.pop(attempt.queue, 0)
    others = sorted(found.items(), key=lambda one: (-one[1], one[0]))[:_OTHER_QUEUES]
    text = f"{own} worker{'s listen' if own != 1 else ' listens'} on `{attempt.queue}`"
    text += "".join(f"; {count} on `{name}`" for name, count in others)
    return [{"kind": "workers", "detail": text, "queue": attempt.queue}]


def _next_try(attempt: Attempt) -> list[WhyLink]:
    """Return when a worker is called again that could not be started yet."""
    process: dict[str, Any] = attempt.process.value if attempt.process is not None else {}
    if attempt.phase is not Phase.SPAWNING or "next_try_at" not in process:
        return []
    detail = f"try {process['tried']} to start its worker failed ({process['failure']}); it is called again"
    return [{"kind": "next_try", "detail": detail, "at": process["next_try_at"]}]


def _timers(attempt: Attempt) -> list[WhyLink]:
    if not attempt.is_live:
        return []
    if attempt.paused_at is not None:
        return [{"kind": "clocks", "detail": "its clocks are stopped while it waits", "since": attempt.paused_at}]
    named = (
        ("timeout", "the attempt times out", attempt.timeout_at),
        ("lease", "the lease expires without a heartbeat", attempt.lease_expires_at),
        ("handle", "the handle expires without a heartbeat", attempt.handle_expires_at),
    )
    running = [link for link in named if link[2] is not None and attempt.due_at is not None]
    return [{"kind": "timer", "detail": text, "name": name, "at": at} for name, text, at in sorted(running, key=_at)]


def _at(link: tuple[str, str, int | None]) -> int:
    return link[2] or 0


def _children(state: State, task: Task) -> list[WhyLink]:
    return [
        {
            "kind": "child",
            "detail": f"child task is {child.status.value}",
            "task_id": child.id,
            "since": child.updated_at,
        }
        for child in CHILDREN.all(state.db, parent=task.id)
        if child.status not in (Status.PASS, Status.CANCELLED)
    ]


def _summary(task: Task, attempt: Attempt | None, chain: list[WhyLink]) -> str:
    match task.status:
        case Status.PENDING:
            return "It was not dispatched yet."
        case Status.PASS | Status.CANCELLED:
            return f"It is {task.status.value}: nothing more will happen."
        case Status.BLOCKED:
            reason = attempt.reason.value if attempt and attempt.reason else "a verdict"
            return f"It is blocked ({reason}) until it is dispatched again, marked or cancelled."
        case Status.SUSPENDED:
            count = sum(link["kind"] == "question" for link in chain)
            return f"It waits for {count} answer{'s' if count != 1 else ''}."
        case Status.RUNNING:
            if attempt is None or not attempt.is_live:
                waits = task.retry_at is not None
                return "It waits for its next attempt." if waits else "It has no live attempt: dispatch it again."
            listening = "".join(f"; {link['detail']}" for link in chain if link["kind"] == "workers")
            return f"Attempt {attempt.attempt} is live: {_PHASE_TEXT[attempt.phase]}{listening}."


def stats(state: State, namespace: int = ALL_ID) -> Stats:
    """Return counts of a namespace's (or all) tasks, questions, sessions, attempts, queues and webhooks."""
    attached = {bool(flag): count for flag, count in _ATTACHED.query(state, namespace)}
    phases = _PHASES.query(state, namespace)
    return {
        "tasks": dict(_BY_STATUS.query(state, namespace)),
        "questions": dict(_QUESTIONS.query(state, namespace)),
        "oldest_open_question_at": _OLDEST_OPEN.query(state, namespace)[0][0],
        "sessions": {"attached": attached.get(True, 0), "detached": attached.get(False, 0)},
        "attempts": [{"spawner": kind, "phase": phase, "count": n} for kind, phase, n in phases],
        "queues": dict(_QUEUES.query(state, namespace)),
        "webhooks": dict(_WEBHOOKS.query(state, namespace)),
        "loop": loop.read(state, namespace),
    }
