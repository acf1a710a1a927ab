"""Run an allow-listed program as the worker: prompt on standard input, result on standard output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from app.domain.attempts import Phase
from app.domain.errors import DispatchFailed
from app.domain.limits import Limits
from app.domain.redaction import printable
from app.spawning.ports import Control, Job, SpawnFailed, Worker
from app.spawning.processes.child import Child
from app.spawning.processes.programs import Program, environment
from app.spawning.processes.tree import ProcessTree, boot_id
from app.spawning.specs import only_fields, text, texts

GRACE_S = 5.0


class ProgramList:
    """The allow-list of programs by name, and the children that run.

    A child that ended leaves `grace_s` to what is left of its group; so does one that sent its Final to its own end.
    """

    def __init__(
        self, programs: Mapping[str, Program], *, grace_s: float = GRACE_S, limits: Limits | None = None
    ) -> None:
        self._programs = dict(programs)
        self._grace_s = grace_s
        self._limits = limits or Limits()
        self._children: set[Child] = set()

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._programs)

    def build(self, spec: dict[str, Any]) -> ProcessSpawner:
        """Build from `{kind: process, program, args?}`. Raises DispatchFailed."""
        only_fields(spec, ("program", "args"))
        name, args = text(spec, "program"), texts(spec, "args")
        program = self._programs.get(name)
        if program is None:
            allowed = ", ".join(self.names()) or "none"
            raise DispatchFailed(f"the settings allow no program {name!r}; allowed: {allowed}")
        if args and not program.allow_args:
            raise DispatchFailed(f"the settings allow no arguments for program {name!r}")
        if sys.platform != "linux":
            raise DispatchFailed("child processes are supported on Linux only")
        return ProcessSpawner(self, name, args)

    def start(self, name: str, args: tuple[str, ...], job: Job, control: Control, handle: str) -> Child:
        """Start a child and keep track of it until it is gone. Raises SpawnFailed."""
        program = self._programs[name]
        try:
            process = subprocess.Popen(
                [program.path, *program.args, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=program.cwd,
                env=environment(program, job, handle),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise SpawnFailed(f"program {name!r} could not be started: {printable(why)}") from error
        child = Child(name, program, process, job, control, grace_s=self._grace_s, limits=self._limits)
        self._children.add(child)
        child.task.add_done_callback(lambda _: self._children.discard(child))
        return child

    async def aclose(self) -> None:
        """End every child that is still running."""
        for child in list(self._children):
            await child.stop(self._grace_s)


class ProcessSpawner:
    """`{kind: process, program, args?}`. No shell, a scrubbed environment, a session and process group of its own."""

    kind = "process"
    first_phase = Phase.SPAWNING
    outlives_server = False
    leased = False

    __slots__ = ("_args", "_name", "_programs")

    def __init__(self, programs: ProgramList, name: str, args: tuple[str, ...]) -> None:
        self._programs = programs
        self._name = name
        self._args = args

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that is recorded with the attempt."""
        args = {"args": list(self._args)} if self._args else {}
        return {"kind": self.kind, "program": self._name, **args}

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Start the program; end it again when its record cannot be stored. Raises SpawnFailed."""
        handle = await control.mint_handle()
        child = self._programs.start(self._name, self._args, job, control, handle)
        try:
            await control.record_process(child.record)
        except BaseException:
            await child.stop(0)
            raise
        return child

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Raise SpawnFailed: the child's result is lost with the server that read its output."""
        del job, control
        raise SpawnFailed(f"program {self._name!r} lost the server that started it")

    async def reap(self, job: Job, grace_s: float) -> None:
        """End the processes that a dead server left running."""
        await reap(job, grace_s)


async def reap(job: Job, grace_s: float) -> None:
    """End every process that is proven to be this attempt's: SIGTERM, and SIGKILL after the grace period.

    A process is proven by the recorded leader of its group while that is alive, or by the marks in its environment. So
    a child that its server died before recording is found too, and a reused process id is never signalled.
    """
    record: dict[str, Any] = {} if job.process is None else job.process.value
    if record.get("boot_id", boot_id()) != boot_id():
        return
    leader = (record["pid"], record["start_ticks"]) if "pid" in record else None
    await ProcessTree(job.task_id, job.attempt, leader=leader).end(grace_s)
