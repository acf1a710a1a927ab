"""Prepare an attempt, the first phase of a dispatch: its place in a queue, its deadlines and its credentials."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from app.domain.access import ENGINE, Caller, write_scope
from app.domain.attempts import Attempt, Dispatched, DispatchOutcome, Outcome, Phase
from app.domain.clock import Instant
from app.domain.delegation import Asked, Rights, require_alive, rights_of_child
from app.domain.errors import InvalidTransition, TaskNotFound, TokenRevoked
from app.domain.events import EventKind
from app.domain.handles import HandleMint
from app.domain.json import NO_ITEMS, Json
from app.domain.tasks import SETTLED, Status, Step, Task, step
from app.engine.ops import leases, resources, turns
from app.engine.ops.access import lock_record, require_no_cancelled_ancestor, session_of
from app.engine.ops.attempts import facts_for, facts_of, new_handle, require_how_agents_run, trace_of
from app.engine.ops.credentials import is_revoked
from app.engine.ops.queries import lock_task, queue_topic, require_task
from app.engine.ops.rules import EngineCfg
from app.engine.ops.tasks import check_directive, view, write
from app.spawning.ports import Draft, Job, SpawnerAdapter
from app.spawning.stack import ActiveStack, SpawnerStack
from app.state.rows import fresh, maker
from app.state.state import State
from app.state.tables import ATTEMPTS, TASKS

_make_job = maker(Job)
_create = fresh(
    Attempt,
    (
        *("task_id", "attempt", "agent", "phase", "prompt", "system", "kind", "spawner", "layers", "steps"),
        *("repeatable", "session_id", "jti", "parent_jti"),
        *leases.Deadlines._fields,
        *("queue", "priority", "turn", "owner", "started_at", "detached", "hands_out_handle", "namespace"),
        *("key_id", "scope", "credential_ends_at", "gates", "further_keys"),
    ),
    epoch=1,
    outputs=0,
    late=0,
)
"""Creates a new attempt."""


class DispatchRequest(NamedTuple):
    """The request for an attempt. `owner` is the server process that drives the attempt.

    `layers` are the keys as they were asked for, `again` is the attempt that a retry repeats, with its rights.
    `repeatable`: a server process can build the same stack again by itself.
    """

    stack: SpawnerStack
    lease_ms: int | None
    owner: str
    layers: Sequence[str] = ()
    repeatable: bool = True
    again: Attempt | None = None


class _Descent(NamedTuple):
    """The origin and the rights of a new attempt's credential."""

    parent_jti: str | None
    dispatcher: Caller
    rights: Rights


class Prepared(NamedTuple):
    """A new live attempt, with its job, if a server process has to drive it, and its resolved stack."""

    attempt: Attempt
    job: Job | None
    stack: ActiveStack


def prepare(state: State, cfg: EngineCfg, caller: Caller, task_id: str, request: DispatchRequest) -> Prepared:
    """Prepare a new live attempt: the first phase of a dispatch.

    Raises InvalidTransition, Cancelled (an ancestor), LoopPaused, TokenRevoked and TokenExpired (the attempt's parent
    token), PayloadTooLarge (the prompt that its layers made), and DispatchFailed for a worker that asks for more than
    is open to workers. A refused dispatch changes nothing.
    """
    task = lock_task(state, task_id, caller)
    above = request.again or _own_attempt(state, caller)
    parent_jti = _parent_jti(caller, above) or task.creator_jti
    lock_record(state, parent_jti)
    after = step(task.id, task.status, Step.DISPATCH)
    if task.live:
        raise InvalidTransition(task.id, task.status.value, Step.DISPATCH.value, f"attempt {task.attempt} is live")
    require_no_cancelled_ancestor(state, task)
    number, stack = task.attempt + 1, request.stack
    session_id = session_of(state, caller) or task.session_id
    how = require_how_agents_run(state, task.namespace, session_id)
    gates = () if above is None else _gates_of(state, above, stack)
    active = stack.resolve(facts_of(task, number, stack.router.kind, stack.hints, session_id, how, gates=gates))
    rights = _rights(cfg, caller, request, active)
    require_alive(rights, state.now)
    directive = (task.next_prompt or task.directive).value
    read = partial(resources.find, state, task.namespace)
    may_look = task.expands and task.next_prompt is None
    draft = active.prepare(Draft(facts=active.facts, prompt=directive, may_look=may_look), read)
    prompt = task.next_prompt if draft.prompt is directive else _changed_prompt(cfg, draft)
    descent = _Descent(parent_jti, caller, rights)
    attempt = _new_attempt(state, cfg, task, request, active, draft, prompt=prompt, descent=descent)
    ATTEMPTS.insert(state.db, attempt)
    write(state, task, status=after, attempt=number, live=True, next_prompt=None, retry_at=None, settled_at=None)
    state.emit(
        EventKind.TASK_ATTEMPT_STARTED,
        namespace=task.namespace,
        task_id=task.id,
        session_id=session_id,
        attempt=number,
        agent=task.agent,
        **{"spawner": attempt.kind, **dict(draft.notes)},
    )
    if attempt.queue is not None:
        state.wake(queue_topic(attempt.namespace, attempt.queue))
    return Prepared(attempt, _job(cfg, task, attempt, draft) if attempt.needs_driver else None, active)


