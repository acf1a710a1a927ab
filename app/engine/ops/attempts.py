"""Preparing an attempt, starting it, and what a worker may read of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.access import Caller
from app.domain.attempts import Attempt, Dispatched, Outcome, Phase, Reason, WorkerPayload
from app.domain.errors import AttemptNotFound, AttemptSuperseded, Cancelled, InvalidTransition, TaskNotFound
from app.domain.events import EventKind
from app.domain.handles import HandleMint
from app.domain.json import Json
from app.domain.questions import QuestionStatus
from app.domain.sessions import OperatorKind
from app.domain.tasks import Status, Step, Task, step
from app.engine.ops import clocks, loop, turns
from app.engine.ops.access import (
    ended_because,
    hold_record,
    lock_task,
    require_nothing_cancelled_above,
    session_of,
)
from app.engine.ops.endings import change, end_while_suspended, fail, failure, settle
from app.engine.ops.rules import EngineCfg
from app.spawning.ports import Draft, Facts, SpawnerAdapter
from app.spawning.stack import Acting, LinkedSpawner
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, QUESTIONS, SESSIONS, TASKS

_Q, _R = schema.questions.c, schema.resources.c
_ANSWERED = QUESTIONS.search(
    _Q.task_id == sa.bindparam("task_id"), _Q.status == QuestionStatus.ANSWERED.value, order=(_Q.key,)
)
_RESOURCE = Statement(sa.select(_R.value).where(_R.key == sa.bindparam("name")))
_INSERT_HANDLE = Statement(sa.insert(schema.handles))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a dispatcher asks for. `linked` is the spawner with its layers; `owner` the server process.

    `repeatable` tells whether a server process can build the same spawner again by itself.
    """

    linked: LinkedSpawner
    lease_ms: int | None
    owner: str
    repeatable: bool = True


def facts_of(state: State, task: Task, number: int, kind: str, hints: tuple[str, ...], session_id: str | None) -> Facts:
    """What every step of an attempt knows, with the session's part of it."""
    session = SESSIONS.get(state.db, session_id) if session_id else None
    operator_kind: OperatorKind | None = session.kind_for(task.agent) if session else None
    return Facts(
        task_id=task.id,
        attempt=number,
        agent=task.agent,
        spawner=kind,
        layers=hints,
        session_id=session_id,
        kind=operator_kind,
        hook_id=session.hook_id if session else None,
        bridge_id=session.bridge_id if session else None,
        operator_backend_id=session.operator_backend_id if session else None,
    )


def facts_for(state: State, task: Task, attempt: Attempt) -> Facts:
    """The facts of an attempt that was prepared before."""
    router = str(attempt.spawner.value.get("kind", attempt.kind))
    return facts_of(state, task, attempt.attempt, router, tuple(attempt.layers.value), attempt.session_id)


def prepare(
    state: State, cfg: EngineCfg, mint: HandleMint, caller: Caller, task_id: str, order: Order
) -> tuple[Dispatched, Attempt]:
    """Phase one of a dispatch: a new live attempt.

    Raises InvalidTransition, Cancelled (a task above), LoopPaused, TokenRevoked (what it would hang below). Whatever is
    refused changes nothing.
    """
    task = lock_task(state, task_id)
    above = _above(state, caller) or task.creator_jti
    hold_record(state, above)
    after = step(task.id, task.status, Step.DISPATCH)
    if task.live:
        raise InvalidTransition(task.id, task.status.value, Step.DISPATCH.value, f"attempt {task.attempt} is live")
    require_nothing_cancelled_above(state, task)
    loop.require_running(state)
    session_id = session_of(state, caller) or task.session_id
    number = task.attempt + 1
    facts = facts_of(state, task, number, order.linked.router.kind, order.linked.hints, session_id)
    acting = order.linked.acting(facts)
    given = (task.next_prompt or task.directive).value
    draft = acting.prepare(Draft(facts=facts, prompt=given), lambda name: _resource(state, name))
    prompt = task.next_prompt if draft.prompt is given else Json.of(draft.prompt)
    attempt = _new_attempt(state, cfg, above, task, order, acting, draft, prompt)
    ATTEMPTS.insert(state.db, attempt)
    change(state, task, status=after, attempt=number, live=True, next_prompt=None, retry_at=None, settled_at=None)
    state.emit(
        EventKind.TASK_ATTEMPT_STARTED,
        task_id=task.id,
        session_id=session_id,
        attempt=number,
        agent=task.agent,
        **{"spawner": attempt.kind, **dict(draft.notes)},
    )
    if attempt.due_at is not None:
        state.due(attempt.due_at)
    if attempt.queue is not None:
        state.wake(f"queue:{attempt.queue}")
    return handed_out(state, mint, attempt), attempt


