"""Calls that operators and workers share: start, dispatch and cancel tasks, read named values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from swarmhold.calls import read
from swarmhold.models.attempts import Dispatched, DispatchOutcome, DispatchRequest, Retry
from swarmhold.models.shapes import given
from swarmhold.models.spawners import Spawner
from swarmhold.models.tasks import CancelRequest, StartTaskRequest, Task
from swarmhold.transport import segment
from swarmhold.waits import WaitCalls

if TYPE_CHECKING:
    from swarmhold.models.server import Resource


class TaskCalls(WaitCalls):
    """Calls about tasks (a worker's children) and named values. What creates something has an idempotency key."""

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
        """Create a pending task and return it; a worker's becomes a child of its own task.

        With an `idempotency_key` of its own the call is safe over crashes of the caller, too.
        """
        body = StartTaskRequest(
            agent=agent,
            initial_directive=initial_directive,
            labels=dict(labels or {}),
            **given(retry=retry, attempt_timeout=seconds(attempt_timeout)),
        )
        return read(Task, await self._transport.create(f"{self._prefix}/tasks", body, key=idempotency_key))

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
        path = f"{self._prefix}/tasks/{segment(task_id)}/dispatch"
        return read(Dispatched, await self._transport.create(path, body, key=idempotency_key))

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
        path = f"{self._prefix}/tasks/{segment(task_id)}/dispatch"
        params = {"wait": wait.total_seconds()}
        reply = await self._transport.create(path, body, params=params, key=idempotency_key, hold=wait)
        return read(DispatchOutcome if reply.status_code == 200 else Dispatched, reply)

    async def cancel(self, task_id: str, *, reason: str | None = None) -> Task:
        """Cancel the task and everything under it; cancelling a cancelled task changes nothing."""
        path = f"{self._prefix}/tasks/{segment(task_id)}/cancel"
        return read(Task, await self._transport.post(path, CancelRequest(**given(reason=reason)), repeatable=True))

    async def resource(self, key: str) -> Resource:
        """Return a named value that an operator stored."""
        from swarmhold.models.server import Resource

        return read(Resource, await self._transport.get(f"{self._prefix}/resources/{segment(key)}"))


def seconds(duration: timedelta | None) -> float | None:
    """Return the duration in seconds, as bodies have it."""
    return None if duration is None else duration.total_seconds()
