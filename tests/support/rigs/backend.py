"""A connected backend: it is asked to run attempts and to approve them, and is notified of their ends."""

from swarmhold import BackendHandlers, Finished, Refused
from swarmhold.models.frames import CancelSpawn, HookAfter, HookBefore, Spawn
from tests.support.rigs.gates import Gates

ID = "main"
"""The id under which it is operator backend, spawn hook and senior bridge."""


class ConnectedBackend:
    """What the backend was asked, by task and attempt. With open gates it starts, approves and returns at once."""

    def __init__(self) -> None:
        self.handles: dict[tuple[str, int], list[str]] = {}
        self.cancelled: list[tuple[str, int]] = []
        self.ends: list[tuple[str, int, str]] = []
        """The ends that it was notified of: task, attempt, outcome."""
        self.spawns = Gates[Finished | Exception | None]()
        self.hooks = Gates[Refused | None]()

    @property
    def handlers(self) -> BackendHandlers:
        """What the connection calls."""
        return BackendHandlers(
            spawn=self._spawn,
            renewed=self._renewed,
            hook_before=self._before,
            hook_after=self._after,
            cancel=self._cancel,
        )

    async def _spawn(self, frame: Spawn) -> Finished | None:
        await self._renewed(frame)
        answer = await self.spawns.passed("spawn", frame.task_id, otherwise=None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _renewed(self, frame: Spawn) -> None:
        self.handles.setdefault((frame.task_id, frame.attempt), []).append(frame.worker_handle)

    async def _before(self, frame: HookBefore) -> Refused | None:
        return await self.hooks.passed("before", frame.task_id, otherwise=None)

    async def _after(self, frame: HookAfter) -> None:
        await self.hooks.passed("after", frame.task_id, otherwise=None)
        self.ends.append((frame.task_id, frame.attempt, str(frame.result["outcome"])))

    async def _cancel(self, frame: CancelSpawn) -> None:
        self.cancelled.append((frame.task_id, frame.attempt))
