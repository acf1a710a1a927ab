"""The engine as plain Python without time, store or concurrency of its own: what a history of calls must come to.

Written from the description of the engine, not from its code. Every call returns the name of the error that it must
raise, or None. Values are plain JSON values; instants are milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

LEASE_MS = 60_000
TOKEN_LIFE_MS = 1_800_000
HANDLE_LIFE_MS = 7 * 86_400_000
SEEN_EVERY_MS = 10_000
REVOKED = {"reason": "revoked", "detail": "the token that dispatched it was revoked"}
ENDING = {"final": "blocked", "timeout": "timeout", "lost": "lost"}
"""How a retry policy calls the endings that it may cover."""


@dataclass(slots=True)
class Retry:
    """So many attempts, so long between them, after these endings."""

    max_attempts: int
    backoff_ms: int
    on: tuple[str, ...]


@dataclass(slots=True)
class ModelAttempt:
    """One dispatch of a task."""

    task: ModelTask
    number: int
    kind: str
    priority: int
    escalates: bool
    root: int
    lease_ms: int | None
    phase: str
    started_at: int
    lease_at: int | None = None
    timeout_at: int | None = None
    handle_at: int | None = None
    paused_at: int | None = None
    seen_at: int | None = None
    final: tuple[Any, bool] | None = None
    reason: str | None = None
    detail: str | None = None
    outputs: int = 0
    prompt: str = "d"
    late: list[tuple[Any, bool]] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether it may still end its task."""
        return self.phase != "ended"

    def life_ms(self) -> int:
        """How long a handle is valid after a heartbeat."""
        return HANDLE_LIFE_MS if self.lease_ms is None else max(TOKEN_LIFE_MS, self.lease_ms)

    def due_at(self) -> int | None:
        """When its time is over."""
        if self.phase != "running" or self.paused_at is not None:
            return None
        return min(at for at in (self.lease_at, self.timeout_at, self.handle_at) if at is not None)

    def begin(self, now: int, timeout_ms: int | None) -> None:
        """A worker has it: the clocks run."""
        self.phase = "running"
        self.lease_at = now + self.lease_ms if self.lease_ms is not None else None
        self.timeout_at = now + timeout_ms if timeout_ms is not None else None
        self.handle_at = now + self.life_ms()

    def renew(self, now: int) -> None:
        """Record a heartbeat; while the clocks are stopped, the whole lease is left of it when they go on."""
        if self.phase != "running":
            return
        if self.paused_at is None:
            self.seen_at = now
        else:
            now = self.paused_at
        self.lease_at = now + self.lease_ms if self.lease_ms is not None else None
        self.handle_at = max(self.handle_at or 0, now + self.life_ms())

    def pause(self, now: int) -> None:
        """Stop the clocks; a lease that is over but was not judged is given its whole length."""
        self.paused_at = now
        if self.lease_ms is not None and self.lease_at is not None and self.lease_at <= now:
            self.lease_at = now + self.lease_ms

    def renew_by_traffic(self, now: int) -> None:
        """One that is only written when it is worth it."""
        age = now - (self.seen_at or self.started_at)
        if self.paused_at is None and age >= min(SEEN_EVERY_MS, (self.lease_ms or HANDLE_LIFE_MS) // 10):
            self.renew(now)


@dataclass(slots=True)
class ModelQuestion:
    """One question, and what its deadline says."""

    key: str
    task: ModelTask
    escalation: bool
    on_deadline: str = "keep_waiting"
    default: Any = None
    due_at: int | None = None
    status: str = "open"
    answer: Any = None
    bridge: str | None = None


@dataclass(slots=True)
class ModelTask:
    """One task with all that happened to it."""

    id: str
    parent: ModelTask | None
    retry: Retry | None
    timeout_ms: int | None
    status: str = "pending"
    result: Any = None
    retry_at: int | None = None
    next_prompt: str | None = None
    attempts: list[ModelAttempt] = field(default_factory=list)
    questions: list[ModelQuestion] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """How far below a task that an operator started."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def last(self) -> ModelAttempt | None:
        """The latest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def live(self) -> bool:
        """Whether it has a live attempt."""
        return self.last is not None and self.last.live

    def open(self) -> list[ModelQuestion]:
        """Questions that are not settled."""
        return [question for question in self.questions if question.status == "open"]

    def is_cancelled(self) -> bool:
        """Whether it, or a task above it, was cancelled."""
        return any(task.status == "cancelled" for task in self.lineage())

    def lineage(self) -> Iterator[ModelTask]:
        """The task and everything above it."""
        task: ModelTask | None = self
        while task is not None:
            yield task
            task = task.parent


class Model:
    """All tasks, and the switch of the loop."""

    def __init__(self, *, max_depth: int) -> None:
        self.tasks: list[ModelTask] = []
        self.revoked: set[int] = set()
        self.paused = False
        self._max_depth = max_depth

    def children(self, task: ModelTask) -> list[ModelTask]:
        """Tasks right under it."""
        return [child for child in self.tasks if child.parent is task]

    # Credentials

    def worker_refusal(self, attempt: ModelAttempt) -> str | None:
        """The error that any use of this attempt's handle raises."""
        if attempt.reason == "revoked":
            return "TokenRevoked"
        if attempt.phase == "running":
            return None
        if attempt.phase == "queued":
            return "NotStarted"
        if attempt.phase == "held":
            return "AttemptSuperseded"
        return "Cancelled" if "cancelled" in (attempt.task.status, attempt.reason) else "AttemptSuperseded"

    def revoke(self, root: int) -> None:
        """The token of this session, and everything below it."""
        self.revoked.add(root)
        for task in self.tasks:
            if task.live and task.last is not None and task.last.root == root:
                self._end(task.last, "revoked", REVOKED["detail"])
                self._settle(task, "blocked", REVOKED)

    # Tasks

    def may_start_child(self, attempt: ModelAttempt) -> str | None:
        """Whether this attempt's worker may start a task."""
        refusal = self.worker_refusal(attempt)
        return refusal or ("SpawnDepthExceeded" if attempt.task.depth + 1 > self._max_depth else None)

    def may_dispatch(self, task: ModelTask) -> str | None:
        """The table of states, one live attempt, the loop: in this order."""
        if task.status not in ("pending", "running", "blocked") or task.live:
            return "InvalidTransition"
        if task.parent is not None and task.parent.is_cancelled():
            return "Cancelled"
        return "LoopPaused" if self.paused else None

    def dispatch(
        self, task: ModelTask, now: int, *, kind: str, root: int, lease_ms: int | None, escalates: bool, priority: int
    ) -> ModelAttempt:
        """A new live attempt."""
        if kind == "queue" and lease_ms is None:
            lease_ms = LEASE_MS
        number = len(task.attempts) + 1
        attempt = ModelAttempt(task, number, kind, priority, escalates, root, lease_ms, "queued", now)
        if kind == "external":
            attempt.begin(now, task.timeout_ms)
        attempt.prompt = task.next_prompt or "d"
        task.attempts.append(attempt)
        task.status, task.retry_at, task.next_prompt = "running", None, None
        return attempt

    def claimable(self) -> list[ModelAttempt]:
        """What waits in the queue and may be claimed now: of the highest priority."""
        waiting = [
            task.last for task in self.tasks if task.last and task.last.phase == "queued" and task.status == "running"
        ]
        highest = max((attempt.priority for attempt in waiting), default=0)
        return [] if self.paused else [attempt for attempt in waiting if attempt.priority == highest]

    def claim(self, attempt: ModelAttempt, now: int) -> None:
        """It has a worker."""
        attempt.begin(now, attempt.task.timeout_ms)
        attempt.seen_at = now

    # What workers do

    def submit(self, attempt: ModelAttempt, value: Any, ok: bool, now: int, held: str = "") -> str | None:
        """A Final; `held` is the key of the question when it will be held for a senior."""
        task = attempt.task
        if attempt.reason == "revoked":
            return "TokenRevoked"
        if "cancelled" in (task.status, attempt.reason):
            self._keep(attempt, value, ok, now)
            return "Cancelled"
        if attempt.final is not None:
            if attempt.final == (value, ok):
                return None
            if attempt is task.last:
                return "FinalConflict"
        elif attempt.live:
            self._accept(attempt, value, ok, now, held)
            return None
        self._keep(attempt, value, ok, now)
        return "AttemptSuperseded"

    def _keep(self, attempt: ModelAttempt, value: Any, ok: bool, now: int) -> None:
        # None is kept once the credential is past its life.
        alive = attempt.handle_at is None or attempt.handle_at > now
        if alive and (value, ok) not in attempt.late:
            attempt.late.append((value, ok))

    def _accept(self, attempt: ModelAttempt, value: Any, ok: bool, now: int, held: str) -> None:
        attempt.final = (value, ok)
        attempt.outputs += 1
        if attempt.escalates and not ok:
            self._withdraw(attempt.task)
            attempt.phase = "held"
            attempt.task.status = "suspended"
            attempt.task.questions.append(ModelQuestion(held, attempt.task, escalation=True))
        else:
            self._conclude(attempt, value, ok, now)

    def _conclude(self, attempt: ModelAttempt, value: Any, ok: bool, now: int) -> None:
        self._end(attempt, "final", None)
        if ok:
            self._settle(attempt.task, "pass", value)
        else:
            self._block_or_retry(attempt, value, now)

    def _block_or_retry(self, attempt: ModelAttempt, result: Any, now: int) -> None:
        task, ending = attempt.task, ENDING.get(attempt.reason or "")
        retry = task.retry
        again = retry is not None and ending in retry.on and attempt.number < retry.max_attempts
        if retry is None or not again or attempt.kind == "external":
            self._settle(task, "blocked", result)
            return
        self._withdraw(task)
        task.status, task.result, task.retry_at = "running", result, now + retry.backoff_ms

    def _end(self, attempt: ModelAttempt, reason: str, detail: str | None) -> None:
        attempt.phase, attempt.reason, attempt.detail, attempt.paused_at = "ended", reason, detail, None

    def _settle(self, task: ModelTask, status: str, result: Any) -> None:
        self._withdraw(task)
        task.status, task.result, task.retry_at = status, result, None

    def _withdraw(self, task: ModelTask) -> None:
        for question in task.open():
            question.status, question.due_at = "withdrawn", None

    # Questions

    def may_ask(self, task: ModelTask) -> str | None:
        """The table of states."""
        return None if task.status in ("pending", "running", "suspended") else "InvalidTransition"

    def ask(self, question: ModelQuestion, now: int, *, by: ModelAttempt | None = None) -> None:
        """Suspend the task; its attempt's clocks are stopped. For the worker who asks it is a heartbeat."""
        if by is not None:
            by.renew(now)
        task = question.task
        task.questions.append(question)
        task.status, task.retry_at = "suspended", None
        if task.last is not None and task.last.phase in ("running", "queued") and task.last.paused_at is None:
            task.last.pause(now)

    def answer(self, question: ModelQuestion, value: Any, now: int) -> str | None:
        """The first answer wins."""
        if question.status == "answered":
            return None if question.answer == value else "AlreadyAnswered"
        if question.status != "open":
            return "QuestionClosed"
        question.status, question.answer, question.due_at = "answered", value, None
        task = question.task
        if not task.open():
            task.status = "running"
            self._go_on(task, now)
        return None

    def _go_on(self, task: ModelTask, now: int) -> None:
        attempt = task.last
        if attempt is None:
            return
        if attempt.phase == "held":
            self._release(attempt, now)
        elif attempt.live:
            stood = now - (attempt.paused_at if attempt.paused_at is not None else now)
            attempt.paused_at = None
            for clock in ("lease_at", "timeout_at", "handle_at"):
                at = getattr(attempt, clock)
                setattr(attempt, clock, at + stood if at is not None else None)
        elif attempt.reason == "final":
            self._block_or_retry(attempt, task.result, now)
        else:
            self._block_or_retry(attempt, {"reason": attempt.reason, "detail": attempt.detail}, now)

    def _release(self, attempt: ModelAttempt, now: int) -> None:
        assert attempt.final is not None
        original = attempt.final[0]
        [asked] = [question for question in attempt.task.questions if question.escalation][-1:]
        if asked.answer == {"uphold": True}:
            self._conclude(attempt, original, False, now)
        else:
            self._conclude(attempt, {"original": original, "senior_answer": asked.answer}, True, now)

    # Judging

    def cancel(self, task: ModelTask) -> str | None:
        """The task and everything under it."""
        if task.status == "pass":
            return "InvalidTransition"
        if task.status != "cancelled":
            self._cancel(task)
        return None

    def _cancel(self, task: ModelTask) -> None:
        if task.status not in ("pass", "cancelled"):
            if task.last is not None and task.last.live:
                self._end(task.last, "cancelled", None)
            self._settle(task, "cancelled", task.result)
        for child in self.children(task):
            self._cancel(child)

    def judge(self, task: ModelTask, *, ok: bool, by_senior: bool, value: Any = None, given: bool = True) -> str | None:
        """A verdict of an operator or a senior."""
        never = ("pending", "cancelled") if by_senior else ("pass", "cancelled")
        if task.status in never:
            return "InvalidTransition"
        if task.last is not None and task.last.live:
            self._end(task.last, "verdict", None)
        self._settle(task, "pass" if ok else "blocked", value if given else task.result)
        return None

    def adopt(self, attempt: ModelAttempt, index: int, *, by_senior: bool) -> str | None:
        """A late result becomes the result."""
        if index >= len(attempt.late):
            return "LateResultNotFound"
        value, ok = attempt.late[index]
        return self.judge(attempt.task, ok=ok, by_senior=by_senior, value=value)

    def post(self, task: ModelTask, value: Any) -> str | None:
        """An interim result."""
        if task.status in ("pass", "cancelled"):
            return "InvalidTransition"
        task.result = value
        return None

    def inject(self, task: ModelTask, prompt: str) -> str | None:
        """The prompt of the next attempt only."""
        if task.status in ("pass", "cancelled"):
            return "InvalidTransition"
        task.next_prompt = prompt
        return None

    # Time

    def restart(self, now: int) -> None:
        """Give every leased worker a whole lease, since no heartbeat could arrive while no server ran."""
        for task in self.tasks:
            attempt = task.last
            if attempt is not None and attempt.due_at() is not None and attempt.lease_ms is not None:
                attempt.lease_at = max(attempt.lease_at or 0, now + attempt.lease_ms)
                attempt.handle_at = max(attempt.handle_at or 0, now + attempt.lease_ms)

    def carry_out_due(self, now: int) -> None:
        """Attempts, then deadlines, then retries, as they were due when it began."""
        attempts = [task.last for task in self.tasks if task.last and (task.last.due_at() or now + 1) <= now]
        questions = [q for task in self.tasks for q in task.questions if q.due_at is not None and q.due_at <= now]
        retries = [task for task in self.tasks if task.retry_at is not None and task.retry_at <= now]
        for attempt in attempts:
            self._expire(attempt, now)
        for question in sorted(questions, key=lambda q: q.due_at or 0):
            self._deadline(question, now)
        for task in retries:
            self._retry(task, now)

    def _expire(self, attempt: ModelAttempt, now: int) -> None:
        if attempt.timeout_at is not None and attempt.timeout_at <= now:
            reason, detail = "timeout", "the attempt timeout passed"
        elif attempt.lease_at is not None and attempt.lease_at <= now:
            reason, detail = "lost", "its worker sent no heartbeat within its lease"
        else:
            reason, detail = "lost", "its handle expired unused"
        self._end(attempt, reason, detail)
        self._block_or_retry(attempt, {"reason": reason, "detail": detail}, now)

    def _deadline(self, question: ModelQuestion, now: int) -> None:
        if question.status != "open" or question.due_at is None or question.due_at > now:
            return
        task = question.task
        if question.on_deadline == "default":
            self.answer(question, question.default, now)
        elif question.on_deadline == "escalate":
            question.bridge, question.due_at = "chief", None
        else:
            question.status, question.due_at = "expired", None
            if task.last is not None and task.last.live:
                self._end(task.last, "deadline", None)
            detail = f"question {question.key} was not answered in time"
            self._settle(task, "blocked", {"reason": "deadline", "detail": detail})

    def _retry(self, task: ModelTask, now: int) -> None:
        if task.retry_at is None or task.retry_at > now or task.last is None:
            return
        if task.last.root in self.revoked:
            self._settle(task, "blocked", REVOKED)
        elif not self.paused:
            old = task.last
            self.dispatch(
                task,
                now,
                kind=old.kind,
                root=old.root,
                lease_ms=old.lease_ms,
                escalates=old.escalates,
                priority=old.priority,
            )
