"""Creating twice by one idempotency key: the same object, and secrets that work."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role, Verb
from app.domain.errors import (
    AttemptSuperseded,
    IdempotencyMismatch,
    InvalidName,
    KeyNotFound,
    SpawnDepthExceeded,
)
from app.domain.json import Json
from app.domain.questions import Ask
from app.domain.sessions import SessionOptions
from app.domain.tasks import TaskSpec
from app.domain.tokens import Handle
from app.engine.ops.idempotency import Idempotency
from tests.support.swarms import EXTERNAL, Swarm, refused, unchanged

HOUR = timedelta(hours=1)
ROOT = "shk_" + "r" * 40
SPEC = TaskSpec(agent="a", initial_directive="b", labels={"n": "1"})

Creating = Callable[[Swarm, str, Idempotency], Awaitable[Any]]


async def task(swarm: Swarm, task_id: str, key: Idempotency) -> str:
    return (await swarm.engine.tasks.start(swarm.operator, SPEC, idempotency=key)).task.id


async def question(swarm: Swarm, task_id: str, key: Idempotency) -> str:
    ask = Ask(question=Json.of("?"))
    return (await swarm.engine.questions.ask(swarm.operator, ask, task_id=task_id, idempotency=key)).key


async def dispatch(swarm: Swarm, task_id: str, key: Idempotency) -> tuple[str, int]:
    made, _ = await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, idempotency=key)
    assert (await swarm.engine.workers.payload(Handle(str(made.handle)))).task_id == made.task_id
    return made.task_id, made.attempt


async def token(swarm: Swarm, task_id: str, key: Idempotency) -> str:
    made = await swarm.engine.credentials.mint(
        swarm.operator, agent_id="a", role=Role.OBSERVER, ttl=HOUR, idempotency=key
    )
    await swarm.engine.verify_token(made.token, Verb.POLL_TASK)
    return made.record.jti


async def session(swarm: Swarm, task_id: str, key: Idempotency) -> str:
    made = await swarm.engine.sessions.attach_by_key(ROOT, "o", Role.OPERATOR, HOUR, SessionOptions(), idempotency=key)
    await swarm.engine.heartbeat(made.token)
    return made.session.id


async def api_key(swarm: Swarm, task_id: str, key: Idempotency) -> str:
    made, text = await swarm.engine.keys.create(ROOT, "k", frozenset({Role.OPERATOR}), None, idempotency=key)
    assert text.startswith("shk_")
    return made.id


CREATING = [task, question, dispatch, token, session, api_key]


@pytest.fixture
async def pending(swarm: Swarm) -> str:
    """A task to do things to."""
    await swarm.engine.keys.ensure_root(ROOT)
    return await swarm.task()


@pytest.mark.parametrize("create", CREATING, ids=lambda create: create.__name__)
async def test_the_same_again_is_the_same(swarm: Swarm, pending: str, create: Creating) -> None:
    """One object, however often the call is repeated; the same key with another request is refused."""
    key = Idempotency("k", "request")
    first = await create(swarm, pending, key)
    # A repeated key gets a new secret, which the audit log says.
    aside = {"handles", "audit"}
    counts = {name: len(rows) for name, rows in (await swarm.dump()).items() if name not in aside}

    for _ in range(2):
        assert await create(swarm, pending, key) == first

    assert {name: len(rows) for name, rows in (await swarm.dump()).items() if name not in aside} == counts
    error = await unchanged(swarm, IdempotencyMismatch, create(swarm, pending, Idempotency("k", "other")))
    assert error.key == "k"


@pytest.mark.parametrize("create", CREATING, ids=lambda create: create.__name__)
async def test_of_many_at_once_one_is_made(swarm: Swarm, pending: str, create: Creating) -> None:
    """Racing repeats all get the one object."""
    key = Idempotency("k", "request")
    made = await asyncio.gather(*(create(swarm, pending, key) for _ in range(8)))
    assert len(set(made)) == 1


async def test_other_keys_make_others(swarm: Swarm, pending: str) -> None:
    """Keys of other callers, other calls and other names never meet."""
    key = Idempotency("k", "request")
    other = await swarm.engine.attach("other", Role.OPERATOR, HOUR)
    made = {
        await task(swarm, pending, key),
        await task(swarm, pending, Idempotency("l", "request")),
        (await swarm.engine.tasks.start(other, SPEC, idempotency=key)).task.id,
    }
    assert len(made) == 3
    assert (await question(swarm, pending, key)).startswith("R-")


async def test_attempts_under_one_workers_name_never_meet(swarm: Swarm, pending: str) -> None:
    """A worker that uses the same key in each of its jobs makes a task, and a question, of each of them."""
    key = Idempotency("child-1", "request")
    children: set[tuple[str | None, str]] = set()
    questions: set[tuple[str, str]] = set()
    jobs: set[str] = set()
    for _ in range(2):
        await swarm.engine.dispatcher.dispatch(swarm.operator, await swarm.task(), {"kind": "queue", "queue": "q"})
        claim = await swarm.engine.workers.claim(ROOT, queue="q", hold=timedelta(0), worker_name="w")
        assert claim is not None
        jobs.add(claim.payload.task_id)
        handle = Handle(claim.handle)
        made = (await swarm.engine.tasks.start(handle, SPEC, idempotency=key)).task
        again = (await swarm.engine.tasks.start(handle, SPEC, idempotency=key)).task
        assert made.id == again.id
        children.add((made.parent_task_id, made.id))
        asked = await swarm.engine.questions.ask(handle, Ask(question=Json.of("?")), idempotency=key)
        questions.add((asked.task_id, asked.key))
    assert {parent for parent, _ in children} == {task for task, _ in questions} == jobs
    assert len(children) == len(questions) == 2


async def test_tokens_under_one_agents_name_never_meet(swarm: Swarm, pending: str) -> None:
    """Tokens that were minted for different tasks are different callers, whatever their agent is called."""
    key = Idempotency("child-1", "request")
    parents: list[str | None] = []
    works = [await swarm.external() for _ in range(2)]
    for work in works:
        minted = await swarm.engine.credentials.mint(
            swarm.operator, agent_id="a", role=Role.WORKER, ttl=HOUR, task_id=work.task_id
        )
        parents.append((await swarm.engine.tasks.start(minted.token, SPEC, idempotency=key)).task.parent_task_id)
    assert parents == [work.task_id for work in works]


async def test_a_caller_is_itself_with_a_new_token(swarm: Swarm, pending: str) -> None:
    """Who attaches again under the same name goes on with its keys."""
    key = Idempotency("k", "request")
    first = await task(swarm, pending, key)
    again = await swarm.engine.attach("operator", Role.OPERATOR, HOUR)
    assert (await swarm.engine.tasks.start(again, SPEC, idempotency=key)).task.id == first


async def test_a_refusal_is_not_remembered(swarm: Swarm, pending: str) -> None:
    """The same key may be used again after a call that made nothing."""
    key = Idempotency("k", "request")
    wrong = TaskSpec(agent="", initial_directive="b")
    await unchanged(swarm, InvalidName, swarm.engine.tasks.start(swarm.operator, wrong, idempotency=key))
    await task(swarm, pending, key)
    work = await swarm.external()
    for _ in range(4):
        work = await swarm.external_child(work)
    for _ in range(2):
        await unchanged(
            swarm, SpawnDepthExceeded, swarm.engine.tasks.start(work.handle, SPEC, idempotency=Idempotency("d", "x"))
        )


async def test_a_repeat_shows_the_object_as_it_is_now(swarm: Swarm, pending: str) -> None:
    """Not as it was when it was made."""
    key = Idempotency("k", "request")
    task_id = await task(swarm, pending, key)
    await swarm.external(task_id)
    state = await swarm.engine.tasks.start(swarm.operator, SPEC, idempotency=key)
    assert (state.task.id, state.task.attempt) == (task_id, 1)


async def test_a_repeat_of_what_was_revoked_is_refused(swarm: Swarm, pending: str) -> None:
    """A token or key that was revoked does not come back by asking again; the caller's own is as good as ever."""
    key = Idempotency("k", "request")
    jti = await token(swarm, pending, key)
    await swarm.engine.credentials.revoke(swarm.operator, jti)
    await refused(KeyNotFound, token(swarm, pending, key))
    await refused(KeyNotFound, swarm.engine.credentials.revoke(swarm.operator, "W-none"))

    made, _ = await swarm.engine.keys.create(ROOT, "k", frozenset({Role.OPERATOR}), None, idempotency=key)
    await swarm.engine.keys.revoke(ROOT, made.id)
    again = swarm.engine.keys.create(ROOT, "k", frozenset({Role.OPERATOR}), None, idempotency=key)
    await refused(KeyNotFound, again)


async def test_only_the_last_secret_of_a_repeated_key_works(swarm: Swarm, pending: str) -> None:
    """The first answer was never seen, so its secret is replaced."""
    key = Idempotency("k", "request")
    texts = []
    for _ in range(2):
        _, text = await swarm.engine.keys.create(ROOT, "k", frozenset({Role.OPERATOR}), None, idempotency=key)
        texts.append(text)
    await swarm.engine.keys.check(texts[1], Role.OPERATOR)
    assert texts[0] != texts[1]


async def test_a_repeated_dispatch_of_an_ended_attempt_gives_a_spent_handle(swarm: Swarm, pending: str) -> None:
    """It names the attempt that was made then, and opens nothing."""
    key = Idempotency("k", "request")
    await dispatch(swarm, pending, key)
    await swarm.engine.tasks.mark(swarm.operator, pending, ok=False)
    made, _ = await swarm.engine.dispatcher.dispatch(swarm.operator, pending, EXTERNAL, idempotency=key)
    assert made.attempt == 1
    await refused(AttemptSuperseded, swarm.engine.workers.payload(Handle(str(made.handle))))
