"""Long values over HTTP: a preview or an address in a list, whole in the single read, and by the client."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from swarmhold import SwarmholdClient
from tests.support.serving import ROOT_KEY, Node, served

OP, WORK = "/v1/operator", "/v1/worker"
KIB = 1024
BIG = "x" * 100 * KIB
LIST_BYTES = 20 * KIB


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A node."""
    async with served(store_url=store_url) as node:
        yield node


OUTPUTS: list[dict[str, Any]] = [
    {"type": "progress", "note": BIG, "stage": "reading"},
    {"type": "partial", "chunk": [BIG, 20000000000000000001]},
    {"type": "artifact", "content": {"value": {"a": BIG}, "kind": "inline"}, "name": "report"},
    {"type": "partial", "chunk": {"kind": "ref"}},
]


async def test_long_outputs_are_listed_by_their_address(node: Node) -> None:
    """In whatever order their fields came; the last page has no cursor."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    for output in OUTPUTS:
        assert (await worker.post(f"{WORK}/output", json=output)).status_code == 204
    url = f"{OP}/tasks/{task}/attempts/1/output"

    first = await operator.get(url, params={"limit": 3})
    rest = (await operator.get(url, params={"after": first.json()["next_cursor"]})).json()

    noted, partial, artifact = first.json()["items"]
    assert len(first.content) <= LIST_BYTES
    assert (noted["stage"], noted["cut"]) == ("reading", ["note"])
    assert BIG.startswith(noted["note"])
    assert partial["chunk"]["kind"] == "ref"
    assert partial["chunk"]["bytes"] > len(BIG)
    assert (artifact["name"], artifact["content"]["href"]) == ("report", f"{url}/3")
    assert [(item["seq"], item["chunk"]) for item in rest["items"]] == [(4, {"kind": "ref"})]
    assert "cut" not in rest["items"][0]
    assert rest["next_cursor"] is None
    for seq, output in enumerate(OUTPUTS, 1):
        whole = (await operator.get(f"{url}/{seq}")).json()
        assert {name: whole[name] for name in output} == output
    missing = await operator.get(f"{url}/5")
    assert (missing.status_code, missing.json()["code"]) == (404, "output-not-found")


async def test_lists_show_previews_and_single_reads_everything(node: Node) -> None:
    """Of tasks, attempts and late results."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    await operator.post(f"{OP}/tasks/{task}/result", json={"value": BIG})
    await operator.post(f"{OP}/tasks/{task}/cancel", json={})
    late = await worker.post(f"{WORK}/submit", json=[BIG])
    url = f"{OP}/tasks/{task}"

    [item] = (await operator.get(f"{OP}/tasks")).json()["items"]
    [arrived] = (await operator.get(f"{url}/attempts/1/late")).json()["items"]

    assert late.status_code == 409
    assert item["cut"] == ["last_result"]
    assert BIG.startswith(item["last_result"])
    assert 4000 < len(item["last_result"]) <= 4 * KIB
    assert (arrived["value"], arrived["cut"]) == (None, ["value"])
    assert (await operator.get(f"{url}/attempts/1/late/0")).json()["value"] == [BIG]
    assert (await operator.get(f"{url}/attempts/1/late/1")).json()["code"] == "late-result-not-found"


async def test_the_client_reads_on_and_reads_whole(node: Node) -> None:
    """Pages and addresses are its own affair, unless a preview will do."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    for output in OUTPUTS * 14:
        assert (await worker.post(f"{WORK}/output", json=output)).status_code == 204
    await worker.post(f"{WORK}/submit", json=[BIG])
    token = operator.headers["Authorization"].removeprefix("Bearer ")

    async with SwarmholdClient("http://node", http=operator) as client:
        seat = client.operator(token)
        records = await seat.output(task, 1)
        previews = [one async for one in seat.outputs(task, 1, after=50, whole=False)]
        [attempt] = await seat.attempts(task)
        [shown] = await seat.attempts(task, whole=False)

    assert [one.seq for one in records] == list(range(1, len(OUTPUTS) * 14 + 2))
    assert records[1].chunk == OUTPUTS[1]["chunk"]
    assert records[-1].content == {"kind": "inline", "value": [BIG]}
    assert [one.seq for one in previews] == list(range(51, 58))
    assert previews[-1].cut == ["content"]
    assert attempt.final is not None
    assert attempt.final.value == [BIG]
    assert (shown.cut, shown.outputs) == (["final"], 57)


async def test_keys_come_in_pages(node: Node) -> None:
    """The cursor of one page leads to the next."""
    admin = node.as_(ROOT_KEY)
    made = [
        (await admin.post("/v1/admin/keys", json={"name": f"k{n}", "roles": ["worker"]})).json()["id"] for n in range(3)
    ]

    first = (await admin.get("/v1/admin/keys", params={"limit": 2})).json()
    rest = (await admin.get("/v1/admin/keys", params={"cursor": first["next_cursor"]})).json()

    assert len(first["items"]) == 2
    assert [key["id"] for key in (first["items"] + rest["items"])[-3:]] == made
    assert rest["next_cursor"] is None
