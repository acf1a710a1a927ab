"""The ring of a database, and a node that reads it again when another one has changed it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.bootstrap import shared_ring
from app.bootstrap.keyring import Keyring
from app.bootstrap.seals import Seals
from app.bootstrap.server import Server
from app.cli import database
from app.config import Settings, load
from app.domain.access import Role, Verb
from app.domain.errors import BadSignature
from app.domain.json import Json
from app.domain.questions import Ask
from app.domain.tasks import TaskSpec
from app.domain.tokens import CapToken, SigningKey, TokenSigner

HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str) -> Settings:
    """Those of a node on a PostgreSQL database."""
    given = {"SWARMHOLD_DATABASE_URL": postgres_url, "SWARMHOLD_ROOT_KEY": "shk_" + "r" * 40}
    return load(environ={**given, "SWARMHOLD_DATA_DIR": str(tmp_path / "node")}).settings


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A node that has started."""
    server = await Server.build(settings, port=7777)
    await server.start()
    yield server
    await server.stop()


def rotate(settings: Settings) -> Keyring:
    """What the command does."""
    seals = Seals.of(settings)
    return database.change_beside(settings, lambda state: shared_ring.change(state, seals, Keyring.rotated))


async def test_nodes_that_start_together_have_one_ring(settings: Settings) -> None:
    """Whoever is first makes it."""
    rings = [await shared_ring.find_keyring(settings) for _ in range(3)]
    assert len({sealed for _, sealed in rings}) == 1
    assert len({ring.digests for ring, _ in rings}) == 1


async def test_a_token_of_another_node_is_good_at_once(server: Server, settings: Settings) -> None:
    """Although this one has not read the rotated ring yet: in calls, reads, waits and lookups of every kind."""
    engine = server.engine
    token = await engine.attach("ann", Role.OPERATOR, HOUR)
    claims = engine.signer.verify(token)

    async def elsewhere() -> CapToken:
        """The session's token as a node signs it that rotated just now."""
        return TokenSigner((await asyncio.to_thread(rotate, settings)).signing).sign(claims)

    task_id = await engine.start_task(await elsewhere(), TaskSpec(agent="a", initial_directive="d"))
    assert (await engine.read_task_state(await elsewhere(), task_id)).task.id == task_id
    asked = await engine.questions.ask(token, Ask(question=Json.of("?")), task_id=task_id)
    other_id = await engine.start_task(token, TaskSpec(agent="a", initial_directive="d"))
    assert not (await engine.questions.watch(await elsewhere(), asked.key, timedelta(0)))[1]
    dispatched, _ = await engine.dispatcher.dispatch(await elsewhere(), other_id, {"kind": "external"})
    assert dispatched.attempt == 1


async def test_a_forged_key_id_is_refused(server: Server) -> None:
    """Many of them cost one look together."""
    forger = TokenSigner([SigningKey("forged", b"f" * 32)])
    token = forger.sign(server.engine.signer.verify(await server.engine.attach("ann", Role.OPERATOR, HOUR)))
    calls = (server.engine.verify_token(token, Verb.READ_TRACE) for _ in range(50))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {BadSignature}


async def test_a_ring_that_cannot_be_opened_leaves_the_one_in_use(server: Server, settings: Settings) -> None:
    """As after `keys reseal` with a key that this node does not have."""
    token = await server.engine.attach("ann", Role.OPERATOR, HOUR)
    others = load(environ={"SWARMHOLD_SEAL_KEY": "s" * 32, "SWARMHOLD_ROOT_KEY": "shk_" + "r" * 40}).settings
    await asyncio.to_thread(
        database.change_beside,
        settings,
        lambda state: shared_ring.change(state, Seals.of(others), Keyring.rotated),
    )
    assert server.ring_watch is not None
    assert not await server.ring_watch.look()
    await server.engine.verify_token(token, Verb.READ_TRACE)
