"""A small swarm over HTTP, for tests that need tasks and questions and not a client."""

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx

from tests.support.ports import NO_AUTHORITIES

OPERATOR = "/v1/operator"
WORKER = "/v1/worker"


@dataclass
class Swarm:
    """Tasks, workers and seniors of one node. Close it when done."""

    url: str
    root_key: str
    _http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A node may be killed and started between two calls, so that no connection is kept.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=NO_AUTHORITIES, limits=limits)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, credential: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The decoded reply to a call that must succeed."""
        headers["Authorization"] = f"Bearer {credential}"
        reply = self._http.request(method, path, json=body, headers=headers)
        assert reply.is_success, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def attach(self, role: str, name: str = "swarm") -> str:
        """The token of a new session."""
        body = {"operator_id": name, "role": role, "ttl": 3600}
        return self.call(self.root_key, "POST", f"{OPERATOR}/sessions", body)["token"]

    @cached_property
    def operator(self) -> str:
        """An operator's token."""
        return self.attach("operator")

    @cached_property
    def senior(self) -> str:
        """Another senior's token."""
        return self.attach("senior", "mira")

    def key(self, *roles: str) -> str:
        """A new API key with these roles."""
        body = {"name": f"test-{secrets.token_hex(4)}", "roles": roles}
        return self.call(self.root_key, "POST", "/v1/admin/keys", body)["key"]

    def start(self, directive: str = "Do it.", *, agent: str = "coder", **fields: Any) -> str:
        """The id of a new task."""
        body = {"agent": agent, "initial_directive": directive, **fields}
        return self.call(self.operator, "POST", f"{OPERATOR}/tasks", body)["id"]

    def dispatch(self, task_id: str, spawner: dict[str, Any] | None = None) -> dict[str, Any]:
        """A new attempt, by default of a worker that is here."""
        body = {"spawner": spawner or {"kind": "external"}}
        return self.call(self.operator, "POST", f"{OPERATOR}/tasks/{task_id}/dispatch", body)

    def worker(self, directive: str = "Do it.", *, agent: str = "coder", **fields: Any) -> tuple[str, str]:
        """A task and the handle of its worker."""
        task_id = self.start(directive, agent=agent, **fields)
        return task_id, self.dispatch(task_id)["worker_handle"]

    def ask(self, question: Any, *, agent: str = "coder", directive: str = "Do it.", **fields: Any) -> dict[str, Any]:
        """A question that a new worker asks about its task."""
        _, handle = self.worker(directive, agent=agent)
        return self.call(handle, "POST", f"{WORKER}/questions", {"question": question, **fields})

    def answer(self, key: str, value: Any) -> dict[str, Any]:
        """The other senior's answer."""
        return self.call(self.senior, "POST", f"/v1/senior/questions/{key}/answer", {"value": value})

    def question(self, key: str) -> dict[str, Any]:
        """A question as it stands."""
        return self.call(self.senior, "GET", f"/v1/senior/questions/{key}")

    def task(self, task_id: str) -> dict[str, Any]:
        """A task as it stands."""
        return self.call(self.operator, "GET", f"{OPERATOR}/tasks/{task_id}")
