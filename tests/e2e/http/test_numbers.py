"""Numbers come out of every door with the digits that they came in with, from each kind of store."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.domain.access import Role
from tests.support.serving import Node, served

OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"
DIGITS = "[1,1.10,1e5,1E+2,-0,0.1234567890123456789,20000000000000000001,1e400,-1.0e-400,9007199254740993]"
LIKE = DIGITS.replace("1.10", "1.1").replace("1e5", "100000").replace("-0,", "0,")
OTHER = DIGITS.replace("20000000000000000001", "20000000000000000002")
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A node."""
    async with served(store_url=store_url) as node:
        yield node


async def post(client: httpx.AsyncClient, path: str, body: str, **headers: str) -> httpx.Response:
    """Post a JSON text as it stands."""
    return await client.post(path, content=body, headers=JSON | headers)


async def test_a_resource_is_read_as_it_was_put(node: Node) -> None:
    """By an operator, whatever stands around the numbers."""
    operator = await node.operator()
    body = f' {{ "n" : {DIGITS} }} '
    assert (await operator.put(f"{OP}/resources/r", content=body, headers=JSON)).status_code == 204
    assert f'{{"n":{DIGITS}}}' in (await operator.get(f"{OP}/resources/r")).text


@pytest.mark.parametrize("door", ["submit", "result"])
async def test_a_final_keeps_its_digits_and_conflicts_by_value(node: Node, door: str) -> None:
    """An equal one in another spelling is the same, one that differs in the last digit is not."""
    operator = await node.operator()
    task, worker = await node.worker(operator)

    def body(value: str) -> str:
        return value if door == "submit" else f'{{"task_id":"{task}","value":{value}}}'

    assert (await post(worker, f"{WORK}/{door}", body(DIGITS))).status_code == 204
    assert (await post(worker, f"{WORK}/{door}", body(LIKE))).status_code == 204
    refused = await post(worker, f"{WORK}/{door}", body(OTHER))
    assert refused.status_code == 409, refused.text
    assert f'"last_result":{DIGITS}' in (await operator.get(f"{OP}/tasks/{task}")).text


async def test_outputs_and_their_events_keep_their_digits(node: Node) -> None:
    """In the list of outputs and in the feed."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    assert (await post(worker, f"{WORK}/output", f'{{"type":"partial","chunk":{DIGITS}}}')).status_code == 204
    assert DIGITS in (await operator.get(f"{OP}/tasks/{task}/attempts/1/output")).text


async def test_questions_and_answers_keep_their_digits(node: Node) -> None:
    """In question, choices and answer; of two choices beyond 2**53 the second is recorded as the second."""
    operator = await node.operator()
    _, worker = await node.worker(operator)
    senior = await node.operator(role=Role.SENIOR)
    choices = "[9007199254740992,9007199254740993,1.10]"
    asked = await post(worker, f"{WORK}/questions", f'{{"question":{DIGITS},"choices":{choices}}}')
    key = asked.json()["key"]
    shown = (await senior.get(f"{SENIOR}/questions/{key}")).text
    assert f'"question":{DIGITS}' in shown
    assert f'"choices":{choices}' in shown

    wrong = await post(senior, f"{SENIOR}/questions/{key}/answer", '{"value":9007199254740994}')
    assert wrong.json()["code"] == "answer-invalid"
    assert (await post(senior, f"{SENIOR}/questions/{key}/answer", '{"value":9007199254740993}')).status_code == 200
    assert '"answer":9007199254740993' in (await senior.get(f"{SENIOR}/questions/{key}")).text
    assert '"answer":9007199254740993' in (await worker.get(f"{WORK}/prompt")).text


async def test_idempotent_bodies_are_compared_by_exact_value(node: Node) -> None:
    """The same number in another spelling is the same body, another number is another one."""
    operator = await node.operator()
    _, worker = await node.worker(operator)

    async def emit(chunk: str) -> int:
        body = f'{{"type":"partial","chunk":{chunk}}}'
        return (await post(worker, f"{WORK}/output", body, **{"Idempotency-Key": "k"})).status_code

    assert [await emit(chunk) for chunk in (DIGITS, LIKE, OTHER)] == [204, 204, 422]


async def test_a_number_of_too_many_digits_is_refused_by_every_door(node: Node) -> None:
    """Before anything is computed with it, and the limit is named."""
    operator = await node.operator()
    _, worker = await node.worker(operator)
    huge = "1e999999999"
    replies = [
        await post(worker, f"{WORK}/submit", huge),
        await post(worker, f"{WORK}/output", f'{{"type":"partial","chunk":{huge}}}', **{"Idempotency-Key": "k"}),
        await post(worker, f"{WORK}/questions", f'{{"question":{huge}}}'),
        await operator.put(f"{OP}/resources/r", content=huge, headers=JSON),
    ]
    for reply in replies:
        problem = reply.json()
        assert (reply.status_code, problem["code"], problem["what"]) == (413, "payload-too-large", "digits"), problem
        assert problem["limit"] == 4096