def _new_attempt(
    state: State,
    cfg: EngineCfg,
    above: str | None,
    task: Task,
    order: Order,
    acting: Acting,
    draft: Draft,
    prompt: Json | None,
) -> Attempt:
    adapter, steps = acting.adapter, acting.drives
    phase = Phase.WAITING if acting.gates else Phase.SPAWNING if steps else adapter.first_phase
    return Attempt(
        task_id=task.id,
        attempt=task.attempt + 1,
        agent=task.agent,
        phase=phase,
        prompt=prompt,
        system=Json.of(draft.system) if draft.system is not None else None,
        kind=adapter.kind,
        spawner=Json.of(order.linked.router.spec),
        layers=Json.of(list(order.linked.hints)),
        steps=steps,
        repeatable=order.repeatable and adapter.kind != "external",
        session_id=draft.facts.session_id,
        jti=state.ids.new("W"),
        parent_jti=above,
        worker_id=None,
        process=None,
        **_first_clocks(state, cfg, task, order, adapter, phase),
        paused_at=None,
        **_place_in_queue(state, adapter, task.agent),
        owner=order.owner,
        epoch=1,
        last_seen_at=None,
        final=None,
        final_ok=None,
        outcome=None,
        reason=None,
        detail=None,
        held_by=None,
        warned_at=None,
        outputs=0,
        late=0,
        started_at=state.now,
        ended_at=None,
    )


def _place_in_queue(state: State, adapter: SpawnerAdapter, agent: str) -> dict[str, Any]:
    """Where a new attempt stands in its queue, if its spawner has one."""
    spec = adapter.spec
    queue = str(spec["queue"]) if adapter.first_phase is Phase.QUEUED else None
    priority = int(spec.get("priority") or 0)
    turn = turns.next_turn(state, queue, priority, agent) if queue is not None else 0
    return {"queue": queue, "priority": priority, "turn": turn}


def _first_clocks(
    state: State, cfg: EngineCfg, task: Task, order: Order, adapter: SpawnerAdapter, phase: Phase
) -> dict[str, Any]:
    """The clocks of a new attempt: its lease, timeout and handle, and the first of them that counts."""
    lease_ms = order.lease_ms if order.lease_ms is not None else cfg.lease_ms if adapter.leased else None
    timed = task.attempt_timeout_ms is not None and adapter.first_phase is not Phase.QUEUED
    timeout_at = state.now + (task.attempt_timeout_ms or 0) if timed else None
    # A worker elsewhere can be silent only once it was started; one of this process is watched from the start.
    leased = phase is Phase.RUNNING or (phase is Phase.SPAWNING and not adapter.outlives_server)
    lease_at = state.now + lease_ms if lease_ms is not None and leased else None
    handle_at = state.now + clocks.life_ms(cfg, lease_ms)
    # While nobody holds the attempt, nothing of it can run out but its timeout.
    due_at = clocks.next_due(lease_at, timeout_at, handle_at) if phase in clocks.TICKING else timeout_at
    return {
        "lease_ms": lease_ms,
        "lease_expires_at": lease_at,
        "timeout_at": timeout_at,
        "handle_expires_at": handle_at,
        "due_at": due_at,
    }


def _above(state: State, caller: Caller) -> str | None:
    """The record of a token that the new attempt hangs below: a worker's attempt hangs where its own does."""
    if caller.attempt is None or caller.task_id is None:
        return caller.jti
    dispatcher = ATTEMPTS.get(state.db, caller.task_id, caller.attempt)
    return dispatcher.parent_jti if dispatcher is not None else caller.jti


def _resource(state: State, name: str) -> Json | None:
    rows = _RESOURCE.query(state.db, name=name)
    return Json(rows[0][0]) if rows else None


def handed_out(state: State, mint: HandleMint, attempt: Attempt) -> Dispatched:
    """What the dispatcher is told. Where it has to hand a handle on, each call makes one: an earlier may be lost."""
    handle = new_handle(state, mint, attempt.task_id, attempt.attempt) if attempt.kind == "external" else None
    expires = attempt.handle_expires_at if handle else None
    return Dispatched(task_id=attempt.task_id, attempt=attempt.attempt, handle=handle, expires_at=expires)


def new_handle(state: State, mint: HandleMint, task_id: str, number: int) -> str:
    """A fresh handle for the attempt, of which only the digest stays. Earlier ones stay good."""
    handle = mint.new()
    _INSERT_HANDLE.change(state.db, digest=mint.keyed(handle), task_id=task_id, attempt=number, created_at=state.now)
    return handle


