"""One client that asks the server, between the strikes, whether it works."""

import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import httpx

from tests.chaos.ledger import Ledger
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

VALUE = "x" * 100_000
WORKS_AGAIN_S = 60.0


@dataclass
class Probe:
    """Stores resources, each under a name of its own, and notes in the ledger what the server has acknowledged.

    Use it as an async context manager.
    """

    node: ServerProcess
    ledger: Ledger
    refused: int = 0
    _token: str | None = None
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def __aenter__(self) -> Self:
        # A node may be killed between two calls, so that no connection is kept.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.AsyncClient(base_url=self.node.url, trust_env=False, timeout=30, limits=limits)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def works(self) -> bool:
        """Store one more resource; return whether that was acknowledged."""
        return await self._stored(f"probe-{next(self._numbers)}", "small") == 200

    async def works_again(self) -> None:
        """Wait until the server takes work, as it has to within seconds."""
        await eventually(self.works, within=WORKS_AGAIN_S, awaited="the server to take work again")

    async def refusals(self, count: int) -> None:
        """Store large resources until so many were refused, each in the right words, by a server that is alive."""
        await self._attached()
        left = count
        while left:
            status = await self._stored(f"probe-{next(self._numbers)}", VALUE)
            if status == 503:
                left -= 1
                assert (await self._http.get("/healthz")).status_code == 200

    async def metric(self, name: str) -> float:
        """Return the value of a metric."""
        reply = await self._http.get("/metrics", headers=self._root)
        (line,) = [line for line in reply.text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    async def settles(self, name: str) -> None:
        """Wait until a gauge is at zero."""

        async def zero() -> bool:
            return await self.metric(name) == 0

        await eventually(zero, awaited=f"{name} to be 0")

    @property
    def _root(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.node.root_key()}"}

    async def _attached(self) -> str | None:
        if self._token is None:
            body = {"operator_id": "probe", "role": "operator", "ttl": 86_400}
            reply = await self._call(partial(self._http.post, "/v1/operator/sessions", json=body, headers=self._root))
            self._token = reply.json()["token"] if reply is not None and reply.status_code == 201 else None
        return self._token

    async def _stored(self, key: str, value: str) -> int | None:
        token = await self._attached()
        if token is None:
            return None
        put = partial(self._http.put, f"/v1/operator/resources/{key}", json=value)
        reply = await self._call(partial(put, headers={"Authorization": f"Bearer {token}"}))
        if reply is None:
            return None
        assert reply.status_code in (200, 204, 503), reply.text
        if reply.is_success:
            self.ledger.resources[key] = value
            return 200
        assert reply.json()["code"] == "store-unavailable", reply.text
        assert int(reply.headers["retry-after"]) >= 1
        self.refused += 1
        return 503

    async def _call(self, send: Any) -> httpx.Response | None:
        try:
            return await send()
        except httpx.TransportError:
            return None
