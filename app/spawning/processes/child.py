"""One child process, supervised from its start to the end of its process group."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from app.domain.errors import Busy, Conflict, EngineError
from app.domain.limits import Limits
from app.domain.outputs import OutputEvent
from app.domain.redaction import describe
from app.spawning.ports import Control, Exit, Job
from app.spawning.processes.pipes import ReadPipe, feed
from app.spawning.processes.programs import Program
from app.spawning.processes.stderr import StderrTail
from app.spawning.processes.transcript import OutputTooLong, Transcript
from app.spawning.processes.tree import ProcessTree, boot_id, exited, start_ticks

_RETRY_S = 0.5
_AT_ONCE = 16 * 1024
"""Bytes of output that are decoded on the event loop."""

_log = structlog.get_logger(__name__)


class Child:
    """A worker that is a child process, supervised by a task that runs from construction on.

    However it ends (by itself, by its time limit, by too much output, by `stop`) its process group ends with it, its
    pipes are read to their end, and only then is it reaped: until then its process id cannot be used again.
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
        limits: Limits,
    ) -> None:
        self._name = name
        self._program = program
        self._process = process
        self._job = job
        self._control = control
        self._grace_s = grace_s
        self._started_ticks = start_ticks(process.pid)
        self._tree = ProcessTree(job.task_id, job.attempt, leader=(process.pid, self._started_ticks), unreaped=True)
        self._transcript = Transcript(limit_bytes=program.max_output_bytes, limits=limits)
        self._stderr_tail = StderrTail(task_id=job.task_id, attempt=job.attempt, program=name)
        self._attempt_over = False
        self._ending = asyncio.Event()
        self._final_seen = asyncio.Event()
        self._cause: str | None = None
        self._orphans = False
        self.task = asyncio.create_task(self._supervise(), name=f"{job.task_id}/{job.attempt} {name}")

    @property
    def record(self) -> dict[str, Any]:
        """Return what is stored so that a later server process can find the child's orphaned processes."""
        pid = self._process.pid
        return {"pid": pid, "pgid": pid, "start_ticks": self._started_ticks, "boot_id": boot_id()}

    async def join(self) -> Exit:
        """Return how it ended, once none of its processes is alive. Cancelling is safe."""
        return await asyncio.shield(self.task)

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM to the group and to the attempt's orphaned processes, SIGKILL after the grace period."""
        self._orphans = True
        self._end(cause="it was stopped", grace_s=grace_s)
        await asyncio.wait({self.task})

    def _end(self, *, cause: str | None, grace_s: float) -> None:
        """Begin to end it. The first cause is the one that is reported."""
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
        reading = [asyncio.create_task(self._read(out)), asyncio.create_task(self._stderr_tail.read(err))]
        try:
            await self._wait_for_end()
            await self._tree.end(self._grace_s, orphans=self._orphans)
            await exited(process.pid)
            out.finish()
            err.finish()
            await asyncio.gather(*reading)
            return self._exit(process.wait())
        except OSError as error:
            return Exit(detail=f"program {self._name!r} could not be watched: {describe(error)}")
        finally:
            await _cancel(feeding, *reading)
            out.close()
            err.close()
            self._kill()

    def _kill(self) -> None:
        """Kill and reap the group, after the supervision itself was cancelled or failed."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    async def _wait_for_end(self) -> None:
        """Wait until it exits or must be ended: stopped, over its time limit, or alive long after its Final."""
        ends = {asyncio.create_task(exited(self._process.pid)), asyncio.create_task(self._ending.wait())}
        final = asyncio.create_task(self._final_seen.wait())
        limit_s = self._program.timeout_s
        try:
            done, _ = await asyncio.wait({*ends, final}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self._end(cause=f"it ran longer than its limit of {limit_s} s", grace_s=self._grace_s)
            elif done == {final}:
                await asyncio.wait(ends, timeout=self._grace_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(*ends, final)

    async def _read(self, pipe: ReadPipe) -> None:
        """Read standard output. Beyond its limit it is read and discarded, so that the child can end."""
        try:
            while data := await pipe.read():
                await self._record(await self._off_loop(lambda data=data: self._transcript.feed(data), len(data)))
            await self._record(await self._off_loop(self._transcript.close))
        except OutputTooLong:
            limit = self._program.max_output_bytes
            self._end(cause=f"it wrote more than {limit} bytes to standard output", grace_s=self._grace_s)
            while await pipe.read():
                pass

    async def _off_loop(self, decode: Callable[[], list[OutputEvent]], size: int = 0) -> list[OutputEvent]:
        """Return the events that `decode` finds; where it may have much to do it runs in a thread."""
        much = self._transcript.buffered + size > _AT_ONCE
        return await asyncio.to_thread(decode) if much else decode()

    async def _record(self, events: list[OutputEvent]) -> None:
        for event in events:
            await self._append(event)
        if self._transcript.explicit:
            self._final_seen.set()

    async def _append(self, event: OutputEvent) -> None:
        """Append the event at least once: it is sent again when it is unknown whether it was committed."""
        while not self._attempt_over:
            try:
                return await self._control.output(event)
            except Conflict:
                self._attempt_over = True
            except Busy:
                await asyncio.sleep(_RETRY_S)
            except EngineError as refusal:
                self._transcript.malformed = self._transcript.malformed or describe(refusal)
                return None
        return None

    def _exit(self, status: int) -> Exit:
        """Return the exit for a wait status. An explicit Final counts however the child ended after it."""
        final = self._transcript.final
        if final is not None and (self._transcript.explicit or (self._cause is None and status == 0)):
            return Exit(final=final)
        malformed = f"; {self._transcript.malformed}" if self._transcript.malformed else ""
        stderr = f": {self._stderr_tail.tail()}" if self._stderr_tail.tail() else ""
        if self._cause is not None:
            return Exit(detail=f"program {self._name!r} was ended: {self._cause}{malformed}{stderr}")
        if status == 0:
            return Exit(detail=f"program {self._name!r} exited with status 0 without a result{malformed}{stderr}")
        return Exit(detail=f"program {self._name!r} {_how_it_exited(status)}{malformed}{stderr}")


def _how_it_exited(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
