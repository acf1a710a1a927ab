"""The session's spawn hook approves an attempt before it starts, and is notified when it ended."""

from __future__ import annotations

import structlog

from app.domain.attempts import DispatchOutcome
from app.domain.redaction import describe
from app.domain.sessions import OperatorKind
from app.spawning.backends.protocols import SpawnHook
from app.spawning.backends.registry import Registries, Registry
from app.spawning.ports import Control, Facts, Job, Layer, Spawn, SpawnFailed, SpawnRefused, Worker

_log = structlog.get_logger(__name__)


class MainAiLayer(Layer):
    """Acts when the session names a hook and is not automated. While no hook is registered, attempts wait."""

    key = "main_ai"
    gates = True

    def __init__(self, hooks: Registry[SpawnHook]) -> None:
        self._hooks = hooks

    def bound_to(self, registries: Registries) -> MainAiLayer:
        """Return the layer over the hooks of these registries."""
        return MainAiLayer(registries.hooks)

    def applies(self, facts: Facts) -> bool:
        """A hook is named, and the cascade did not come to `automate`."""
        return facts.hook_id is not None and facts.kind is not OperatorKind.AUTOMATE

    async def spawn(self, job: Job, control: Control, inner: Spawn) -> Worker:
        """Ask the hook first. Raises SpawnRefused with its reason; a hook that breaks fails the attempt."""
        if (hook_id := job.facts.hook_id) is not None:
            await self._ask(hook_id, job)
        return await inner(job, control)

    async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
        """Notify the hook, or the next one registered under its id, until one has returned."""
        del control
        if (hook_id := job.facts.hook_id) is None:
            return
        try:
            await self._hooks.run(hook_id, lambda hook: hook.after(job, outcome))
        except Exception as error:  # noqa: BLE001 - the hook was notified; what it does with that is its own affair
            _log.warning("spawn_hook_broke", hook_id=hook_id, task_id=job.task_id, error=describe(error))

    async def _ask(self, hook_id: str, job: Job) -> None:
        try:
            await self._hooks.run(hook_id, lambda hook: hook.before(job))
        except (SpawnRefused, SpawnFailed):
            raise
        except Exception as error:
            raise SpawnFailed(f"spawn hook {hook_id!r}: {describe(error)}") from error
