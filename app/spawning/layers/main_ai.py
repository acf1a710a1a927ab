"""A spawn hook approves an attempt before it starts, and is notified when it ended."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import structlog

from app.domain.attempts import DispatchOutcome
from app.domain.redaction import describe
from app.domain.sessions import OperatorKind
from app.spawning.backends.protocols import HeldElsewhere, SpawnHook, steps_done
from app.spawning.backends.registry import Registries, Registry
from app.spawning.ports import Control, Facts, Job, Layer, Spawn, SpawnFailed, SpawnRefused, Worker

_log = structlog.get_logger(__name__)


class MainAiLayer(Layer):
    """Asks the session's hook where it is asked for by name, unless the session is automated.

    What a worker dispatches is asked about as well, by the hooks that its own attempt went through. While no hook is
    registered, attempts wait.
    """

    key = "main_ai"
    gates = True
    standing = True

    def __init__(self, hooks: Registry[SpawnHook]) -> None:
        self._hooks = hooks

    def bound_to(self, registries: Registries) -> MainAiLayer:
        """Return the layer over the hooks of these registries."""
        return MainAiLayer(registries.hooks)

    def applies(self, facts: Facts) -> bool:
        """Return whether any hook has to agree."""
        return bool(self.hooks(facts))

    def hooks(self, facts: Facts) -> tuple[str, ...]:
        """Return the gates of the attempt, then its session's hook if this layer was requested and not automated."""
        if self.key not in facts.layers or facts.hook_id is None or facts.kind is OperatorKind.AUTOMATE:
            return facts.gates
        return tuple(dict.fromkeys((*facts.gates, facts.hook_id)))

    async def spawn(self, job: Job, control: Control, inner: Spawn) -> Worker:
        """Ask the hooks first. Raises SpawnRefused with a hook's reason; a hook that breaks fails the attempt."""
        with _remembering(job, "before") as agreed:
            for hook_id in self.hooks(job.facts):
                if hook_id not in agreed:
                    await self._ask(hook_id, job)
                    agreed.add(hook_id)
            return await inner(job, control)

    async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
        """Notify each hook, or the next one registered under its id, until one has returned."""
        del control
        with _remembering(job, "after") as notified:
            for hook_id in self.hooks(job.facts):
                if hook_id not in notified:
                    await self._notify(hook_id, job, outcome)
                    notified.add(hook_id)

    async def _notify(self, hook_id: str, job: Job, outcome: DispatchOutcome) -> None:
        try:
            await self._hooks.run(hook_id, lambda hook: hook.after(job, outcome), namespace=job.facts.namespace)
        except Exception as error:  # noqa: BLE001 - the hook was notified; what it does with that is its own affair
            _log.warning("spawn_hook_broke", hook_id=hook_id, task_id=job.task_id, error=describe(error))

    async def _ask(self, hook_id: str, job: Job) -> None:
        try:
            await self._hooks.run(hook_id, lambda hook: hook.before(job), namespace=job.facts.namespace)
        except (SpawnRefused, SpawnFailed):
            raise
        except Exception as error:
            raise SpawnFailed(f"spawn hook {hook_id!r}: {describe(error)}") from error


@contextmanager
def _remembering(job: Job, step: str) -> Generator[set[str]]:
    """Yield the hooks with which this step is done, to be added to; the next node learns them if there is one."""
    mark = f"{step}:"
    done = {name.removeprefix(mark) for name in steps_done(job) if name.startswith(mark)}
    try:
        yield done
    except HeldElsewhere as held:
        held.done |= {mark + hook_id for hook_id in done}
        raise
