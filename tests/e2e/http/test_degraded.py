"""A node whose hints reach no other one says so, and serves on."""

from typing import Any

import httpx

from tests.conftest import StartServer
from tests.support.nats import running_nats
from tests.support.waiting import wait_until


def test_a_lost_bus_is_reported_and_nothing_is_refused(start_server: StartServer, postgres_url: str) -> None:
    """`/readyz` says `degraded`, with 200 and the reason, until the bus is back."""
    with running_nats() as nats:
        settings = {"SWARMHOLD_DATABASE_URL": postgres_url, "SWARMHOLD_BUS_URL": nats.url}
        node = start_server(settings=settings)

        def readiness() -> dict[str, Any]:
            reply = httpx.get(f"{node.url}/readyz", timeout=30, trust_env=False)
            assert reply.status_code == 200, reply.text
            return reply.json()

        assert readiness() == {"status": "ready"}
        nats.kill()
        wait_until(lambda: readiness()["status"] == "degraded")
        assert "NATS" in readiness()["bus"]
        nats.start()
        wait_until(lambda: readiness() == {"status": "ready"})
