"""Prepared attempts: their facts, their start, and what their workers read."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain.access import ENGINE, Caller
from app.domain.attempts import Attempt, Phase, Reason, WorkerPayload
from app.domain.clock import Instant
from app.domain.errors import AttemptNotFound, AttemptSuperseded, Cancelled, TaskNotFound
from app.domain.handles import HandleMint, key_of
from app.domain.json import Json
from app.domain.outputs import Final
from app.domain.questions import QuestionStatus
from app.domain.sessions import OperatorKind, kind_for
from app.domain.spans import context_of_attempt
from app.domain.tasks import Task
from app.engine.ops import leases, loop
from app.engine.ops.access import ended_because
from app.engine.ops.queries import lock_task, queue_topic, reaches, require_task
from app.engine.ops.rules import EngineCfg
from app.spawning.ports import Facts, Job
from app.state import schema
from app.state.rows import maker
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, QUESTIONS

_Q, _A, _T = schema.questions.c, schema.attempts.c, schema.tasks.c
_ANSWERED = QUESTIONS.search(
    _Q.task_id == sa.bindparam("task_id"), _Q.status == QuestionStatus.ANSWERED.value, order=(_Q.key,)
)
_S = schema.sessions.c
_HOW = (
    *(_S.kind, _S.operator_kind_overrides, _S.bp_agent_kinds, _S.bp_global_kind),
    *(_S.hook_id, _S.bridge_id, _S.operator_backend_id),
)
_HOW_AGENTS_RUN = Statement(sa.select(*_HOW).where(_S.id == sa.bindparam("of_session")))
_NO_SESSION = (None,) * len(_HOW)
_KIND_COLUMNS = 4
_NO_KIND = ((None,) * _KIND_COLUMNS, (None, "{}", "{}", None))
"""Without a session, and in one that sets no kind."""
_HOW_AND_SWITCHES = Statement(sa.select(*loop.MARKERS, *_HOW).where(_S.id == sa.bindparam("of_session")))
"""Not a join, which takes SQLite five times as long."""
_facts = maker(Facts)
_INSERT_HANDLE = Statement(sa.insert(schema.handles))


def require_how_agents_run(state: State, namespace: int, session_id: str | None) -> tuple[Any, ...]:
    """Return how the agents of a session are run, for `facts_of`. Raises LoopPaused while dispatching is paused."""
    rows = _HOW_AND_SWITCHES.query(state.db, **loop.marker_names(namespace), of_session=session_id)
    if not rows:
        loop.require_running(state, namespace)
        return _NO_SESSION
    switches = len(loop.MARKERS)
    loop.require_unmarked(*rows[0][:switches])
    return rows[0][switches:]


def facts_of(
    task: Task,
    number: int,
    spawner: str,
    hints: tuple[str, ...],
    session_id: str | None,
    how: tuple[Any, ...],
    *,
    gates: tuple[str, ...] = (),
) -> Facts:
    """Return the facts that every step of the attempt can use. `how` the agents of its session are run is a row."""
    kind, overrides, agents, of_all, hook_id, bridge_id, backend_id = how
    operator_kind = None
    if how[:_KIND_COLUMNS] not in _NO_KIND:
        operator_kind = kind_for(task.agent, _kind(kind), Json(overrides), Json(agents), _kind(of_all))
    return _facts(
        task_id=task.id,
        attempt=number,
        agent=task.agent,
        spawner=spawner,
        layers=hints,
        session_id=session_id,
        kind=operator_kind,
        hook_id=hook_id,
        bridge_id=bridge_id,
        operator_backend_id=backend_id,
        gates=gates,
        namespace=task.namespace,
    )


def _kind(text: str | None) -> OperatorKind | None:
    return None if text is None else OperatorKind(text)


def facts_for(state: State, task: Task, attempt: Attempt) -> Facts:
    """Return the facts of an attempt that was prepared before."""
    router = str(attempt.spawner.value.get("kind", attempt.kind))
    hints, gates = tuple(attempt.layers.value), attempt.rights.gates
    rows = _HOW_AGENTS_RUN.query(state.db, of_session=attempt.session_id) if attempt.session_id else None
    how = rows[0] if rows else _NO_SESSION
    return facts_of(task, attempt.attempt, router, hints, attempt.session_id, how, gates=gates)


def load(state: State, cfg: EngineCfg, task_id: str, number: int) -> tuple[Attempt, Job]:
    """Return an attempt that was prepared before, and its job. Raises TaskNotFound, AttemptNotFound."""
    task, attempt = require_attempt(state, task_id, number, ENGINE)
    return attempt, Job(
        facts=facts_for(state, task, attempt),
        spec=attempt.spawner,
        prompt=(attempt.prompt or task.directive).value,
        system=attempt.system.value if attempt.system else None,
        base_url=cfg.base_url,
        started_at=attempt.started_at,
        timeout_at=attempt.timeout_at,
        process=attempt.process,
        trace=trace_of(cfg, task, number),
    )


def trace_of(cfg: EngineCfg, task: Task, number: int) -> str | None:
    """Return the context that an attempt's worker is handed: its attempt's where spans are written, else its task's."""
    return context_of_attempt(task, number) if cfg.writes_spans else task.trace


def new_handle(state: State, mint: HandleMint, task_id: str, number: int) -> str:
    """Return a fresh handle for the attempt; only its digest is stored. Earlier handles stay valid."""
    handle = mint.new(state.now)
    key = key_of(mint.timed_digest(handle))
    _INSERT_HANDLE.change(state.db, digest=key, task_id=task_id, attempt=number, created_at=state.now)
    return handle


