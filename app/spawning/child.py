"""One child process from its start to the end of its whole group."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

import structlog

from app.domain.errors import Busy, Conflict, EngineError
from app.domain.outputs import OutputEvent
from app.spawning.failures import told
from app.spawning.family import Family, boot_id, exited, start_ticks
from app.spawning.pipes import ReadPipe, feed
from app.spawning.ports import Control, Exit, Job
from app.spawning.programs import Program
from app.spawning.stderr import Complaints
from app.spawning.transcript import OutputTooLong, Transcript

_RETRY_S = 0.5

_log = structlog.get_logger(__name__)


class Child:
    """The worker that is a child process. It supervises itself, in a task of its own, from construction on.

    However it ends — by itself, by its time limit, by too much output, by `stop` — its group ends with it, all three
    pipes are pumped to their end, and only then is it waited for: until then its process id cannot name another.
    """

    def __init__(
        self,
        name: str,
        program: Program,
        process: subprocess.Popen[bytes],
        job: Job,
        control: Control,
        *,
        grace_s: float,
    ) -> None:
        self._name = name
        self._program = program
        self._process = process
        self._job = job
        self._control = control
        self._grace_s = grace_s
        self._started_ticks = start_ticks(process.pid)
        self._family = Family(job.task_id, job.attempt, leader=(process.pid, self._started_ticks), held=True)
        self._transcript = Transcript(limit_bytes=program.max_output_bytes)
        self._complaints = Complaints(task_id=job.task_id, attempt=job.attempt, program=name)
        self._over = False
        self._ending = asyncio.Event()
        self._said_all = asyncio.Event()
        self._cause: str | None = None
        self._strays = False
        self.task = asyncio.create_task(self._supervise(), name=f"{job.task_id}/{job.attempt} {name}")

    @property
    def record(self) -> dict[str, Any]:
        """What is kept durably, so that a later server process can find what is left of this one."""
        pid = self._process.pid
        return {"pid": pid, "pgid": pid, "start_ticks": self._started_ticks, "boot_id": boot_id()}

    async def join(self) -> Exit:
        """How it went, once nothing of it is alive."""
        return await asyncio.shield(self.task)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM to the group and whatever else is marked as its own, SIGKILL after the grace period."""
        self._strays = True
        self._end(cause="it was stopped", grace_s=grace_s)
        await asyncio.wait({self.task})

    def _end(self, *, cause: str | None, grace_s: float) -> None:
        """Begin to end it. The first cause is the one that is told."""
        if not self._ending.is_set():
            self._cause = cause
            self._grace_s = grace_s
            self._ending.set()

    async def _supervise(self) -> Exit:
        process = self._process
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("a child is started with three pipes")
        out, err = ReadPipe(process.stdout), ReadPipe(process.stderr)
        feeding = asyncio.create_task(feed(process.stdin, self._job.prompt.encode(errors="replace")))
        reading = [asyncio.create_task(self._read(out)), asyncio.create_task(self._complaints.read(err))]
        try:
            await self._until_its_end()
            await self._family.end(self._grace_s, strays=self._strays)
            await exited(process.pid)
            out.finish()
            err.finish()
            await asyncio.gather(*reading)
            return self._judge(process.wait())
        except OSError as error:
            return Exit(detail=f"program {self._name!r} could not be watched: {told(error)}")
        finally:
            await _dropped(feeding, *reading)
            out.close()
            err.close()
            self._put_an_end_to_it()

    def _put_an_end_to_it(self) -> None:
        """After a cancellation or failure of the watch itself: leave nothing alive."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    async def _until_its_end(self) -> None:
        """Return when it exited by itself or has to end: by order, by its time limit, or long after its Final."""
        ends = {asyncio.create_task(exited(self._process.pid)), asyncio.create_task(self._ending.wait())}
        final = asyncio.create_task(self._said_all.wait())
        limit_s = self._program.timeout_s
        try:
            done, _ = await asyncio.wait({*ends, final}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self._end(cause=f"it ran longer than its limit of {limit_s} s", grace_s=self._grace_s)
            elif done == {final}:
                await asyncio.wait(ends, timeout=self._grace_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _dropped(*ends, final)

    async def _read(self, pipe: ReadPipe) -> None:
        """Pump standard output. Beyond its limit it is read and dropped, so that the child can end."""
        try:
            while data := await pipe.read():
                await self._say(self._transcript.feed(data))
            await self._say(self._transcript.close())
        except OutputTooLong:
            limit = self._program.max_output_bytes
            self._end(cause=f"it wrote more than {limit} bytes to standard output", grace_s=self._grace_s)
            while await pipe.read():
                pass

    async def _say(self, events: list[OutputEvent]) -> None:
        for event in events:
            await self._append(event)
        if self._transcript.explicit:
            self._said_all.set()

    async def _append(self, event: OutputEvent) -> None:
        """At least once: a line of which nobody knows whether it was kept is sent again."""
        while not self._over:
            try:
                return await self._control.output(event)
            except Conflict:
                self._over = True
            except Busy:
                await asyncio.sleep(_RETRY_S)
            except EngineError as refusal:
                self._transcript.trouble = self._transcript.trouble or told(refusal)
                return None
        return None

    def _judge(self, status: int) -> Exit:
        """What its end means. An explicit Final counts however the child ended after it."""
        final = self._transcript.final
        if final is not None and (self._transcript.explicit or (self._cause is None and status == 0)):
            return Exit(final=final)
        trouble = f"; {self._transcript.trouble}" if self._transcript.trouble else ""
        complaints = f": {self._complaints.tail()}" if self._complaints.tail() else ""
        if self._cause is not None:
            return Exit(detail=f"program {self._name!r} was ended: {self._cause}{trouble}{complaints}")
        if status == 0:
            return Exit(detail=f"program {self._name!r} exited with status 0 without a result{trouble}{complaints}")
        return Exit(detail=f"program {self._name!r} {_described(status)}{trouble}{complaints}")


def _described(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


async def _dropped(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
