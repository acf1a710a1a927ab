"""The engine's calls for workers: fetch the prompt, send outputs, submit the Final, claim from a queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.domain.access import Caller, Role, Verb
from app.domain.attempts import Attempt, Reason, WorkerPayload
from app.domain.errors import EngineError, TokenTaskMismatch
from app.domain.json import Json
from app.domain.outputs import Final, OutputEvent, OutputType
from app.domain.tasks import Status
from app.domain.tokens import Bearer, CapToken
from app.engine.core import Core
from app.engine.ops import attempts, clocks, credentials, outputs, queues, resources
from app.engine.ops.access import Reach, bound_rows, reach_trusted, require_live, require_same_task
from app.engine.ops.idempotency import Idempotency, once
from app.engine.ops.queues import Claim
from app.state.state import Keep, State
from app.state.tables import ATTEMPTS


@dataclass(frozen=True, slots=True)
class WorkerPulse:
    """What a worker's heartbeat is told: how long its attempt is good for, and whether to stop."""

    expires_at: int | None
    cancelled: bool


class WorkerCalls(Core):
    """Workers."""

    async def fetch_prompt(self, bearer: Bearer, task_id: str) -> str:
        """The prompt of the attempt that the credential is bound to.

        Raises TokenTaskMismatch, NotStarted, and AttemptSuperseded or Cancelled for a spent credential.
        """
        return (await self.fetch_payload(bearer, task_id=task_id)).prompt

    async def fetch_worker_payload(self, bearer: Bearer, task_id: str) -> WorkerPayload:
        """Prompt, system prompt, agent, attempt and answers in one; errors as `fetch_prompt`."""
        return await self.fetch_payload(bearer, task_id=task_id)

    async def fetch_payload(self, bearer: Bearer, *, task_id: str | None = None) -> WorkerPayload:
        """The same for the credential's own task. A sign of life."""

        def run(state: State, found: Reach) -> tuple[WorkerPayload, Attempt | None]:
            require_same_task(state, found, task_id, Verb.FETCH_PROMPT)
            require_live(found)
            stale = clocks.is_stale(self._cfg, found.attempt, state.now)
            return attempts.payload(state, found.task, found.attempt), found.attempt if stale else None

        payload, stale = await self._read_reach(bearer, Verb.FETCH_PROMPT, run)
        if stale is not None:
            await self._do("renew", lambda state: self._renew(state, stale))
        return payload

    def _renew(self, state: State, seen: Attempt) -> None:
        _, attempt = attempts.require_own_attempt(state, seen.task_id, seen.attempt)
        clocks.renew(state, self._cfg, attempt)

    async def fetch_worker_payload_trusted(self, task_id: str) -> WorkerPayload:
        """The payload of the latest attempt, for code of this process that has resolved a handle.

        Raises TaskNotFound, AttemptSuperseded, Cancelled, NotStarted, TokenExpired, TokenRevoked.
        """

        def run(state: State) -> WorkerPayload:
            reach = reach_trusted(state, task_id, None, lock=False)
            require_live(reach)
            return attempts.payload(state, reach.task, reach.attempt)

        return await self._store.read(run)

    async def submit_worker_result_trusted(self, task_id: str, attempt: int, value: Any, ok: bool) -> None:
        """The Final of an attempt, for code of this process that has resolved a handle to it.

        The handle's life and the attempt are checked, and it is closed, in one transaction. Raises TaskNotFound,
        FinalConflict, AttemptSuperseded, Cancelled, NotStarted, TokenExpired, TokenRevoked.
        """
        final = Final(value=Json.of(value), ok=ok)
        await self._do(
            "submit",
            lambda s: outputs.submit(s, self._cfg, self.layer_registry, reach_trusted(s, task_id, attempt), final),
        )

    async def submit_output(self, bearer: Bearer, task_id: str, attempt: int, event: OutputEvent) -> None:
        """Append an output event to the caller's attempt; a Final ends it.

        Raises TokenTaskMismatch, NotStarted, FinalConflict, AttemptSuperseded, Cancelled, InvalidRequest.
        """
        if event.type is OutputType.FINAL:
            body = event.body.value
            final = Json.of(body["content"].get("value", body["content"]))
            await self.submit_final(bearer, final, ok=bool(body["ok"]), task_id=task_id, attempt=attempt)
        else:
            await self.emit_output(bearer, event, task_id=task_id, attempt=attempt)

    async def submit_final(
        self,
        bearer: Bearer,
        value: Json,
        *,
        ok: bool,
        task_id: str | None = None,
        attempt: int | None = None,
        verb: Verb = Verb.EMIT_OUTPUT,
    ) -> None:
        """The Final of the credential's attempt. The first wins; the same again changes nothing.

        Raises TokenTaskMismatch, NotStarted, FinalConflict, AttemptSuperseded, Cancelled; what came too late is kept.
        """
        final = Final(value=value, ok=ok)

        def run(state: State, found: Reach) -> Keep[EngineError] | None:
            require_same_task(state, found, task_id, verb)
            return outputs.submit(state, self._cfg, self.layer_registry, found, final)

        await self._call_reach("submit", bearer, verb, run, attempt=attempt)

    async def emit_output(
        self,
        bearer: Bearer,
        event: OutputEvent,
        *,
        task_id: str | None = None,
        attempt: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Append progress, partial or artifact. A sign of life. Raises as `submit_final`, but FinalConflict."""

        def run(state: State, found: Reach) -> None:
            require_same_task(state, found, task_id, Verb.EMIT_OUTPUT)

            def append() -> bool:
                outputs.emit(state, self._cfg, found, event)
                return True

            scope = f"attempt:{found.task.id}:{found.attempt.attempt}"
            once(state, scope, idempotency, append, name=lambda done: done, again=lambda done: done)

        await self._call_reach("emit_output", bearer, Verb.EMIT_OUTPUT, run, attempt=attempt)

    async def worker_heartbeat(self, bearer: Bearer) -> WorkerPulse:
        """Renew the lease. Tells a cancelled worker so. Raises AttemptSuperseded, NotStarted, TokenTaskMismatch."""

        def run(state: State, found: Reach) -> WorkerPulse:
            if found.task.status is Status.CANCELLED or found.attempt.reason is Reason.CANCELLED:
                return WorkerPulse(None, True)
            require_live(found)
            return self._pulse(state, found)

        return await self._call_reach("worker_heartbeat", bearer, Verb.EMIT_OUTPUT, run)

    def _pulse(self, state: State, reach: Reach) -> WorkerPulse:
        attempt = reach.attempt
        if attempt.paused_at is not None:
            return WorkerPulse(attempt.lease_expires_at or attempt.handle_expires_at, False)
        changes = clocks.forced_renewal(self._cfg, attempt, state.now)
        ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **changes)
        return WorkerPulse(changes["lease_expires_at"] or changes["handle_expires_at"], False)

    async def bake_worker_system_prompt(self, task_id: str, attempt: int, system: str | None) -> None:
        """Set the system prompt that the attempt's worker fetches; for spawners of this process.

        Raises TaskNotFound, AttemptNotFound.
        """
        await self._do("bake_system", lambda state: attempts.bake_system(state, task_id, attempt, system))

    # Queues

    async def claim(
        self,
        key_text: str,
        *,
        queue: str,
        hold: timedelta,
        agents: Sequence[str] = (),
        worker_name: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> Claim | None:
        """Claim the next attempt of a queue, waiting for one up to `hold`; None when nothing came.

        A claim whose caller went away meanwhile is a worker that is silent: its lease runs out, unless the caller asks
        again with the same idempotency key. Raises Unauthenticated, RoleViolation, InvalidRequest.
        """
        seconds = self.check_hold(hold)
        digest = self._parts.mint.keyed_digest(key_text)

        def run(state: State) -> Claim | None:
            key = credentials.find_key(state, digest)
            credentials.require_role(key, Role.WORKER)
            worker, mint = worker_name or f"key:{key.name}", self._parts.mint

            def make() -> Claim | None:
                found = queues.claim(state, self._cfg, mint, queue=queue, agents=agents, worker=worker, key_id=key.id)
                if found is not None:
                    credentials.hold_key(state, key)
                return found

            return once(
                state,
                f"key:{key.id}:claim",
                idempotency,
                make,
                name=lambda made: made and [made.payload.task_id, made.payload.attempt],
                again=lambda made: queues.claimed(state, mint, made[0], made[1], worker) or make(),
            )

        async def probe() -> Claim | None:
            return await self._do("claim", run)

        return await self._wait((f"queue:{queue}", "loop"), probe, seconds)

    # Resources

    async def set_resource(self, key: str, value: Any) -> None:
        """Store a named value; for code of this process. Raises InvalidRequest."""
        json = value if isinstance(value, Json) else Json.of(value)
        await self._do("set_resource", lambda state: resources.put(state, key, json))

    async def put_resource(self, token: CapToken, key: str, value: Json) -> None:
        """Store a named value; needs `start_task`. Raises InvalidRequest."""

        def run(state: State, caller: Caller) -> None:
            if caller.role is Role.WORKER:
                raise TokenTaskMismatch(None)
            resources.put(state, key, value)

        await self._call("set_resource", token, Verb.START_TASK, run)

    async def fetch_data(self, bearer: Bearer, key: str) -> Any:
        """A named value. Raises ResourceNotFound."""
        return (await self.read_resource(bearer, key))[0].value

    async def read_resource(self, bearer: Bearer, key: str) -> tuple[Json, int]:
        """A named value and when it was set. Raises ResourceNotFound; the conflict of a spent credential."""

        def run(state: State, caller: Caller) -> tuple[Json, int]:
            if caller.attempt is not None:
                require_live(bound_rows(state, caller, lock=False))
            return resources.read(state, key)

        return await self._look(bearer, Verb.FETCH_DATA, run)