def _changed_prompt(cfg: EngineCfg, draft: Draft) -> Json:
    """Return the prompt that layers made. Raises PayloadTooLarge."""
    check_directive(cfg.limits, draft.prompt, subject="The prompt with what its layers put in")
    return Json.of(draft.prompt)


def _new_attempt(
    state: State,
    cfg: EngineCfg,
    task: Task,
    request: DispatchRequest,
    active: ActiveStack,
    draft: Draft,
    *,
    prompt: Json | None,
    descent: _Descent,
) -> Attempt:
    spawner, steps, hands_out = active.spawner, active.drives, active.hands_out_handle
    phase = Phase.WAITING if active.gates else Phase.SPAWNING if steps else spawner.first_phase
    deadlines = _deadlines(state, cfg, task, spawner, phase, request.lease_ms, descent.rights.ends_at)
    # In the order of the fields of `_create`.
    return _create(
        task.id,
        active.facts.attempt,
        task.agent,
        phase,
        prompt,
        Json.of(draft.system) if draft.system is not None else None,
        spawner.kind,
        Json.of(request.stack.router.spec),
        Json.of(list(request.stack.hints)) if request.stack.hints else NO_ITEMS,
        steps,
        request.repeatable and not hands_out,
        active.facts.session_id,
        state.ids.new("W"),
        descent.parent_jti,
        *deadlines,
        *_place_in_queue(state, spawner, task),
        request.owner,
        state.now,
        active.detached,
        hands_out,
        task.namespace,
        descent.dispatcher.key_id,
        write_scope(descent.rights.scope),
        descent.rights.ends_at,
        Json.of(list(hooks)) if (hooks := active.hooks) else NO_ITEMS,
        _further_keys(descent.dispatcher),
    )


def _job(cfg: EngineCfg, task: Task, attempt: Attempt, draft: Draft) -> Job:
    return _make_job(
        facts=draft.facts,
        spec=attempt.spawner,
        prompt=attempt.prompt.value if attempt.prompt is not None else draft.prompt,
        system=attempt.system.value if attempt.system is not None else None,
        base_url=cfg.base_url,
        started_at=attempt.started_at,
        timeout_at=attempt.timeout_at,
        process=None,
        trace=trace_of(cfg, task, attempt.attempt),
    )


def _place_in_queue(state: State, spawner: SpawnerAdapter, task: Task) -> tuple[str | None, int, int]:
    """Return queue, priority and turn of a new attempt, if its spawner has a queue."""
    spec = spawner.spec
    queue = str(spec["queue"]) if spawner.first_phase is Phase.QUEUED else None
    priority = int(spec.get("priority") or 0)
    turn = turns.next_turn(state, task.namespace, queue, priority, task.agent) if queue is not None else 0
    return queue, priority, turn


def _further_keys(dispatcher: Caller) -> str | None:
    """Return the API keys of the dispatcher beside its own, as they are stored."""
    if dispatcher.claimed_key_id is None and not dispatcher.further_keys:
        return None
    return " ".join(sorted(dispatcher.keys - {dispatcher.key_id})) or None


