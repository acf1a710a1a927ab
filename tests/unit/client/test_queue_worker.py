"""The queue worker against a small server of jobs, spoken to through httpx in one process."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from swarmhold import ApiProblem, CallRetry, Job, JobFailed, SwarmholdClient
from swarmhold.models.instants import to_rfc3339
from tests.support.waiting import eventually

DEADLINE = 60


class Jobs(httpx.AsyncBaseTransport):
    """Grants the jobs it was given, one for each claim, then 204; keeps what was submitted."""

    def __init__(self, *prompts: str, lease_ms: int = 60_000) -> None:
        self.prompts = list(prompts)
        self.lease = timedelta(milliseconds=lease_ms)
        self.submitted: dict[str, tuple[Any, bool]] = {}
        self.failed: set[str] = set()
        self.done = asyncio.Event()
        self.beats = 0
        self.cancelled = asyncio.Event()
        self.over: httpx.Response | None = None
        self.refuse_claims: list[httpx.Response] = []
        self.refuse_submits: list[httpx.Response] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        # A reply over a network lets others run first; so does this one.
        await asyncio.sleep(0)
        call = request.url.path.rpartition("/")[2]
        if call == "poll":
            await self.cancelled.wait()
            return problem(409, "cancelled")
        return getattr(self, f"_{call}")(request)

    def _claim(self, request: httpx.Request) -> httpx.Response:
        assert orjson.loads(request.content)["queue"] == "q"
        if self.refuse_claims:
            return self.refuse_claims.pop(0)
        if not self.prompts:
            self.done.set()
            return httpx.Response(204)
        prompt = self.prompts.pop(0)
        job = {"task_id": f"T-{prompt}", "attempt": 1, "agent": "a", "prompt": prompt, "answers": []}
        lease = {"worker_handle": f"wh-{prompt}", "lease_expires_at": to_rfc3339(datetime.now(UTC) + self.lease)}
        return httpx.Response(200, json={**job, **lease})

    def _heartbeat(self, _request: httpx.Request) -> httpx.Response:
        self.beats += 1
        if self.over is not None:
            return self.over
        return httpx.Response(200, json={"expires_at": to_rfc3339(datetime.now(UTC) + self.lease), "cancelled": False})

    def _submit(self, request: httpx.Request) -> httpx.Response:
        if self.refuse_submits:
            return self.refuse_submits.pop(0)
        handle = request.headers["authorization"].removeprefix("Bearer ")
        self.submitted[handle] = (orjson.loads(request.content), request.url.params["ok"] == "true")
        if request.url.params.get("failed") == "true":
            self.failed.add(handle)
        return httpx.Response(204)


def problem(status: int, code: str) -> httpx.Response:
    """A refusal."""
    return httpx.Response(status, json={"title": "T", "status": status, "detail": "d", "code": code})


async def carry_out(jobs: Jobs, work: Any, *, concurrency: int = 1) -> None:
    """Run a queue worker over the jobs until all are claimed and done."""
    http = httpx.AsyncClient(base_url="http://swarm.test", transport=jobs)
    call_retry = CallRetry(initial_backoff=timedelta(milliseconds=1), max_backoff=timedelta(milliseconds=1))
    worker = SwarmholdClient("", http=http, call_retry=call_retry).queue_worker(
        "shk_k", "q", work, concurrency=concurrency
    )
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        running = group.create_task(worker.run())
        stopping = group.create_task(jobs.done.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        stopping.cancel()


async def test_every_job_is_carried_out_and_submitted() -> None:
    """Under the handle of its own claim."""

    async def work(job: Job) -> Any:
        return job.prompt.upper()

    jobs = Jobs("a", "b", "c")
    await carry_out(jobs, work)
    assert jobs.submitted == {"wh-a": ("A", True), "wh-b": ("B", True), "wh-c": ("C", True)}


async def test_jobs_run_side_by_side() -> None:
    """As many as the concurrency says: each of three waits for the other two."""
    barrier = asyncio.Barrier(3)

    async def work(_job: Job) -> Any:
        await barrier.wait()

    jobs = Jobs("a", "b", "c")
    await carry_out(jobs, work, concurrency=3)
    assert len(jobs.submitted) == 3


async def test_failures_are_submitted_as_such() -> None:
    """A job's own verdict, an exception, and a result that is not JSON."""

    async def work(job: Job) -> Any:
        if job.prompt == "verdict":
            raise JobFailed({"missing": 3})
        if job.prompt == "crash":
            raise KeyError("x")
        return object()

    jobs = Jobs("verdict", "crash", "unfit")
    await carry_out(jobs, work)
    assert jobs.submitted["wh-verdict"] == ({"missing": 3}, False)
    assert jobs.submitted["wh-crash"] == ({"error": "KeyError", "detail": "'x'"}, False)
    assert jobs.submitted["wh-unfit"][0]["error"] == "result-not-json"
    assert jobs.failed == {"wh-crash", "wh-unfit"}


