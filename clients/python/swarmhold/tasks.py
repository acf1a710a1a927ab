"""Starting, dispatching and cancelling tasks, by operators and by workers for their children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from swarmhold.models.dispatches import Dispatched, DispatchOutcome, DispatchRequest
from swarmhold.models.retries import Retry
from swarmhold.models.shapes import given
from swarmhold.models.spawners import Spawner
from swarmhold.models.tasks import CancelRequest, StartTaskRequest, Task
from swarmhold.transport import part
from swarmhold.waits import WaitCalls


class TaskCalls(WaitCalls):
    """Changing tasks. What creates carries an idempotency key, so that no retry makes a second one."""

    async def start_task(
        self,
        agent: str,
        initial_directive: str,
        *,
        labels: Mapping[str, str] | None = None,
        retry: Retry | None = None,
        attempt_timeout: timedelta | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """A new pending task; a worker's becomes a child of its own.

        Give an `idempotency_key` to make the call safe over crashes of the caller, too.
        """
        body = StartTaskRequest(
            agent=agent,
            initial_directive=initial_directive,
            labels=dict(labels or {}),
            **given(retry=retry, attempt_timeout=seconds(attempt_timeout)),
        )
        reply = await self._transport.create(f"{self._prefix}/tasks", body, key=idempotency_key)
        return Task.model_validate_json(reply.content)

    async def dispatch(
        self,
        task_id: str,
        spawner: Spawner,
        *,
        layers: Sequence[str] = (),
        lease: timedelta | None = None,
        idempotency_key: str | None = None,
    ) -> Dispatched:
        """Start an attempt and return at once; the worker's handle comes with it for `external` only.

        Raises:
            ApiProblem: `invalid-transition` when the task has a live attempt or is terminal, `dispatch-failed`,
                `loop-paused`, and the like; nothing was changed.
        """
        body = DispatchRequest(spawner=spawner, layers=tuple(layers), **given(lease=seconds(lease)))
        reply = await self._transport.create(
            f"{self._prefix}/tasks/{part(task_id)}/dispatch", body, key=idempotency_key
        )
        return Dispatched.model_validate_json(reply.content)

    async def dispatch_and_wait(
        self,
        task_id: str,
        spawner: Spawner,
        *,
        wait: timedelta,
        layers: Sequence[str] = (),
        lease: timedelta | None = None,
        idempotency_key: str | None = None,
    ) -> DispatchOutcome | Dispatched:
        """Start an attempt and wait for its outcome; still `Dispatched` when it did not end within `wait`.

        While a senior has paused the loop, the attempt starts at resume. Cancelling does not stop the attempt.
        """
        body = DispatchRequest(spawner=spawner, layers=tuple(layers), **given(lease=seconds(lease)))
        reply = await self._transport.create(
            f"{self._prefix}/tasks/{part(task_id)}/dispatch",
            body,
            params={"wait": wait.total_seconds()},
            key=idempotency_key,
            hold=wait,
        )
        if reply.status_code == 200:
            return DispatchOutcome.model_validate_json(reply.content)
        return Dispatched.model_validate_json(reply.content)

    async def cancel(self, task_id: str, *, reason: str | None = None) -> Task:
        """Cancel the task and everything under it; cancelling a cancelled task changes nothing."""
        path = f"{self._prefix}/tasks/{part(task_id)}/cancel"
        reply = await self._transport.post(path, CancelRequest(**given(reason=reason)), repeatable=True)
        return Task.model_validate_json(reply.content)


def seconds(duration: timedelta | None) -> float | None:
    """The duration as the wire has it."""
    return None if duration is None else duration.total_seconds()
