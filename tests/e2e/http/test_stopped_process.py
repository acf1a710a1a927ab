"""A server process that was stopped settles no worker by the silence that it caused."""

import contextlib
import os
import signal
import time

from tests.conftest import StartServer
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

LEASE_S = 5.0
STOPPED_S = 1.5 * LEASE_S


def _worker(swarm: Swarm) -> tuple[str, str]:
    """A task's id, and the handle of a worker of it whose heartbeats are recorded."""
    task_id = swarm.start()
    body = {"spawner": {"kind": "external"}, "lease": LEASE_S}
    handle = swarm.call(swarm.operator, "POST", f"/v1/operator/tasks/{task_id}/dispatch", body)["worker_handle"]
    swarm.call(handle, "POST", "/v1/worker/heartbeat")
    return task_id, handle


def test_workers_outlive_a_server_that_stood_still(start_server: StartServer) -> None:
    """Stopped for longer than a lease and continued, it takes the heartbeat and the result of a ready worker."""
    node = start_server()
    with contextlib.closing(Swarm(node.url, node.root_key())) as swarm:
        task_id, handle = _worker(swarm)
        os.kill(node.pid, signal.SIGSTOP)
        try:
            continue_at = time.monotonic() + STOPPED_S
            wait_until(lambda: time.monotonic() >= continue_at, within=STOPPED_S * 5)
        finally:
            os.kill(node.pid, signal.SIGCONT)
        wait_until(lambda: "heartbeats_not_recorded" in node.logs(), awaited="the server to notice that it stood still")

        assert not swarm.call(handle, "POST", "/v1/worker/heartbeat")["cancelled"]
        swarm.call(handle, "POST", "/v1/worker/submit?ok=true", "done")
        task = swarm.task(task_id)
        assert (task["status"], task["attempt"]) == ("pass", 1)


def test_workers_outlive_a_server_that_was_away(start_server: StartServer) -> None:
    """Killed and started again after a lease, it takes the heartbeat of a worker, and then loses one that is silent."""
    node = start_server()
    with contextlib.closing(Swarm(node.url, node.root_key())) as swarm:
        task_id, handle = _worker(swarm)
        node.kill()
        continue_at = time.monotonic() + LEASE_S
        wait_until(lambda: time.monotonic() >= continue_at, within=LEASE_S * 5)
        node.start()

        assert not swarm.call(handle, "POST", "/v1/worker/heartbeat")["cancelled"]
        wait_until(
            lambda: swarm.task(task_id)["status"] == "blocked", within=60, awaited="the silent worker to be lost"
        )