def require_own_attempt(state: State, task_id: str, number: int, *, epoch: int | None = None) -> tuple[Task, Attempt]:
    """The live attempt that a driver of this epoch walks. Raises AttemptSuperseded or Cancelled when fenced off."""
    task = lock_task(state, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None:
        raise AttemptNotFound(task_id, number)
    if not attempt.is_live:
        if attempt.reason is Reason.CANCELLED:
            raise Cancelled(task_id)
        raise AttemptSuperseded(task_id, number, ended_because(attempt))
    if epoch is not None and attempt.epoch != epoch:
        raise AttemptSuperseded(task_id, number, "another server process took it over")
    return task, attempt


def let_through(state: State, cfg: EngineCfg, attempt: Attempt) -> None:
    """Whoever had to agree has: a worker may act once it is called. Its handle lives from now, its lease later."""
    if attempt.phase is Phase.WAITING:
        changes = _running_clocks(state, cfg, attempt, leased=False)
        ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, phase=Phase.SPAWNING, **changes)
        state.wake(f"attempt:{attempt.task_id}")


def started(state: State, cfg: EngineCfg, task_id: str, number: int, *, epoch: int, into: Phase) -> None:
    """Phase two done: a worker has the attempt (or its queue has it); its clocks run from now."""
    _, attempt = require_own_attempt(state, task_id, number, epoch=epoch)
    if attempt.phase not in (Phase.WAITING, Phase.SPAWNING):
        return
    changes: dict[str, Any] = {"phase": into}
    if into is Phase.QUEUED:
        changes["due_at"] = None
    else:
        changes |= _running_clocks(state, cfg, attempt)
    ATTEMPTS.update(state.db, task_id, number, **changes)
    if into is Phase.QUEUED and attempt.queue is not None:
        state.wake(f"queue:{attempt.queue}")
    state.wake(f"attempt:{task_id}")


def _running_clocks(state: State, cfg: EngineCfg, attempt: Attempt, *, leased: bool = True) -> dict[str, Any]:
    """Lease and handle from now; those of a task that waits for a senior stand still from now."""
    lease = state.now + attempt.lease_ms if leased and attempt.lease_ms is not None else None
    handle = state.now + clocks.life_ms(cfg, attempt.lease_ms)
    changes = {"lease_expires_at": lease, "handle_expires_at": handle}
    if attempt.paused_at is None:
        due = clocks.next_due(lease, attempt.timeout_at, handle)
        state.due(due)
        return changes | {"due_at": due}
    stood = state.now - attempt.paused_at
    timeout = attempt.timeout_at + stood if attempt.timeout_at is not None else None
    return changes | {"timeout_at": timeout, "paused_at": state.now}


def heard(state: State, cfg: EngineCfg, task_id: str, number: int) -> None:
    """A sign of life of a worker. Nothing when its attempt is over by now."""
    lock_task(state, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is not None:
        clocks.renew(state, cfg, attempt)


def failed(state: State, task_id: str, number: int, *, epoch: int, reason: Reason, detail: str) -> None:
    """A spawn that was refused or went wrong, or a worker that ended without a Final: blocked, or retried.

    Nothing when a Final is being held for a senior: it came before.
    """
    task, attempt = require_own_attempt(state, task_id, number, epoch=epoch)
    if attempt.phase is Phase.HELD:
        return
    if reason is not Reason.WORKER_FAILED and task.status is Status.SUSPENDED:
        end_while_suspended(state, task, attempt, reason=reason, detail=detail, worker_gone=True)
        return
    what = Step.WORKER_FAILED if reason is Reason.WORKER_FAILED else Step.SPAWN_FAILED
    fail(
        state,
        task,
        attempt,
        what=what,
        outcome=Outcome.BLOCKED,
        reason=reason,
        detail=detail,
        worker_gone=True,
    )


def give_up_retry(state: State, task_id: str, reason: Reason, detail: str) -> None:
    """Block a task whose planned attempt cannot be. Nothing when none is planned any more."""
    task = lock_task(state, task_id)
    if task.retry_at is not None and task.status is Status.RUNNING:
        after = step(task.id, task.status, Step.SPAWN_FAILED)
        settle(state, task, after, result=failure(reason, detail), reason=reason.value)


def payload(state: State, task: Task, attempt: Attempt) -> WorkerPayload:
    """What the worker of this attempt needs to begin, with the answers so far, in the order of the questions."""
    answers: list[dict[str, object]] = []
    if task.asked:
        answers = [
            {
                "key": question.key,
                "question": question.question.value,
                "answer": question.answer.value if question.answer else None,
                "answered_by": question.answered_by,
                "answered_at": question.answered_at,
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
    )


def bake_system(state: State, task_id: str, number: int, system: str | None) -> None:
    """Set the attempt's system prompt. Raises TaskNotFound, AttemptNotFound."""
    lock_task(state, task_id)
    value = Json.of(system) if system is not None else None
    if not ATTEMPTS.update(state.db, task_id, number, system=value):
        raise AttemptNotFound(task_id, number)


def require_attempt(state: State, task_id: str, number: int) -> tuple[Task, Attempt]:
    """The rows, unlocked. Raises TaskNotFound, AttemptNotFound."""
    task = TASKS.get(state.db, task_id)
    if task is None:
        raise TaskNotFound(task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None:
        raise AttemptNotFound(task_id, number)
    return task, attempt
