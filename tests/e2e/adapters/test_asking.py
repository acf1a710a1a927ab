"""Asking from a program: the same ask after a kill finds its answer, and an approval is given out once."""

import math

import jwt
import pytest

from app.domain.actions import digest_of as digest_of_the_server
from app.domain.json import Json
from swarmhold import ApiProblem, Hold, InvalidArgument, Operator, SwarmholdClient, Unanswered
from swarmhold.digests import digest_of
from tests.e2e.adapters.conftest import Asking

PROGRAM = """
import asyncio, os
from swarmhold import AlreadyConsumed, SwarmholdClient

ALLOWED = ["approve", "edit"]

async def main():
    async with SwarmholdClient(os.environ["SWARMHOLD_URL"]) as server:
        hold = server.asking(os.environ["SWARMHOLD_KEY"])
        print(await hold.ask("Which?", once="which", choices=["a", "b"]))
        try:
            done = await hold.approve("bash", {"command": "make ship", "n": 1}, once="ship", allowed=ALLOWED)
            print(done.decision, done.approved, done.arguments, done.edited_action)
            await hold.record_outcome(done, succeeded=True)
        except AlreadyConsumed as consumed:
            print("consumed before:", consumed.key)

asyncio.run(main())
"""
SYNC = """
import os
from swarmhold import SwarmholdClient

hold = SwarmholdClient(os.environ["SWARMHOLD_URL"]).asking(os.environ["SWARMHOLD_KEY"])
print(hold.ask_sync("Which?", once="which"))
done = hold.approve_sync("bash", {}, once="ship")
print(done.decision, done.approved, done.message, done.answered_by)
"""


def test_a_program_is_killed_at_each_wait_and_acts_once(asking: Asking) -> None:
    """It asks each thing once, gets the edited action once, and is told when it comes again."""
    first = asking.killed_while_it_waits(PROGRAM)
    asking.swarm.answer(first["key"], "b")
    second = asking.killed_while_it_waits(PROGRAM)
    assert second["action"] == {"name": "bash", "arguments": {"command": "make ship", "n": 1}}
    edited = {"name": "bash", "arguments": {"command": "make plan", "n": 1.5}}
    asking.swarm.answer(second["key"], {"decision": "edit", "edited_action": edited})
    assert asking.run(PROGRAM) == f"b\nedit True {edited['arguments']} {edited}"
    assert asking.run(PROGRAM) == f"b\nconsumed before: {second['key']}"
    settled = asking.swarm.question(second["key"])
    assert settled["outcome"]["status"] == "succeeded"
    assert asking.open() == []


def test_the_same_without_an_event_loop(asking: Asking) -> None:
    """The calls for plain programs; what is rejected is not consumed."""
    first = asking.killed_while_it_waits(SYNC)
    asking.swarm.answer(first["key"], "yes")
    second = asking.killed_while_it_waits(SYNC)
    asking.swarm.answer(second["key"], {"decision": "reject", "message": "not today"})
    for _ in range(2):
        assert asking.run(SYNC) == "yes\nreject False not today mira"


async def test_what_cannot_be_answered_raises(asking: Asking) -> None:
    """Withdrawn, asked with other content, an event loop where there must be none."""
    async with SwarmholdClient(asking.node.url) as server:
        hold = server.asking(asking.key)
        operator = await server.attach_operator(asking.key)
        asked = await operator.ask_alone("Which?", idempotency_key="gone")
        await operator.withdraw(asked.key)
        with pytest.raises(Unanswered):
            await hold.ask("Which?", once="gone")
        with pytest.raises(ApiProblem, match="idempotency-mismatch"):
            await hold.ask("Which one?", once="gone")
        with pytest.raises(InvalidArgument, match="_sync"):
            hold.ask_sync("Which?", once="gone")


async def test_a_session_that_ended_is_attached_anew(asking: Asking) -> None:
    """A question may wait longer than any session lives."""
    async with SwarmholdClient(asking.node.url) as server:
        tokens = [(await server.attach(asking.key)).token for _ in range(2)]
        left = iter(tokens)

        async def attach() -> Operator:
            return server.operator(next(left))

        hold = Hold(attach, lambda: pytest.fail("there is an event loop"))
        operator = server.operator(tokens[1])
        for once, jti in (("a", jwt.decode(tokens[0], options={"verify_signature": False})["jti"]), ("b", None)):
            asked = await operator.ask_alone("Which?", idempotency_key=once)
            asking.swarm.answer(asked.key, once)
            assert await hold.ask("Which?", once=once) == once
            if jti is not None:
                await operator.revoke_token(jti)
        assert next(left, None) is None


@pytest.mark.parametrize("number", [0.0, -0.0, 1.0, 1, 1.5, -2.5e-7, 1e-6, 1e20, 1e21, 123456789012345680000, 5e-324])
def test_a_digest_is_that_of_the_server(number: float) -> None:
    """Both write numbers, texts and the order of names as RFC 8785 says."""
    assert math.isfinite(number)
    action = {"name": "n", "arguments": {"\U0001f600": [number, True, None], "\ufb33": "é\u2028\n", "a": {}}}
    assert digest_of(action) == digest_of_the_server(Json.of(action))