def _deadlines(
    state: State,
    cfg: EngineCfg,
    task: Task,
    spawner: SpawnerAdapter,
    phase: Phase,
    lease_ms: int | None,
    ends_at: Instant | None,
) -> leases.Deadlines:
    """Return the deadlines of a new attempt. One that waits in a queue times out from its claim on."""
    if lease_ms is None and spawner.leased:
        lease_ms = cfg.lease_ms
    timed = task.attempt_timeout_ms is not None and spawner.first_phase is not Phase.QUEUED
    timeout_at = state.now + (task.attempt_timeout_ms or 0) if timed else None
    outlives = spawner.outlives_server
    return leases.at_dispatch(
        state, cfg, phase=phase, lease_ms=lease_ms, timeout_at=timeout_at, ends_at=ends_at, outlives=outlives
    )


def _own_attempt(state: State, caller: Caller) -> Attempt | None:
    """Return the attempt of a worker that dispatches; a token that was minted for a task means the latest one."""
    if caller.task_id is None:
        return None
    number = caller.attempt
    if number is None:
        task = TASKS.get(state.db, caller.task_id)
        number = task.attempt if task is not None else 0
    return ATTEMPTS.get(state.db, caller.task_id, number)


def _parent_jti(caller: Caller, own: Attempt | None) -> str | None:
    """Return the token that the new attempt descends from; a worker's dispatch descends from its own attempt's."""
    return own.parent_jti if caller.attempt is not None and own is not None else caller.jti


def _gates_of(state: State, attempt: Attempt, stack: SpawnerStack) -> tuple[str, ...]:
    """Return the spawn hooks that an attempt went through."""
    if attempt.gates is not None:
        return attempt.rights.gates
    # An attempt from before they were recorded went through those that its session still names.
    return stack.hooks(facts_for(state, require_task(state, attempt.task_id, ENGINE), attempt))


def _rights(cfg: EngineCfg, caller: Caller, request: DispatchRequest, active: ActiveStack) -> Rights:
    """Return the rights of the new attempt; a retry keeps those of the attempt that it repeats."""
    spec = active.spawner.spec
    asked = Asked(spawner=active.spawner.kind, function=spec.get("function"), layers=frozenset(request.layers))
    if request.again is None:
        return rights_of_child(caller, active.facts.gates, asked, cfg.workers)
    rights = request.again.rights
    if rights.scope is not None:
        cfg.workers.check(asked)  # a worker dispatched it, and settings or session may have changed since
    return rights


def dispatched(state: State, mint: HandleMint, attempt: Attempt) -> Dispatched:
    """Return the reply to a dispatch. Its handle, if it shows one, is new: an earlier reply may be lost."""
    handle = new_handle(state, mint, attempt.task_id, attempt.attempt) if attempt.hands_out_handle else None
    expires = attempt.handle_expires_at if handle else None
    return Dispatched(task_id=attempt.task_id, attempt=attempt.attempt, handle=handle, expires_at=expires)


def due_for_retry(state: State, task_id: str) -> Attempt | None:
    """Return the last attempt of a task whose retry is due; None when none is due. Raises TokenRevoked."""
    task = TASKS.lock(state.db, task_id)
    if task is None or task.retry_at is None or task.retry_at > state.now or task.status is not Status.RUNNING:
        return None
    last = ATTEMPTS.get(state.db, task.id, task.attempt)
    if last is not None and is_revoked(state, last.parent_jti):
        raise TokenRevoked
    return last


def outcome(state: State, task_id: str, number: int) -> DispatchOutcome | None:
    """Return the outcome of a dispatch, retries of its attempt included; None while there is none.

    Raises TaskNotFound.
    """
    task = TASKS.get(state.db, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if task is None or attempt is None:
        raise TaskNotFound(task_id)
    if task.status is Status.SUSPENDED:
        keys = view(state, task).suspended_on
        return DispatchOutcome(outcome=Outcome.SUSPENDED, key=keys[0] if keys else None)
    if attempt.is_live or task.retry_at is not None or (task.attempt > number and task.status not in SETTLED):
        return None
    last = attempt if task.attempt == number else ATTEMPTS.get(state.db, task_id, task.attempt)
    return _settled_outcome(task, last)


def _settled_outcome(task: Task, last: Attempt | None) -> DispatchOutcome:
    reason = last.reason if last else None
    if task.status is Status.CANCELLED:
        return DispatchOutcome(outcome=Outcome.CANCELLED, reason=reason)
    if task.status is Status.PASS:
        how = Outcome.PASS
    else:
        how = Outcome.TIMEOUT if last is not None and last.outcome is Outcome.TIMEOUT else Outcome.BLOCKED
    return DispatchOutcome(outcome=how, value=task.last_result, reason=reason)
