"""What stolen credentials, askers, readers and writers of the database can do, as SECURITY.md says it."""

import os
from collections.abc import AsyncIterator, Awaitable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from app.bootstrap.connections import ConnectionLimits
from app.bootstrap.keyring import open_keyring
from app.config import load
from app.domain.access import Role
from app.domain.errors import RoleViolation
from app.domain.json import Json
from app.domain.questions import Ask
from app.domain.sessions import SessionOptions
from app.domain.tasks import Status, TaskSpec
from app.domain.tokens import TokenSigner
from app.spawning.adapters.process import ProgramList
from app.spawning.processes.child import Child
from app.spawning.processes.programs import Program
from app.state import audit_log, schema
from app.state.state import State
from app.state.tables import QUESTIONS, TOKENS
from tests.support.clocks import HandClock
from tests.support.control import RecordedControl, job
from tests.support.swarms import DAY, EXTERNAL, ROOT_KEY, Plan, Swarm, Work

SCHEMA = Json('{"oneOf":[{"const":"DELETE","title":"No, keep everything"}]}')


@pytest.fixture
async def swarm(data_dir: Path) -> AsyncIterator[Swarm]:
    """A running engine over a file, with an operator, a senior and an observer."""
    plan = Plan(store_url=f"sqlite:///{data_dir / 'swarmhold.db'}", clock=HandClock())
    async with plan.engine() as engine:
        await engine.keys.ensure_root(ROOT_KEY)
        yield await Swarm.over(engine, plan)


async def ask(swarm: Swarm, work: Work, **fields: Any) -> str:
    """The key of a worker's question."""
    asked = Ask(question=Json('"Shall I?"'), **fields)
    return (await swarm.engine.questions.ask(work.handle, asked)).key


async def refusals(calls: list[Awaitable[object]]) -> int:
    """How many of the calls are refused by the role of their credential."""
    refused = 0
    for call in calls:
        try:
            await call
        except RoleViolation:
            refused += 1
    return refused


# Questions


async def test_a_question_binds_nobody_to_wait(swarm: Swarm) -> None:
    """The worker that asked finishes without the answer; an asker gives its task up."""
    work = await swarm.external()
    key = await ask(swarm, work)
    await swarm.submit(work, "done without you")
    assert await swarm.status(work.task_id) is Status.PASS
    assert (await swarm.engine.questions.read(swarm.senior, key)).status.value == "withdrawn"

    other = await swarm.external()
    await ask(swarm, other)
    await swarm.engine.cancel_task(swarm.operator, other.task_id)
    assert await swarm.status(other.task_id) is Status.CANCELLED


async def test_what_a_question_shows_are_the_askers_words(swarm: Swarm) -> None:
    """The server neither checks nor changes them: a title may say the opposite of its value."""
    choices, deadline = Json('["yes"]'), swarm.clock() + 1000
    key = await ask(swarm, await swarm.external(), answer_schema=SCHEMA, deadline=deadline, bridge_id="the-board")
    question = await swarm.engine.questions.read(swarm.senior, key)
    assert (question.question, question.answer_schema) == (Json('"Shall I?"'), SCHEMA)
    assert (question.deadline, question.bridge_id) == (deadline, "the-board")
    other = await ask(swarm, await swarm.external(), choices=choices)
    assert (await swarm.engine.questions.read(swarm.senior, other)).choices == choices


# Stolen credentials


async def test_an_observer_reads_everything_and_changes_nothing(swarm: Swarm) -> None:
    """Tasks, attempts, outputs, questions, sessions; every change is refused by its role."""
    engine, token, work = swarm.engine, swarm.observer, await swarm.external()
    await swarm.submit(work, "a result")
    assert (await engine.read_task_state(token, work.task_id)).task.last_result == Json('"a result"')
    assert (await engine.attempts.read(token, work.task_id, 1)).prompt == Json('"Do it."')
    assert (await engine.attempts.outputs(token, work.task_id, 1)).items
    assert (await engine.sessions.page(token)).items

    changes: list[Awaitable[object]] = [
        engine.start_task(token, TaskSpec(agent="a", initial_directive="d")),
        engine.dispatcher.dispatch(token, work.task_id, EXTERNAL),
        engine.cancel_task(token, work.task_id),
        engine.tasks.mark(token, work.task_id, ok=True),
        engine.tasks.override(token, work.task_id, ok=True),
        engine.tasks.inject_directive(token, work.task_id, "p"),
        engine.questions.answer(token, "Q", Json("1")),
        engine.resources.put(token, "r", Json("1")),
        engine.switch.pause(token),
        engine.credentials.mint(token, agent_id="a", role=Role.OBSERVER, ttl=DAY),
        engine.credentials.revoke(token, "W"),
    ]
    assert await refusals(changes) == len(changes)


async def test_a_senior_decides_and_starts_nothing(swarm: Swarm) -> None:
    """It answers, overrules, injects and pauses; starting, dispatching, cancelling and minting are refused."""
    engine, token, work = swarm.engine, swarm.senior, await swarm.external()
    await engine.questions.answer(token, await ask(swarm, work), Json("true"))
    await engine.tasks.inject_directive(token, work.task_id, "Do that.")
    await engine.tasks.override(token, work.task_id, ok=False)
    await engine.switch.pause(token)

    starts: list[Awaitable[object]] = [
        engine.start_task(token, TaskSpec(agent="a", initial_directive="d")),
        engine.dispatcher.dispatch(token, work.task_id, EXTERNAL),
        engine.cancel_task(token, work.task_id),
        engine.credentials.mint(token, agent_id="a", role=Role.OBSERVER, ttl=DAY),
        engine.resources.put(token, "r", Json("1")),
    ]
    assert await refusals(starts) == len(starts)


