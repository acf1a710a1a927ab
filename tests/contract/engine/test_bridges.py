"""Senior bridges that are objects of this process: what they are shown, and when it is taken back."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from app.domain.access import Role
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, Question, QuestionStatus
from app.domain.tasks import Status
from app.engine.engine import Engine
from app.engine.sessions import OperatorInfo
from app.spawning.backends.protocols import BackendGone
from tests.support.swarms import EXTERNAL, Plan, Swarm, crash
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)

Reaction = Callable[[Question], Awaitable[None]]


class Bridge:
    """Keeps what it is shown, and reacts as the test says."""

    def __init__(self, reaction: Reaction | None = None) -> None:
        self.asked: list[str] = []
        self.taken_back: list[tuple[str, str]] = []
        self._reaction = reaction

    async def ask(self, question: Question) -> None:
        """An open question."""
        self.asked.append(question.key)
        if self._reaction is not None:
            await self._reaction(question)

    async def withdrawn(self, key: str, reason: str) -> None:
        """Nobody waits for it any more."""
        self.taken_back.append((key, reason))


async def asked(swarm: Swarm, bridge_id: str | None = None, task_id: str | None = None) -> str:
    """A question, of a task of its own unless one is named."""
    ask = Ask(question=Json.of("?"), bridge_id=bridge_id)
    return (await swarm.engine.questions.ask(swarm.operator, ask, task_id=task_id or await swarm.task())).key


async def test_a_bridge_is_shown_what_is_open_and_what_comes(swarm: Swarm) -> None:
    """A bridge gets its own questions and unaddressed ones, once each, and is notified when one is settled."""
    engine, bridge = swarm.engine, Bridge()
    before = [await asked(swarm, to) for to in ("mira", None, "other")]
    await engine.register_senior_bridge("mira", bridge)
    await eventually(lambda: len(bridge.asked) == 2)
    after = [await asked(swarm, to) for to in ("other", None, "mira")]
    await eventually(lambda: len(bridge.asked) == 4)
    assert set(bridge.asked) == {*before[:2], *after[1:]}

    async def is_noted() -> bool:
        row = await engine.questions.read(swarm.senior, after[2])
        return row.delivered_to.value == ["mira"]

    await eventually(is_noted)
    await engine.resume(before[0], "yes")
    task_id = (await engine.questions.read(swarm.senior, after[1])).task_id
    await engine.cancel_task(swarm.operator, task_id)
    await engine.resume(after[0], "not its own")
    await eventually(lambda: len(bridge.taken_back) == 2)
    assert bridge.taken_back == [(before[0], "answered"), (after[1], "withdrawn")]


async def test_an_escalated_question_is_shown_to_whom_it_goes(swarm: Swarm) -> None:
    """At its deadline, and to nobody before."""
    chief, mira = Bridge(), Bridge()
    await swarm.engine.register_senior_bridge("chief", chief)
    await swarm.engine.register_senior_bridge("mira", mira)
    ask = Ask(
        question=Json.of("?"),
        bridge_id="mira",
        deadline=swarm.clock() + 5000,
        on_deadline=OnDeadline.ESCALATE,
        escalate_to="chief",
    )
    key = (await swarm.engine.questions.ask(swarm.operator, ask, task_id=await swarm.task())).key
    await eventually(lambda: mira.asked)
    await swarm.pass_time(5)
    await eventually(lambda: chief.asked)
    assert chief.asked == mira.asked == [key]


async def test_an_inline_bridge_answers_its_sessions_worker(swarm: Swarm) -> None:
    """A worker's question goes to the bridge of the session that dispatched it, which may answer on the spot."""
    engine = swarm.engine

    async def answer(question: Question) -> None:
        await engine.resume(question.key, {"so": "be it"}, by="inline")

    inline, bystander = Bridge(answer), Bridge()
    await engine.register_senior_bridge("bystander", bystander)
    token = await engine.attach_with("op", Role.OPERATOR, HOUR, OperatorInfo(bridge=inline))
    work = await swarm.external()
    await engine.tasks.mark(swarm.operator, work.task_id, ok=False)
    dispatched, _ = await engine.dispatcher.dispatch(token, work.task_id, EXTERNAL)
    assert dispatched.handle is not None
    key = await engine.query_senior(await engine.credentials.attempt_token(work.task_id, 2), work.task_id, "?")

    async with asyncio.timeout(60):
        assert await engine.await_resume(key, HOUR) == {"so": "be it"}
    assert await swarm.status(work.task_id) is Status.RUNNING
    assert (inline.asked, bystander.asked) == ([key], [])


async def test_the_last_registration_is_shown_everything(swarm: Swarm) -> None:
    """A new holder of an id is shown all its open questions; the previous holder gets nothing more."""
    engine, old, new = swarm.engine, Bridge(), Bridge()
    first = await engine.register_senior_bridge("mira", old)
    keys = [await asked(swarm, "mira")]
    await eventually(lambda: old.asked)

    second = await engine.register_senior_bridge("mira", new)
    await engine.unregister_senior_bridge("mira", first)
    keys.append(await asked(swarm, "mira"))
    await eventually(lambda: len(new.asked) == 2)
    assert (old.asked, set(new.asked)) == (keys[:1], set(keys))

    await engine.unregister_senior_bridge("mira", second)
    await asked(swarm, "mira")
    again = Bridge()
    await engine.register_senior_bridge("mira", again)
    await eventually(lambda: len(again.asked) == 3)
    assert (len(old.asked), len(new.asked)) == (1, 2)


async def test_a_bridge_that_stumbles_is_shown_the_rest(swarm: Swarm) -> None:
    """An error costs one question its showing, perhaps until the bridge registers again; who is gone is left alone."""
    engine = swarm.engine

    async def stumble(question: Question) -> None:
        raise ValueError(question.key)

    async def leave(question: Question) -> None:
        raise BackendGone

    stumbling, leaving = Bridge(stumble), Bridge(leave)
    await engine.register_senior_bridge("s", stumbling)
    await engine.register_senior_bridge("l", leaving)
    keys = [await asked(swarm) for _ in range(3)]
    await eventually(lambda: set(stumbling.asked) == set(keys))
    await eventually(lambda: leaving.asked)
    assert len(leaving.asked) == 1
    assert (await engine.questions.read(swarm.senior, keys[0])).delivered_to.value == []
    back = Bridge()
    await engine.register_senior_bridge("l", back)
    await eventually(lambda: set(back.asked) == set(keys))


async def test_questions_survive_the_server_that_showed_them(plan: Plan) -> None:
    """After a restart a bridge that registers under the id gets the open questions, also when it registers first."""
    engine = plan.engine()
    await engine.start()
    swarm = await Swarm.over(engine, plan)
    bridge = Bridge()
    await engine.register_senior_bridge("mira", bridge)
    keys = [await asked(swarm, "mira") for _ in range(3)]
    await eventually(lambda: len(bridge.asked) == 3)
    await engine.resume(keys[0], "yes")
    await crash(engine)

    next_one: Engine = plan.engine()
    again = Bridge()
    await next_one.register_senior_bridge("mira", again)
    async with next_one:
        await eventually(lambda: len(again.asked) == 2)
        assert set(again.asked) == set(keys[1:])
        row = await next_one.questions.read(swarm.senior, keys[1])
        assert row.status is QuestionStatus.OPEN