TAKEN_OVER = "another server process took it over"
"""Why a driver's write is refused whose epoch has passed."""


def require_own_attempt(state: State, task_id: str, number: int, *, epoch: int | None = None) -> tuple[Task, Attempt]:
    """Return the live attempt, locked, that a driver of this epoch runs.

    Raises AttemptNotFound, and AttemptSuperseded or Cancelled when the attempt is over or another driver has it.
    """
    task = lock_task(state, task_id, ENGINE)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None:
        raise AttemptNotFound(task_id, number)
    if not attempt.is_live:
        if attempt.reason is Reason.CANCELLED:
            raise Cancelled(task_id)
        raise AttemptSuperseded(task_id, number, ended_because(attempt))
    if epoch is not None and attempt.epoch != epoch:
        raise AttemptSuperseded(task_id, number, TAKEN_OVER)
    return task, attempt


def let_through(state: State, cfg: EngineCfg, attempt: Attempt) -> None:
    """Let the worker act once it is called: every layer has agreed. Its handle lives from now, its lease later."""
    if attempt.phase is Phase.WAITING:
        changes = leases.at_start(state, cfg, attempt, leased=False)
        ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, phase=Phase.SPAWNING, **changes)
        state.wake(f"attempt:{attempt.task_id}")


def started(state: State, cfg: EngineCfg, attempt: Attempt, *, into: Phase) -> None:
    """Record that the attempt's worker was started, or that the attempt is queued; its clocks run from now."""
    if attempt.phase not in (Phase.WAITING, Phase.SPAWNING):
        return
    changes: dict[str, Any] = {"phase": into}
    if into is Phase.QUEUED:
        changes["due_at"] = attempt.credential_ends_at
    else:
        changes |= leases.at_start(state, cfg, attempt)
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **changes)
    if into is Phase.QUEUED and attempt.queue is not None:
        state.wake(queue_topic(attempt.namespace, attempt.queue))
    state.wake(f"attempt:{attempt.task_id}")


def payload(state: State, cfg: EngineCfg, task: Task, attempt: Attempt) -> WorkerPayload:
    """Return what the worker of this attempt needs, with the answers so far in the order of the questions."""
    answers: list[dict[str, object]] = []
    if task.asked:
        answers = [
            {
                "key": question.key,
                "question": question.question.written,
                "answer": question.answer.written if question.answer else None,
                "answered_by": question.answered_by,
                "answered_through": question.answered_through.value if question.answered_through else None,
                "answered_at": question.answered_at,
                **({} if question.answer_comment is None else {"comment": question.answer_comment}),
            }
            for question in _ANSWERED.all(state.db, task_id=task.id)
        ]
    return WorkerPayload(
        task_id=task.id,
        attempt=attempt.attempt,
        agent=task.agent,
        prompt=(attempt.prompt or task.directive).value,
        system=attempt.system.value if attempt.system else None,
        answers=answers,
        trace=trace_of(cfg, task, attempt.attempt),
    )


def bake_system(state: State, task_id: str, number: int, system: str | None) -> None:
    """Set the attempt's system prompt. Raises TaskNotFound, AttemptNotFound."""
    lock_task(state, task_id, ENGINE)
    value = Json.of(system) if system is not None else None
    if not ATTEMPTS.update(state.db, task_id, number, system=value):
        raise AttemptNotFound(task_id, number)


class FinalGlance(NamedTuple):
    """A look at an attempt's Final that does not read it.

    `seq` is its number if it is stored with the attempt alone, `bytes` the length of its output's body, `at` the end of
    the attempt.
    """

    ok: bool
    seq: int | None
    bytes: int
    at: Instant | None


_FINAL = Statement(
    sa.select(_A.namespace, _A.final_ok, _A.final_seq, sa.func.octet_length(_A.final), _A.ended_at).where(
        _A.task_id == sa.bindparam("of_task"), _A.attempt == sa.bindparam("of_attempt")
    )
)
_NAMESPACE = Statement(sa.select(_T.namespace).where(_T.id == sa.bindparam("of_task")))


def require_task_id(state: State, task_id: str, caller: Caller) -> None:
    """Raise TaskNotFound unless the task exists for the caller; its row is not read."""
    found = _NAMESPACE.query(state.db, of_task=task_id)
    if not found or not reaches(caller, found[0][0]):
        raise TaskNotFound(task_id)


def glance_at_final(state: State, task_id: str, number: int, caller: Caller) -> FinalGlance | None:
    """Return how the attempt's Final looks, None without one. Raises TaskNotFound, AttemptNotFound."""
    found = _FINAL.query(state.db, of_task=task_id, of_attempt=number)
    if not found or not reaches(caller, found[0][0]):
        require_task_id(state, task_id, caller)
        raise AttemptNotFound(task_id, number)
    _, ok, seq, size, at = found[0]
    if size is None:
        return None
    envelope = len(Final(value=Json(""), ok=bool(ok)).body.text)
    return FinalGlance(bool(ok), seq, envelope + size, at)


def require_attempt(state: State, task_id: str, number: int, caller: Caller) -> tuple[Task, Attempt]:
    """Return task and attempt, unlocked. Raises TaskNotFound, AttemptNotFound."""
    task = require_task(state, task_id, caller)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None:
        raise AttemptNotFound(task_id, number)
    return task, attempt
