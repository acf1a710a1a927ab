"""Queue workers: they claim jobs, run them, renew their leases and submit their results."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from swarmhold.call_retry import TRANSIENT_STATUSES
from swarmhold.calls import read
from swarmhold.errors import ApiProblem, Error, InvalidArgument, InvalidReply, JobFailed, Unreachable
from swarmhold.jobs import Job, clock_skew, renewal_pause
from swarmhold.models.enums import Status
from swarmhold.models.shapes import JsonValue, given
from swarmhold.models.workers import ClaimedJob, ClaimRequest
from swarmhold.tracing import traced_by
from swarmhold.transport import Transport
from swarmhold.worker import Worker

log = logging.getLogger(__name__)

_WATCH_AGAIN_S = 1.0
_UNFIT_RESULT = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class _Result:
    """The end of a job; `failed`: by an exception that is no verdict."""

    value: JsonValue
    ok: bool = True
    failed: bool = False


class QueueWorker:
    """Claims jobs from one queue until it is stopped and runs up to `concurrency` of them at once.

    `work` is called with each `Job`; what it returns is submitted as a pass. `JobFailed` is the worker's own verdict:
    the task is blocked with its value. Any other exception is a failure of the program, which `Retry(max_attempts=3)`
    retries. It is cancelled when its attempt is over for the server: within a second when its task is cancelled, for
    which a long poll of the task is parked beside each job; at the next heartbeat in every other case (superseded,
    lease lost). Heartbeats go out in the background every third of the lease, and at least every `heartbeat`.
    """

    def __init__(
        self,
        transport: Transport,
        queue: str,
        work: Callable[[Job], Awaitable[JsonValue]],
        *,
        agents: Sequence[str] | None = None,
        concurrency: int = 1,
        hold: timedelta = timedelta(seconds=10),
        heartbeat: timedelta = timedelta(seconds=20),
        name: str | None = None,
        namespace: str | None = None,
    ) -> None:
        if concurrency < 1:
            raise InvalidArgument("concurrency is at least 1: a queue worker runs at least one job at a time")
        self._transport = transport
        self._work = work
        self._concurrency = concurrency
        self._heartbeat = heartbeat
        self._hold = hold
        self._claim_body = ClaimRequest(
            queue=queue,
            hold=hold.total_seconds(),
            **given(agents=None if agents is None else tuple(agents), worker_name=name, namespace=namespace),
        )
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Claim no more and let `run` return once the claimed jobs are done.

        A claim that is under way is waited for, at most its hold long: the server may already have granted it.
        """
        self._stopping.set()

    async def run(self) -> None:
        """Claim and run jobs until `stop`, also over restarts of the server.

        Cancelling cancels the claimed jobs without submitting anything: their leases run out, and their retry policies
        decide.

        Raises:
            ApiProblem: claims are refused for good, such as for a bad key.
        """
        loops = [asyncio.create_task(self._loop(), name=f"claims {number}") for number in range(self._concurrency)]
        try:
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _loop(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                claimed = await self._claim()
            except Error as error:
                if isinstance(error, ApiProblem) and error.status not in TRANSIENT_STATUSES:
                    raise
                failures += 1
                log.warning("claim failed", extra={"reason": str(error)})
                await self._transport.back_off(failures)
                continue
            failures = 0
            if claimed is not None:
                with traced_by(claimed[0].claim.trace):
                    await self._run_job(*claimed)

    async def _claim(self) -> tuple[Job, timedelta] | None:
        """Return a job and the server's clock skew, or None when nothing came within the hold."""
        reply = await self._transport.create("/v1/worker/claim", self._claim_body, hold=self._hold)
        if reply.status_code == 204:
            return None
        claim = read(ClaimedJob, reply)
        skew = clock_skew(reply.headers.get("date"), local_now=datetime.now(UTC))
        return Job(claim, Worker(self._transport.with_credential(claim.worker_handle))), skew

    async def _run_job(self, job: Job, skew: timedelta) -> None:
        working = asyncio.create_task(_invoke(self._work, job), name=f"{job!r}")
        watching = asyncio.create_task(_watch(job, working), name=f"watch on {job!r}")
        beating = asyncio.create_task(self._keep_lease(job, skew, working), name=f"heartbeat of {job!r}")
        try:
            await asyncio.wait({working})
            if working.cancelled():
                log.info("job stopped", extra={"task_id": job.task_id, "attempt": job.attempt})
            else:
                await _report(job, working.result())
        finally:
            for task in (watching, beating, working):
                task.cancel()
            await asyncio.gather(watching, beating, working, return_exceptions=True)

    async def _keep_lease(self, job: Job, skew: timedelta, working: asyncio.Task[_Result]) -> None:
        expires_at = job.claim.lease_expires_at
        while True:
            pause = renewal_pause(expires_at, server_now=datetime.now(UTC) + skew, longest=self._heartbeat)
            await asyncio.sleep(pause.total_seconds())
            try:
                beat = await job.worker.heartbeat()
            except (Unreachable, InvalidReply):
                continue
            except ApiProblem as problem:
                if problem.status in TRANSIENT_STATUSES:
                    continue
                log.info("attempt is over", extra={"task_id": job.task_id, "code": problem.code})
                working.cancel()
                return
            if beat.cancelled:
                working.cancel()
                return
            expires_at = beat.expires_at


async def _watch(job: Job, working: asyncio.Task[_Result]) -> None:
    """Cancel the job as soon as its task is cancelled. Whatever else ends the attempt is found by the heartbeats."""
    while True:
        try:
            cancelled = (await job.worker.wait_for(job.task_id)).status is Status.CANCELLED
            break
        except ApiProblem as problem:
            if problem.status not in TRANSIENT_STATUSES:
                cancelled = problem.code == "cancelled"
                break
        except Error as error:
            log.debug("watch broke off", extra={"task_id": job.task_id, "reason": str(error)})
        await asyncio.sleep(_WATCH_AGAIN_S)
    if cancelled:
        working.cancel()
        log.info("task was cancelled", extra={"task_id": job.task_id, "attempt": job.attempt})


async def _invoke(work: Callable[[Job], Awaitable[JsonValue]], job: Job) -> _Result:
    """Return the result to submit."""
    try:
        return _Result(await work(job))
    except JobFailed as failed:
        return _Result(failed.value, ok=False)
    except Exception as error:
        # Whatever a job raises is the attempt's failure, and is reported as such.
        log.exception("job failed", extra={"task_id": job.task_id, "attempt": job.attempt})
        return _Result({"error": type(error).__name__, "detail": str(error)}, ok=False, failed=True)


async def _report(job: Job, result: _Result) -> None:
    """Submit the result; one that the server or JSON cannot take becomes a failure that says so."""
    try:
        await _submit(job, result)
    except InvalidArgument as error:
        await _submit(job, _Result({"error": "result-not-json", "detail": str(error)}, ok=False, failed=True))
    except ApiProblem as problem:
        if problem.status in _UNFIT_RESULT:
            await _submit(job, _Result({"error": problem.code, "detail": problem.detail}, ok=False, failed=True))


async def _submit(job: Job, result: _Result) -> None:
    """Submit a result. One that does not count any more is only logged: the server keeps late results."""
    try:
        await job.worker.submit(result.value, ok=result.ok, failed=result.failed)
    except InvalidArgument:
        raise
    except Error as error:
        log.warning("result not taken", extra={"task_id": job.task_id, "attempt": job.attempt, "reason": str(error)})
        if isinstance(error, ApiProblem) and error.status in _UNFIT_RESULT and result.ok:
            raise
