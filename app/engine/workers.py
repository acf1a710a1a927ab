"""Calls of workers: fetch the prompt, send outputs, submit the final result, renew the lease, claim from a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from app.domain.access import Role, Verb
from app.domain.attempts import Attempt, Reason, WorkerPayload
from app.domain.errors import EngineError, InvalidRequest
from app.domain.handles import HandleMint
from app.domain.json import Json
from app.domain.names import check_optional
from app.domain.namespaces import ALL_ID
from app.domain.outputs import Final, OutputEvent, OutputType
from app.domain.tasks import Status
from app.domain.tokens import Bearer
from app.engine.api_keys import ApiKeys
from app.engine.claiming import WaitingClaims
from app.engine.listening import ListenerKey, Listeners
from app.engine.ops import attempts, credentials, finals, leases, loop, namespaces, outputs, queues
from app.engine.ops.access import WorkerRows, require_live, require_same_task, revocation_of, trusted_rows
from app.engine.ops.idempotency import Idempotency, once
from app.engine.ops.queries import queue_topic
from app.engine.ops.queues import Claim, Line
from app.engine.ops.rules import EngineCfg
from app.engine.transactions import Expiry, Transactions
from app.spawning.ports import LayerRegistry
from app.state.state import CommitThenRaise, State


@dataclass(frozen=True, slots=True)
class WorkerPulse:
    """The reply to a worker's heartbeat: until when its lease (or handle) lasts, and whether to stop."""

    expires_at: int | None
    cancelled: bool


