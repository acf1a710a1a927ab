"""Phase one of a dispatch: an attempt is prepared, with its place, its clocks and its credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.domain.access import Caller
from app.domain.attempts import Attempt, Dispatched, Phase
from app.domain.errors import InvalidTransition
from app.domain.events import EventKind
from app.domain.handles import HandleMint
from app.domain.json import Json
from app.domain.tasks import Step, Task, step
from app.engine.ops import clocks, loop, resources, turns
from app.engine.ops.access import hold_record, lock_task, require_nothing_cancelled_above, session_of
from app.engine.ops.attempts import facts_of, new_handle
from app.engine.ops.endings import change
from app.engine.ops.rules import EngineCfg
from app.spawning.ports import Draft, SpawnerAdapter
from app.spawning.stack import Acting, LinkedSpawner
from app.state.state import State
from app.state.tables import ATTEMPTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a dispatcher asks for. `linked` is the spawner with its layers; `owner` the server process.

    `repeatable` tells whether a server process can build the same spawner again by itself.
    """

    linked: LinkedSpawner
    lease_ms: int | None
    owner: str
    repeatable: bool = True


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
    draft = acting.prepare(Draft(facts=facts, prompt=given), lambda name: resources.find(state, name))
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


def handed_out(state: State, mint: HandleMint, attempt: Attempt) -> Dispatched:
    """What the dispatcher is told. Where it has to hand a handle on, each call makes one: an earlier may be lost."""
    handle = new_handle(state, mint, attempt.task_id, attempt.attempt) if attempt.kind == "external" else None
    expires = attempt.handle_expires_at if handle else None
    return Dispatched(task_id=attempt.task_id, attempt=attempt.attempt, handle=handle, expires_at=expires)
