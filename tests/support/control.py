"""The control that the engine gives a spawner, for tests without an engine: it records its calls."""

import asyncio
from typing import Any

from app.domain.errors import AttemptSuperseded
from app.domain.ids import IdSource
from app.domain.json import Json
from app.domain.outputs import OutputEvent
from app.domain.sessions import OperatorKind
from app.domain.tokens import CapToken
from app.spawning.ports import Facts, Job

TASK = IdSource().task()
"""A task of this process alone: processes are found by the task that they are marked with."""


class RecordedControl:
    """A live attempt until `end` is called; from then on every call is fenced off as the engine would do it."""

    def __init__(self) -> None:
        self.handles: list[str] = []
        self.processes: list[dict[str, Any]] = []
        self.outputs: list[OutputEvent] = []
        self.systems: list[str | None] = []
        self.held_s: list[float] = []
        self.changed = asyncio.Condition()
        self._over = asyncio.Event()

    async def end(self) -> None:
        """End the attempt, for whatever reason."""
        self._over.set()

    async def let_through(self) -> None:
        """Nothing here is held back."""
        self._check()

    async def mint_handle(self) -> str:
        """A handle that differs from the earlier ones."""
        self._check()
        self.handles.append(f"wh-{len(self.handles) + 1:026d}")
        return self.handles[-1]

    async def worker_token(self) -> CapToken:
        """One token, whenever it is asked for."""
        self._check()
        return CapToken("a-token")

    async def record_process(self, info: dict[str, Any]) -> None:
        """Keep what was recorded."""
        self._check()
        self.processes.append(info)

    async def output(self, event: OutputEvent) -> None:
        """Keep the event and tell those that wait for one."""
        self._check()
        async with self.changed:
            self.outputs.append(event)
            self.changed.notify_all()

    async def bake_system(self, system: str | None) -> None:
        """Keep the system prompt."""
        self._check()
        self.systems.append(system)

    async def held_long(self, held_s: float) -> None:
        """Keep the warning and tell those that wait for one."""
        self._check()
        async with self.changed:
            self.held_s.append(held_s)
            self.changed.notify_all()

    async def ended(self) -> None:
        """Return after `end`."""
        await self._over.wait()

    async def seen(self, event: OutputEvent, *, within: float = 60.0) -> None:
        """Wait until this output was appended."""
        async with asyncio.timeout(within), self.changed:
            await self.changed.wait_for(lambda: event in self.outputs)

    def _check(self) -> None:
        if self._over.is_set():
            raise AttemptSuperseded(TASK, 1, "settled")


def facts(**fields: Any) -> Facts:
    """The facts of an attempt that nobody asked anything special for."""
    plain: dict[str, Any] = {
        "task_id": TASK,
        "attempt": 1,
        "agent": "coder",
        "spawner": "external",
        "layers": (),
        "session_id": None,
        "kind": None,
        "hook_id": None,
        "bridge_id": None,
        "operator_backend_id": None,
    }
    return Facts(**(plain | fields))


def automated(**fields: Any) -> Facts:
    """The facts of an attempt whose session explicitly runs by itself."""
    return facts(kind=OperatorKind.AUTOMATE, **fields)


def job(
    prompt: str = "Do it.",
    *,
    process: Json | None = None,
    started_at: int = 0,
    trace: str | None = None,
    **fields: Any,
) -> Job:
    """An attempt with this prompt; further fields are those of its facts."""
    return Job(
        facts=facts(**fields),
        spec=Json.of({"kind": "external"}),
        prompt=prompt,
        system=None,
        base_url="http://127.0.0.1:7777",
        started_at=started_at,
        timeout_at=None,
        process=process,
        trace=trace,
    )