class Workers:
    """Calls of workers; `bearer` is their handle or token."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        keys: ApiKeys,
        mint: HandleMint,
        layers: LayerRegistry,
        listeners: Listeners,
        cfg: EngineCfg,
    ) -> None:
        self._transactions = transactions
        self._keys = keys
        self._mint = mint
        self._layers = layers
        self._listeners = listeners
        self._cfg = cfg
        self._waiting = WaitingClaims(transactions)

    async def payload(self, bearer: Bearer, *, task_id: str | None = None) -> WorkerPayload:
        """Return prompt, system prompt, agent, attempt and answers of the credential's attempt; a heartbeat.

        Raises TokenTaskMismatch for another task, NotStarted, and AttemptSuperseded or Cancelled after the end.
        """

        def run(state: State, found: WorkerRows) -> tuple[WorkerPayload, Attempt | None]:
            require_same_task(state, found, task_id, Verb.FETCH_PROMPT)
            require_live(found)
            attempt = found.attempt
            due = leases.renewal_due(self._cfg, leases.last_heartbeat(attempt), attempt.lease_ms, state.now)
            return attempts.payload(state, self._cfg, found.task, attempt), attempt if due else None

        payload, renewing = await self._transactions.read_as_worker(bearer, Verb.FETCH_PROMPT, run)
        if renewing is not None:
            await self._transactions.run("renew", lambda state: self._renew(state, renewing))
        return payload

    def _renew(self, state: State, seen: Attempt) -> None:
        _, attempt = attempts.require_own_attempt(state, seen.task_id, seen.attempt)
        leases.record_heartbeat(state, self._cfg, attempt)

    async def payload_trusted(self, task_id: str) -> WorkerPayload:
        """Return the payload of the latest attempt, for code of this process that has resolved a handle.

        Raises TaskNotFound, AttemptSuperseded, Cancelled, NotStarted, TokenExpired, TokenRevoked.
        """

        def run(state: State) -> WorkerPayload:
            worker = trusted_rows(state, task_id, None, lock=False)
            require_live(worker)
            return attempts.payload(state, self._cfg, worker.task, worker.attempt)

        return await self._transactions.read(run)

    async def submit_trusted(self, task_id: str, attempt: int, value: Json, *, ok: bool) -> None:
        """Submit the final result of an attempt, for code of this process that has resolved a handle to it.

        Whether the handle is valid is checked again in the transaction that ends the attempt. Raises TaskNotFound,
        FinalConflict, AttemptSuperseded, Cancelled, NotStarted, TokenExpired, TokenRevoked.
        """
        final = Final(value=value, ok=ok)
        await self._transactions.run(
            "submit",
            lambda s: finals.submit(s, self._cfg, self._layers, trusted_rows(s, task_id, attempt), final),
        )

    async def output(self, bearer: Bearer, task_id: str, attempt: int, event: OutputEvent) -> None:
        """Append an output event to the caller's attempt; a final one ends it.

        Raises TokenTaskMismatch, NotStarted, FinalConflict, AttemptSuperseded, Cancelled, InvalidRequest.
        """
        if event.type is OutputType.FINAL:
            body = event.body.written
            final = Json.of(body["content"].get("value", body["content"]))
            await self.submit(bearer, final, ok=bool(body["ok"]), task_id=task_id, attempt=attempt)
        else:
            await self.emit(bearer, event, task_id=task_id, attempt=attempt)

    async def submit(
        self,
        bearer: Bearer,
        value: Json,
        *,
        ok: bool,
        failed: bool = False,
        task_id: str | None = None,
        attempt: int | None = None,
        verb: Verb = Verb.EMIT_OUTPUT,
    ) -> None:
        """Submit the final result of the credential's attempt. The first one wins; repeating it changes nothing.

        `failed`: the worker's program failed, and the attempt ends as one whose worker ended without a result. Raises
        InvalidRequest where `ok` contradicts that, TokenTaskMismatch, NotStarted, FinalConflict, AttemptSuperseded,
        Cancelled; a result that comes too late is kept as a late result.
        """
        if ok and failed:
            raise InvalidRequest("false when ok is true: a program that failed has no good result", "failed")
        final = Final(value=value, ok=ok, failed=failed)

        def run(state: State, found: WorkerRows) -> CommitThenRaise[EngineError] | None:
            require_same_task(state, found, task_id, verb)
            return finals.submit(state, self._cfg, self._layers, found, final)

        await self._transactions.call_worker("submit", bearer, verb, run, attempt=attempt)

    async def emit(
        self,
        bearer: Bearer,
        event: OutputEvent,
        *,
        task_id: str | None = None,
        attempt: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Append a progress, partial or artifact event, or add to what the attempt used; a heartbeat.

        Raises TokenTaskMismatch, NotStarted, AttemptSuperseded, Cancelled, InvalidRequest.
        """

        def run(state: State, found: WorkerRows) -> None:
            require_same_task(state, found, task_id, Verb.EMIT_OUTPUT)

            def append() -> bool:
                outputs.emit(state, self._cfg, found, event)
                return True

            scope = f"attempt:{found.task.id}:{found.attempt.attempt}"
            once(state, scope, idempotency, append, name=lambda done: done, again=lambda done: done)

        await self._transactions.call_worker("emit_output", bearer, Verb.EMIT_OUTPUT, run, attempt=attempt)

    async def heartbeat(self, bearer: Bearer) -> WorkerPulse:
        """Renew the lease; the reply says whether to stop. Raises AttemptSuperseded, NotStarted, TokenTaskMismatch."""

        def run(state: State, found: WorkerRows) -> WorkerPulse:
            if found.task.status is Status.CANCELLED or found.attempt.reason is Reason.CANCELLED:
                return WorkerPulse(None, True)
            require_live(found)
            attempt = leases.record_heartbeat(state, self._cfg, found.attempt, always=True)
            return WorkerPulse(leases.expires_at(attempt, state.now), False)

        return await self._transactions.call_worker("worker_heartbeat", bearer, Verb.EMIT_OUTPUT, run)

    async def bake_system_prompt(self, task_id: str, attempt: int, system: str | None) -> None:
        """Set the system prompt that the attempt's worker fetches; for spawners of this process.

        Raises TaskNotFound, AttemptNotFound.
        """
        await self._transactions.run("bake_system", lambda state: attempts.bake_system(state, task_id, attempt, system))

    # Queues

    async def claim(
        self,
        key_text: str,
        *,
        queue: str,
        hold: timedelta,
        agents: Sequence[str] = (),
        worker_name: str | None = None,
        namespace: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> Claim | None:
        """Claim the next attempt of a queue, waiting for one up to `hold`; None when nothing came.

        When the caller goes away meanwhile, the lease of what it claimed runs out, unless it asks again with the same
        idempotency key. Raises Unauthenticated, RoleViolation, InvalidName, InvalidRequest.
        """
        check_optional(worker_name, "worker_name")
        seconds = self._transactions.hold_seconds(hold)
        expiry = Expiry()
        digest = self._keys.digest(key_text)
        wanted, since = tuple(agents), asyncio.get_running_loop().time()

        topics: tuple[str, ...] = ()
        who: ListenerKey | None = None

        def take(state: State, line: Line) -> Claim | None:
            nonlocal topics, who
            key = line.key(digest)
            expiry.note(state, key.expires_at)
            credentials.require_role(key, Role.WORKER)
            worker, mint = worker_name or f"key:{key.name}", self._mint
            place = namespaces.of_key(state, key, namespace)
            who = (place, queue, key.id, worker)
            topics = (queue_topic(place, queue), loop.topic(place), loop.topic(ALL_ID), revocation_of(key.id))
            make = partial(queues.claim, state, self._cfg, mint, key, line, namespace=place, worker=worker)
            return once(
                state,
                f"key:{key.id}:claim",
                idempotency,
                make,
                name=lambda made: made and [made.payload.task_id, made.payload.attempt],
                again=lambda made: queues.claimed(state, self._cfg, mint, made[0], made[1], worker) or make(),
            )

        def take_alone(state: State) -> Claim | None:
            line = Line(state, queue, wanted)
            found = take(state, line)
            line.give_back()
            return found

        async def probe() -> Claim | None:
            if who is not None:
                return await self._waiting.look(queue, wanted, take, since=since)
            found = await self._transactions.run("claim", take_alone)
            waiting.by(who)
            return found

        with self._listeners.waiting() as waiting:
            return await self._transactions.wait(lambda: topics, probe, seconds, expiry)

    async def stop(self) -> None:
        """Wait until no claim is under way."""
        await self._waiting.finish()
