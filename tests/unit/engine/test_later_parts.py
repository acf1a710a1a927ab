"""Each part that joined the engine later is built by itself, over a store in memory, and used."""

import pytest

from app.domain.access import Role
from app.domain.doors import DOOR, Door
from app.domain.errors import LinkNotFound
from app.domain.json import Json
from app.domain.namespaces import DEFAULT_ID
from app.domain.questions import Ask, QuestionStatus
from app.domain.skills import SkillSpec
from app.domain.tasks import Status
from app.engine.indexing import Indexing
from app.engine.links import AnswerLinks
from app.engine.ops import registrations
from app.engine.ops.links import LinkWish
from app.engine.ops.task_filters import TaskFilter
from app.engine.questions import Questions
from app.engine.refusals import Refusals
from app.engine.registrations import Registrations
from app.engine.selections import Selections
from app.engine.skills import Skills
from app.state import audit_log
from tests.support.backends import Calls, ScriptedHook
from tests.support.ground import CFG, ROOT, Ground

HOUR_MS = 3_600_000


async def test_answer_links(ground: Ground) -> None:
    """A link shows its question to whom it is given, and answers it once."""
    keys = ground.keys()
    await keys.ensure_root(ROOT)
    await keys.create(ROOT, "pat", frozenset({Role.SENIOR}), None, person=True)
    links = AnswerLinks(ground.transactions, layers=ground.layers, mint=ground.mint, cfg=CFG)
    questions = Questions(ground.transactions, layers=ground.layers, cfg=CFG)
    asked = await questions.ask_alone(await ground.token(), Ask(question=Json.of("?")))
    _, secret = await links.make(await ground.token(Role.SENIOR), asked.key, LinkWish(person="pat", ttl_ms=HOUR_MS))
    assert (await links.open(secret)).question.key == asked.key
    door = DOOR.set(Door.LINK)
    answered = await links.answer(secret, Json.of("so"), address="192.0.2.7")
    DOOR.reset(door)
    assert (answered.status, answered.answer) == (QuestionStatus.ANSWERED, Json.of("so"))
    with pytest.raises(LinkNotFound):
        await links.open(secret)


async def test_skills(ground: Ground) -> None:
    """A call of a published skill is a task in its queue."""
    keys, dispatcher = ground.keys(), ground.dispatcher()
    await keys.ensure_root(ROOT)
    skills = Skills(ground.transactions, keys=keys, dispatcher=dispatcher, cfg=CFG)
    spec = SkillSpec(name="dig", description="Dig.", agent="mole", queue="q", input_schema=Json.of({"type": "object"}))
    skill = await skills.create(ROOT, spec)
    assert [row.name for row in await skills.offered(skill.namespace)] == ["dig"]
    token = await ground.token()
    task_id = await skills.call(token, skill, Json.of({"deep": 1}))
    assert (await ground.tasks().read(token, task_id)).task.agent == "mole"


async def test_selections(ground: Ground) -> None:
    """All tasks that a filter selects are counted and cancelled."""
    selections = Selections(ground.transactions, dispatcher=ground.dispatcher(), cfg=CFG)
    token, chosen = await ground.token(), TaskFilter(agent="coder")
    await ground.task()
    await ground.task()
    assert await selections.count_cancellable(token, chosen) == 2
    changed = await selections.cancel(token, chosen)
    assert (changed.count, changed.skipped, changed.next_cursor) == (2, 0, None)
    assert await selections.counts(token, chosen) == {Status.CANCELLED: 2}


async def test_indexing(ground: Ground) -> None:
    """A task is found by a word of its directive once the feed was read."""
    indexing = Indexing(ground.transactions, bus=ground.bus, clock=ground.clock, poll_interval_s=1.0)
    selections = Selections(ground.transactions, dispatcher=ground.dispatcher(), cfg=CFG)
    token, chosen = await ground.token(), TaskFilter(query="do")
    await ground.task()
    assert sum((await selections.counts(token, chosen)).values()) == 0
    await indexing.catch_up()
    assert sum((await selections.counts(token, chosen)).values()) == 1


async def test_refusals(ground: Ground) -> None:
    """Refused credentials of a minute are one row of the audit log."""
    refusals = Refusals(ground.transactions, clock=ground.clock)
    for _ in range(3):
        refusals.count(source="192.0.2.7", kind="unknown key", fingerprint="f")
    await refusals.write_ended()
    ground.clock.advance(60)
    await refusals.write_ended()
    rows = await ground.transactions.read(lambda state: audit_log.page(state.db, 0))
    assert [(row.action, row.actor) for row in rows] == [("refused", "192.0.2.0/24")]
    assert rows[0].detail is not None
    assert rows[0].detail.value["count"] == 3


async def test_registrations(ground: Ground) -> None:
    """What is registered at a node has a row of it, until it is unregistered."""
    kept = Registrations(ground.transactions, registries=ground.registries, bus=ground.bus, node=lambda: "N-1")

    async def rows() -> list[tuple[int, str]]:
        await kept.reconcile()
        return [*await ground.transactions.read(lambda state: registrations.of_node(state, "N-1"))]

    registered = ground.registries.hooks.register("gate", ScriptedHook(Calls()))
    assert await rows() == [(DEFAULT_ID, "hook:gate")]
    registered.unregister()
    assert await rows() == []
