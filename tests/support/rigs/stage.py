"""A server in a process of its own, and all around it that lives elsewhere: what a test of attempts plays with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from app.cli.diagnostics import examine
from app.config import load
from app.domain.attempts import Reason
from app.spawning.processes.tree import ProcessTree
from swarmhold import ApiProblem, CallRetry, Operator, Senior, SwarmholdClient, Worker
from swarmhold.models.attempts import Attempt, Retry
from swarmhold.models.enums import Outcome, OutputType, Phase, Status
from swarmhold.models.events import Event
from swarmhold.models.tasks import Task
from tests.support.processes import ServerProcess
from tests.support.rigs import child, functions
from tests.support.rigs.backend import ID, ConnectedBackend
from tests.support.rigs.control_server import ControlServer, open_control_server
from tests.support.rigs.functions import DESK
from tests.support.rigs.site import SECRET, Site, open_site
from tests.support.spreading import server_process
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
GRACE_S = 0.4
"""How long a worker that is asked to stop has before it is killed."""
CALL_RETRY = CallRetry(
    timeout=timedelta(seconds=30), initial_backoff=timedelta(milliseconds=50), max_backoff=timedelta(milliseconds=200)
)


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended, and whether a Final of its worker stands."""

    outcome: Outcome
    reason: Reason
    final: bool = False


PASSED = End(Outcome.PASS, Reason.FINAL, final=True)
FAILED = End(Outcome.BLOCKED, Reason.FINAL, final=True)
RAISED = End(Outcome.BLOCKED, Reason.WORKER_FAILED, final=True)
BROKE = End(Outcome.BLOCKED, Reason.WORKER_FAILED)
NOT_STARTED = End(Outcome.BLOCKED, Reason.SPAWN_FAILED)
REFUSED = End(Outcome.BLOCKED, Reason.REFUSED)
TIMED_OUT = End(Outcome.TIMEOUT, Reason.TIMEOUT)
CANCELLED = End(Outcome.CANCELLED, Reason.CANCELLED)
JUDGED = End(Outcome.PASS, Reason.VERDICT)
STOPPED = End(Outcome.BLOCKED, Reason.VERDICT)
REVOKED = End(Outcome.BLOCKED, Reason.REVOKED)
UNANSWERED = End(Outcome.BLOCKED, Reason.DEADLINE)
LOST = End(Outcome.BLOCKED, Reason.LOST)

_AWAITED = {"question", "timer", "clocks", "retry", "child", "loop"}
"""Links of a `why` that something is still to come."""


@dataclass
class Stage:
    """The server, who plays around it, and what every test asks of them. Its tasks are dispatched by one operator."""

    server: ServerProcess
    client: SwarmholdClient
    operator: Operator
    senior: Senior
    root_key: str
    control_server: ControlServer
    site: Site
    backend: ConnectedBackend
    events: list[Event] = field(default_factory=list[Event])
    _backend: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    # Who plays

    async def connect(self) -> None:
        """Let the backend come."""
        await self._backend.enter_async_context(self.operator.backend(ID, self.backend.handlers))

    async def disconnect(self) -> None:
        """Let the backend go."""
        await self._backend.aclose()

    def worker(self, handle: str) -> Worker:
        """Whoever holds this handle."""
        return self.client.worker(handle)

    async def kill(self) -> None:
        """End the server as a power cut would."""
        await asyncio.to_thread(self.server.kill)

    async def stop(self) -> None:
        """Have the server end in order."""
        await asyncio.to_thread(self.server.stop)

    async def start_again(self) -> None:
        """Start the server again on the same data and port."""
        await asyncio.to_thread(self.server.start)

    # Tasks

    async def task(self, directive: str = "work", *, timeout: float | None = None, retry_on: Sequence[str] = ()) -> str:
        """The id of a new task, which its engine tries twice when it ends in one of these ways."""
        retry = Retry.model_validate({"max_attempts": 2, "backoff": 0.0, "on": list(retry_on)}) if retry_on else None
        limit = timedelta(seconds=timeout) if timeout else None
        return (await self.operator.start_task("coder", directive, retry=retry, attempt_timeout=limit)).id

    async def phase(self, task_id: str, *phases: Phase, attempt: int = 1) -> Attempt:
        """The attempt, once it is in one of these phases."""

        async def reached() -> Attempt | None:
            try:
                found = await self.operator.attempt(task_id, attempt)
            except ApiProblem as problem:
                if problem.status == 404:
                    return None
                raise
            return found if found.phase in phases else None

        found = await eventually(reached, awaited=f"attempt {attempt} of {task_id} to be {' or '.join(phases)}")
        assert found is not None
        return found

    async def settled(self, task_id: str) -> Task:
        """The task, once it is settled or suspended."""
        return await self.operator.wait_for(task_id, deadline=timedelta(seconds=15), or_suspended=True)

    # What is left

    async def feed(self, task_id: str) -> list[Event]:
        """Every event of the task up to now."""
        fence = await self.operator.start_task("fence", "")
        await eventually(lambda: any(event.task_id == fence.id for event in reversed(self.events)))
        return [event for event in self.events if event.task_id == task_id]

    async def over(self, task_id: str, status: Status, *ends: End) -> Task:
        """All that holds of a task that came to this status by attempts that ended so; the task itself."""
        task = await self.settled(task_id)
        assert (task.status, task.attempt, task.suspended_on) == (status, len(ends), [])
        for number, end in enumerate(ends, 1):
            attempt = await self.phase(task_id, Phase.ENDED, attempt=number)
            assert (attempt.outcome, attempt.reason, attempt.status) == (end.outcome, end.reason.value, "ended")
            finals = [x for x in await self.operator.output(task_id, number) if x.type is OutputType.FINAL]
            assert len(finals) <= 1
        await self.no_event_twice(task_id, len(ends))
        await self.nothing_to_come(task_id)
        await self.nothing_alive(task_id, len(ends))
        return task

    async def no_event_twice(self, task_id: str, attempts: int) -> None:
        """Each attempt began once and ended once."""
        feed = await self.feed(task_id)
        assert len({event.cursor for event in feed}) == len(feed)
        for kind in ("task_attempt_started", "task_attempt_completed"):
            assert [event.attempt for event in feed if event.kind == kind] == list(range(1, attempts + 1)), kind

    async def nothing_to_come(self, task_id: str) -> None:
        """The server says itself that nothing more is waited for."""
        why = await self.operator.why(task_id)
        assert not {link.kind for link in why.chain} & _AWAITED, why.summary

    def started(self, task_id: str, attempt: int = 1) -> bool:
        """Whether any worker, backend or site ever had the attempt."""
        key = task_id, attempt
        return self.control_server.has(*key) or key in self.backend.handles or key in self.site.posted

    async def nothing_alive(self, task_id: str, attempts: int) -> None:
        """No process of these attempts is left."""
        for number in range(1, attempts + 1):
            tree = ProcessTree(task_id, number, leader=None)
            await eventually(lambda tree=tree: not tree.find(), awaited=f"all of {task_id} to be gone")

    async def dead(self, handle: str, end: End) -> None:
        """Check which conflicts a worker gets whose attempt is over."""
        worker, cancelled = self.worker(handle), end.outcome is Outcome.CANCELLED
        code = "cancelled" if cancelled else "attempt-superseded"
        await conflict(code, worker.prompt())
        await conflict(code, worker.progress("still here"))
        await conflict("final-conflict" if end.final else code, worker.submit("an afterthought"))
        if cancelled:
            assert (await worker.heartbeat()).cancelled
        else:
            await conflict(code, worker.heartbeat())

    async def examined(self) -> None:
        """What `swarmhold doctor` looks at is in order: above all no row waits for something that will never come."""
        database = self.server.settings.get("SWARMHOLD_DATABASE_URL")
        place = load(flags={"data_dir": self.server.data_dir, "database_url": database}, environ={})
        found = await asyncio.to_thread(lambda: list(examine(place, deep=False)))
        assert [finding for finding in found if finding.state == "wrong"] == []

    async def follow(self) -> None:
        """Keep every event, over all lives of the server."""
        async for event in self.operator.events(after=0):
            if isinstance(event, Event):
                self.events.append(event)