async def test_a_result_too_large_becomes_a_failure() -> None:
    """So that the attempt ends at once instead of losing its lease."""

    async def work(_job: Job) -> Any:
        return "x" * 100

    jobs = Jobs("a")
    jobs.refuse_submits = [problem(413, "payload-too-large")]
    await carry_out(jobs, work)
    assert jobs.submitted["wh-a"] == ({"error": "payload-too-large", "detail": "d"}, False)


async def test_a_result_that_counts_no_more_ends_only_its_job() -> None:
    """The next job is claimed nevertheless."""

    async def work(job: Job) -> Any:
        return job.prompt

    jobs = Jobs("a", "b")
    jobs.refuse_submits = [problem(409, "attempt-superseded")]
    await carry_out(jobs, work)
    assert jobs.submitted == {"wh-b": ("b", True)}


async def test_a_job_is_cancelled_with_its_task_long_before_the_next_heartbeat() -> None:
    """A poll of the task is parked beside the job; no heartbeat was due, and nothing is submitted."""

    async def work(_job: Job) -> Any:
        jobs.cancelled.set()
        await asyncio.Event().wait()

    jobs = Jobs("a")
    await carry_out(jobs, work)
    assert (jobs.beats, jobs.submitted) == (0, {})


@pytest.mark.parametrize(
    "over",
    [
        httpx.Response(200, json={"expires_at": None, "cancelled": True}),
        problem(409, "attempt-superseded"),
        problem(409, "cancelled"),
        problem(401, "unauthenticated"),
    ],
)
async def test_a_job_whose_attempt_is_over_is_cancelled(over: httpx.Response) -> None:
    """The next heartbeat says so; nothing is submitted for it."""
    cancelled = asyncio.Event()

    async def work(_job: Job) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    jobs = Jobs("a", lease_ms=30)
    jobs.over = over
    await carry_out(jobs, work)
    assert cancelled.is_set()
    assert jobs.submitted == {}


async def test_a_lease_is_renewed_while_the_job_runs() -> None:
    """Several times over its first length."""

    async def work(job: Job) -> Any:
        await eventually(lambda: jobs.beats >= 3)
        return job.prompt

    jobs = Jobs("a", lease_ms=150)
    await carry_out(jobs, work)
    assert jobs.submitted == {"wh-a": ("a", True)}


async def test_claims_go_on_when_the_server_comes_back() -> None:
    """A fault of the server is waited out, a refused key is not."""

    async def work(job: Job) -> Any:
        return job.prompt

    jobs = Jobs("a")
    jobs.refuse_claims = [problem(500, "internal"), problem(503, "store-unavailable")]
    await carry_out(jobs, work)
    assert jobs.submitted == {"wh-a": ("a", True)}
    jobs = Jobs()
    jobs.refuse_claims = [problem(401, "unauthenticated")] * 2
    with pytest.raises(ExceptionGroup) as caught:
        await carry_out(jobs, work, concurrency=2)
    assert caught.group_contains(ApiProblem)


async def test_cancelling_the_worker_cancels_its_jobs() -> None:
    """Without submitting anything for them."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work(_job: Job) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    jobs = Jobs("a")
    http = httpx.AsyncClient(base_url="http://swarm.test", transport=jobs)
    running = asyncio.create_task(SwarmholdClient("", http=http).queue_worker("k", "q", work).run())
    await asyncio.wait_for(started.wait(), DEADLINE)
    running.cancel()
    await asyncio.wait_for(asyncio.wait({running}), DEADLINE)
    assert running.cancelled()
    assert cancelled.is_set()
    assert jobs.submitted == {}


def test_a_worker_without_hands_is_refused() -> None:
    """Nothing would ever be claimed."""

    async def work(_job: Job) -> Any: ...

    with pytest.raises(ValueError, match="at least one"):
        SwarmholdClient("http://swarm.test").queue_worker("k", "q", work, concurrency=0)
