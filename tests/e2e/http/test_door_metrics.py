"""Every request of a door is counted and timed, by what was called and how it ended."""

import re
from typing import Any

import pytest

from app.domain.access import Role
from app.http.door_settings import AapSettings, DoorSettings
from app.http.settings import HttpSettings
from tests.support.mcp_clients import about, connected, refused, started
from tests.support.serving import ROOT_KEY, Node, served

pytestmark = pytest.mark.one_node("counters are those of one process")

SENIOR = "/v1/senior"
EVENT = {"hook_event_name": "PreToolUse", "session_id": "s", "tool_name": "Bash", "tool_input": {}, "tool_use_id": "u"}
_SAMPLE = re.compile(
    r'^swarmhold_door_requests_(total|seconds_count)\{code="(.*)",door="(.*)",method="(.*)"\} (\S+)$', re.MULTILINE
)


async def _counts(node: Node) -> dict[tuple[str, str, str], float]:
    """The requests by door, method and code; as many were timed."""
    found: dict[str, dict[tuple[str, str, str], float]] = {"total": {}, "seconds_count": {}}
    for name, code, door, method, value in _SAMPLE.findall((await node.as_(ROOT_KEY).get("/metrics")).text):
        found[name][door, method, code] = float(value)
    assert found["total"] == found["seconds_count"]
    return found["total"]


async def test_each_door_is_counted_by_method_and_code() -> None:
    """What succeeds, what a tool or the protocol refuses, and who is nobody; no client's own word is a label."""
    async with served(HttpSettings(doors=DoorSettings(aap=AapSettings(enabled=True)))) as node:
        key = await node.key("k", Role.OPERATOR)
        async with connected(node.url, key) as client:
            question = (await started(client, "ask_human", question="?"))["taskId"]
            await client.call_tool("ask_human", {})
            await about(client, "tasks/get", question)
            assert await refused(client, "tasks/get", "R-none")
            assert await refused(client, "tasks/own-word", question)
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accept = {"Accept": "application/json, text/event-stream"}
        assert (await node.as_("shk_" + "x" * 40).post("/mcp", json=ping, headers=accept)).status_code == 401
        assert (await node.as_(key).post("/mcp", content=b"{", headers=accept)).status_code == 400

        hook = "/v1/doors/claude-code/hook"
        for credential, event in ((key, EVENT), ("shk_" + "x" * 40, EVENT), (key, {"hook_event_name": "Other"})):
            await node.as_(credential).post(hook, json=event)
        await node.as_(key).post(
            "/v1/doors/codex/hook", params={"hold": 0}, json=EVENT | {"hook_event_name": "PermissionRequest"}
        )

        person: dict[str, Any] = {"name": "pat", "roles": ["senior"], "person": True}
        await node.as_(ROOT_KEY).post("/v1/admin/keys", json=person)
        senior = await node.operator(Role.SENIOR)
        link = (await senior.post(f"{SENIOR}/questions/{question}/links", json={"person": "pat", "ttl": 600})).json()
        secret = link["url"].partition("#")[2]
        for call, body in (("open", {}), ("answer", {"value": 1}), ("open", {}), ("answer", {"value": 1})):
            await node.as_(None).post(f"/v1/links/{call}", json={"link": secret, **body})

        once, submission = {"Idempotency-Key": "k"}, {"tool": "t", "arguments": {}, "timeout": "1h"}
        for credential, body in ((key, submission), (key, {}), ("shk_" + "x" * 40, submission)):
            await node.as_(credential).post("/aap/v1/requests", json=body, headers=once)

        counts = await _counts(node)
        assert {key: value for key, value in counts.items() if key[1] not in ("server/discover", "tools/list")} == {
            ("mcp", "tools/call", "ok"): 1,
            ("mcp", "tools/call", "invalid-body"): 1,
            ("mcp", "tasks/get", "ok"): 1,
            ("mcp", "tasks/get", "-32602"): 1,
            ("mcp", "other", "-32601"): 1,
            ("mcp", "other", "unauthenticated"): 1,
            ("mcp", "other", "http-400"): 1,
            ("hook", "claude-code/PreToolUse", "ok"): 1,
            ("hook", "claude-code/PreToolUse", "unauthenticated"): 1,
            ("hook", "claude-code/other", "invalid-body"): 1,
            ("hook", "codex/PermissionRequest", "ok"): 1,
            ("aap", "create", "ok"): 1,
            ("aap", "create", "invalid-body"): 1,
            ("aap", "create", "unauthenticated"): 1,
            ("link", "open", "ok"): 1,
            ("link", "open", "link-not-found"): 1,
            ("link", "answer", "ok"): 1,
            ("link", "answer", "link-not-found"): 1,
        }