async def conflict(code: str, call: object) -> None:
    """Await the call, which earns a 409 of this code."""
    with pytest.raises(ApiProblem) as refused:
        await call  # pyright: ignore[reportGeneralTypeIssues] - a coroutine of any result
    assert (refused.value.status, refused.value.code) == (409, code)


def settings(control_server: ControlServer, site: Site, more: Mapping[str, str]) -> dict[str, str]:
    """The settings of a server that has every kind of worker."""
    programs = {
        "child": {"path": sys.executable, "arguments": ["-I", "-S", str(child.__file__), str(control_server.port)]},
        "gone": {"path": "/nonexistent/program"},
    }
    return {
        DESK: str(control_server.port),
        "SWARMHOLD_SPAWN__PROGRAMS": json.dumps(programs),
        "SWARMHOLD_SPAWN__FUNCTIONS": json.dumps({"obey": f"{functions.__name__}:obey"}),
        "SWARMHOLD_SPAWN__HTTP_ALLOW": json.dumps([site.url]),
        "SWARMHOLD_SPAWN__HTTP_SECRETS": json.dumps([SECRET]),
        "SWARMHOLD_SPAWN__HTTP_TRIES": "2",
        "SWARMHOLD_ENGINE__STOP_GRACE": str(GRACE_S),
        **more,
    }


@contextlib.asynccontextmanager
async def open_stage(place: Path, **more: str) -> AsyncIterator[Stage]:
    """A running server with everybody around it; examined and stopped in the end. The backend is not yet connected."""
    async with contextlib.AsyncExitStack() as stack:
        control_server, site = (
            await stack.enter_async_context(open_control_server()),
            await stack.enter_async_context(open_site()),
        )
        server = stack.enter_context(server_process(place / "data", settings(control_server, site, more)))
        stack.push_async_callback(control_server.clear_away)
        await asyncio.to_thread(server.start)
        root_key = server.root_key()
        client = await stack.enter_async_context(SwarmholdClient(server.url, call_retry=CALL_RETRY))
        attached = await client.attach(root_key, "tester", hook_id=ID, bridge_id=ID, operator_backend_id=ID)
        made = Stage(
            server=server,
            client=client,
            operator=client.operator(attached.token),
            senior=await client.attach_senior(root_key, "mira"),
            root_key=root_key,
            control_server=control_server,
            site=site,
            backend=ConnectedBackend(),
        )
        stack.push_async_callback(made.disconnect)
        following = asyncio.create_task(made.follow())
        try:
            yield made
            await made.examined()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