# Readers and writers of the database


async def dumped(swarm: Swarm) -> str:
    """Every cell of every table."""

    def run(state: State) -> str:
        return repr([state.db.query(f"SELECT * FROM {name}", ()) for name in schema.metadata.tables])  # noqa: S608 - names of the schema

    return await swarm.engine.store.read(run)


async def test_the_database_holds_no_credential(swarm: Swarm) -> None:
    """Neither root key, key, session token, minted token, attempt's token nor handle."""
    engine = swarm.engine
    _, key = await engine.keys.create(ROOT_KEY, "k", frozenset({Role.OPERATOR}), None)
    attached = await engine.sessions.attach_by_key(key, "o", Role.OPERATOR, DAY, SessionOptions())
    minted = await engine.credentials.mint(attached.token, agent_id="a", role=Role.OBSERVER, ttl=DAY)
    work = await swarm.external()
    token = await swarm.worker_token(work)
    found = await dumped(swarm)

    for secret in (ROOT_KEY, key, attached.token.text, minted.token.text, token.text, work.handle.text):
        assert secret not in found
        assert secret.rpartition(".")[2] not in found


async def test_content_is_clear_text_in_the_database(swarm: Swarm) -> None:
    """Directives, prompts, results, questions, answers and resources."""
    engine = swarm.engine
    work = await swarm.external(await swarm.task(directive="clear directive"))
    await engine.tasks.inject_directive(swarm.senior, work.task_id, "clear prompt")
    key = (await engine.questions.ask(work.handle, Ask(question=Json('"clear question"')))).key
    await engine.questions.answer(swarm.senior, key, Json('"clear answer"'))
    await engine.resources.put(swarm.operator, "r", Json('"clear resource"'))
    await swarm.submit(work, "clear result")
    found = await dumped(swarm)

    for content in ("directive", "prompt", "question", "answer", "resource", "result"):
        assert f"clear {content}" in found


async def test_the_key_ring_signs_tokens_and_chains_the_audit_log(swarm: Swarm, tmp_path: Path) -> None:
    """Its keys and the rows of the database are all that a valid token needs."""
    ring = open_keyring(tmp_path / "keys.json")
    claims = swarm.engine.signer.verify(swarm.operator)
    record = await swarm.engine.store.read(lambda state: TOKENS.get(state.db, claims.jti))
    assert record is not None

    def forged(signer: TokenSigner) -> str:
        return signer.sign(record.claims()).text

    assert forged(swarm.engine.signer) == swarm.operator.text
    other = TokenSigner(ring.signing, clock=swarm.clock)
    assert forged(other) != swarm.operator.text
    assert other.verify(other.sign(record.claims())).jti == record.jti
    assert all(ring.seal().has(key.kid) for key in ring.audit)


async def test_a_forged_answer_differs_from_the_audit_log(swarm: Swarm) -> None:
    """The log is whole, and its row has the digest of what was answered in fact."""
    key = await ask(swarm, await swarm.external())
    await swarm.engine.questions.answer(swarm.senior, key, Json("false"))

    def forge(state: State) -> None:
        QUESTIONS.update(state.db, key, answer=Json("true"))

    await swarm.engine.with_state("forge", forge)
    seal = swarm.engine.parts.seal
    rows, broken, row = await swarm.engine.store.read(
        lambda state: (
            audit_log.page(state.db, 0),
            audit_log.verify(state.db, seal),
            QUESTIONS.get(state.db, key),
        )
    )
    (answered,) = (one for one in rows if one.action == "question_answered" and one.target == key)
    assert broken is None
    assert answered.detail is not None
    assert row is not None
    assert row.answer is not None
    assert answered.detail.value["value_sha256"] == sha256(b"false").hexdigest()
    assert answered.detail.value["value_sha256"] != sha256(row.answer.text.encode()).hexdigest()


# The machine and the network


async def test_a_child_process_runs_as_the_servers_user(tmp_path: Path) -> None:
    """It may read what the server may."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("readable")
    programs = ProgramList({"sh": Program(path="/bin/sh", args=("-c", f"id -u; cat {secret}"))})
    try:
        worker = await programs.build({"kind": "process", "program": "sh"}).spawn(job(""), RecordedControl())
        assert isinstance(worker, Child)
        ended = await worker.join()
    finally:
        await programs.aclose()
    assert f"{os.geteuid()}\\nreadable" in repr(ended)


def test_the_servers_user_reads_its_secrets(tmp_path: Path) -> None:
    """Files of mode 0600 keep out other users, not the server's own."""
    path = tmp_path / "keys.json"
    made = open_keyring(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_uid == os.geteuid()
    assert open_keyring(path) == made


def test_the_default_is_loopback_and_plain_http() -> None:
    """Neither other machines nor TLS, unless something in front adds them."""
    settings = load(environ={}).settings
    assert settings.host == "127.0.0.1"
    assert settings.url() == "http://127.0.0.1:7777"


def test_limits_are_counted_per_source() -> None:
    """Another address begins anew, as far as descriptors allow."""
    limits = ConnectionLimits(per_source=1, overall=2)
    admitted = [limits.admit(source) is not None for source in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3")]
    assert admitted == [True, False, True, False]
