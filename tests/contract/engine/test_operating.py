"""Operators look at and change many things at once: the search, the counts, many tasks, workers and minutes."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role, Verb
from app.domain.errors import InvalidRequest, LoopPaused, RoleViolation
from app.domain.json import Json
from app.domain.limits import Limits
from app.domain.sessions import SessionOptions
from app.domain.tasks import Status
from app.engine.ops import pages
from app.engine.ops.indexing import TASKS_AT_ONCE
from app.engine.ops.minutes import MINUTE_MS, Minute
from app.engine.ops.task_filters import TaskFilter
from app.state import retention
from app.state.policies import RetentionPolicy
from tests.support.swarms import ROOT_KEY, Plan, Swarm, refused, with_cfg
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
QUEUE: dict[str, Any] = {"kind": "queue", "queue": "swarm"}


async def searched(swarm: Swarm, query: str, **wanted: Any) -> list[str]:
    """The ids of the tasks that a search finds."""
    page = await swarm.engine.tasks.page(swarm.operator, TaskFilter(query=query, **wanted))
    return [state.task.id for state in page.items]


async def blocked(swarm: Swarm, agent: str = "coder") -> str:
    """A task whose queued attempt was given up."""
    task_id = await swarm.task(agent)
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, QUEUE)
    await swarm.engine.tasks.mark(swarm.operator, task_id, ok=False)
    return task_id


# Search


async def test_a_search_finds_words_phrases_and_beginnings_in_what_a_task_says(swarm: Swarm) -> None:
    """Directive, result, agent and labels; whatever the case, accents and script; alike on both databases."""
    deploy = await swarm.task(
        "ops", 'Deploy the "blue-green" service to Zürich.\nThen rest.', labels={"team": "nightly"}
    )
    other = await swarm.task("coder", "検索 works; green comes after blue here.")
    work = await swarm.external(other)
    await swarm.submit(work, {"verdict": "it's naïve & done", "lines": [42]})
    await swarm.engine.indexing.catch_up()

    for query, found in (
        ("deploy", [deploy]),
        ("DEPL", [deploy]),
        ("zurich", [deploy]),
        ("ops", [deploy]),
        ("nightly team", [deploy]),
        ("green", [other, deploy]),
        ('"blue green"', [deploy]),
        ('"green comes"', [other]),
        ('"dep"', []),
        ("deploy works", []),
        ("naive 42", [other]),
        ("verdict", [other]),
        ("索", [other]),
        ("then", [deploy]),
        (deploy[:20], [t for t in (other, deploy) if t.startswith(deploy[:20])]),
        (deploy.upper(), [deploy]),
        ('\' OR "1"="1', []),
        ("a*b:c & | ! <-> (x)", []),
    ):
        assert await searched(swarm, query) == found, query
    assert await searched(swarm, "green", status=Status.PASS) == [other]
    assert await swarm.engine.selections.counts(swarm.operator, TaskFilter(query="green")) == {"pass": 1, "pending": 1}
    for nothing in ("", " .. ", '""'):
        await refused(InvalidRequest, searched(swarm, nothing))


async def test_the_index_follows_changes_and_forgets_what_is_deleted(swarm: Swarm) -> None:
    """A new result replaces the old one's words; retention removes the task's."""
    task_id = await swarm.task(directive="apples")
    for result in ("pears", "plums"):
        await swarm.engine.tasks.post_result(swarm.operator, task_id, Json.of(result))
        await swarm.engine.indexing.catch_up()
    assert [await searched(swarm, word) for word in ("apples", "pears", "plums")] == [[task_id], [], [task_id]]

    await swarm.engine.tasks.cancel(swarm.operator, task_id)
    swarm.clock.advance(3600)
    policy = RetentionPolicy(finished=timedelta(seconds=1))
    await swarm.engine.with_state("sweep", lambda state: retention.sweep(state, policy))
    await swarm.engine.indexing.catch_up()

    def words(state: Any) -> int:
        table = "searched_tasks" if state.db.dialect == "sqlite" else "task_words"
        return state.db.query(f"SELECT count(*) FROM {table}", ())[0][0]  # noqa: S608 - constants

    assert await swarm.engine.store.read(words) == 0


async def test_tasks_from_before_the_index_are_found_and_a_batch_may_be_done_twice(swarm: Swarm) -> None:
    """Older tasks are indexed page by page; starting over changes nothing."""
    ids = [await swarm.task(directive=f"number {n}") for n in range(TASKS_AT_ONCE + 20)]
    await swarm.engine.indexing.catch_up()
    for _ in range(2):
        assert await searched(swarm, "number 0") == [ids[0]]
        assert sum((await swarm.engine.selections.counts(swarm.operator, TaskFilter(query="number"))).values()) == len(
            ids
        )
        await swarm.engine.with_state(
            "forget", lambda state: state.db.change("DELETE FROM meta WHERE name = 'indexed'", ())
        )
        await swarm.engine.indexing.catch_up()


async def test_lists_are_narrowed_by_labels_and_time_and_turned_around(swarm: Swarm) -> None:
    """Several labels must all be there; a range of time includes its beginning and not its end."""
    ids, at = list[str](), list[int]()
    for n in range(4):
        at.append(swarm.clock())
        ids.append(await swarm.task(labels={"odd": str(n % 2), "n": str(n)}))
        swarm.clock.advance(1)

    async def listed(**wanted: Any) -> list[str]:
        page = await swarm.engine.tasks.page(swarm.operator, TaskFilter(**wanted))
        return [state.task.id for state in page.items]

    assert await listed(labels=(("odd", "1"), ("n", "3"))) == [ids[3]]
    assert await listed(labels=(("odd", "1"), ("n", "2"))) == []
    assert await listed(created_from=at[1], created_until=at[3]) == [ids[2], ids[1]]
    found, cursor = list[str](), None
    for _ in ids:
        page = await swarm.engine.tasks.page(swarm.operator, TaskFilter(oldest_first=True), limit=1, cursor=cursor)
        cursor = page.next_cursor
        found += [state.task.id for state in page.items]
    assert (found, cursor) == (ids, None)
    await refused(InvalidRequest, listed(labels=tuple((str(n), "x") for n in range(9))))


async def test_tasks_are_listed_by_how_long_they_took(swarm: Swarm) -> None:
    """From the first dispatch to the end, or until now; page after page while time goes on, none twice or missing."""
    never = await swarm.task()
    works = [await swarm.external() for _ in range(5)]
    ids = [work.task_id for work in works]
    for seconds, work in zip((5, 1, 3), works[:3], strict=True):
        swarm.clock.advance(seconds)
        await swarm.submit(work, ok=False)
    again = await swarm.external(ids[1])  # it goes on: its first attempt counts
    swarm.clock.advance(1)
    young = (await swarm.external()).task_id

    async def listed(order: Any, limit: int) -> list[str]:
        found, cursor = list[str](), None
        while True:
            wanted = TaskFilter(by_duration=order)
            page = await swarm.engine.tasks.page(swarm.operator, wanted, limit=limit, cursor=cursor)
            found += [state.task.id for state in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found
            swarm.clock.advance(2)

    # 10 s until now, the youngest first where equal; then 9 s, 5 s and nothing yet.
    longest = [ids[4], ids[3], ids[1], ids[2], ids[0], young]
    assert await listed("longest", 100) == longest
    assert await listed("longest", 1) == longest
    await swarm.submit(again)
    assert await listed("shortest", 2) == [ids[0], ids[2], young, ids[4], ids[3], ids[1]]
    assert never not in longest
    page = await swarm.engine.tasks.page(swarm.operator, TaskFilter(by_duration="longest", agent="nobody"))
    assert (page.items, page.next_cursor) == ([], None)
    [first] = (await swarm.engine.tasks.page(swarm.operator, TaskFilter(by_duration="longest"), limit=1)).items
    assert first.started_at == (await swarm.attempt(first.task.id, 1)).started_at
    for cursor in ("x", ids[0], "1.2.T-x"):
        wanted = TaskFilter(by_duration="longest")
        await refused(InvalidRequest, swarm.engine.tasks.page(swarm.operator, wanted, cursor=cursor))
    narrow = Limits(page_bytes=600)
    found = await swarm.engine.with_state(
        "narrow", lambda state: pages.tasks(state, narrow, 1, TaskFilter(by_duration="longest"), limit=9, cursor=None)
    )
    assert [state.task.id for state in found.items] == [ids[4]]
    assert found.next_cursor is not None


# Many tasks


async def test_many_tasks_are_counted_then_cancelled_page_by_page(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are over are left; what is below goes with its parent; a dry count changes nothing."""
    monkeypatch.setattr("app.engine.selections.PER_CALL", 3)
    wanted = TaskFilter(agent="crew")
    ids = [await swarm.task("crew") for _ in range(7)]
    work = await swarm.external(ids[0])
    child = await swarm.child(work)
    await swarm.submit(await swarm.external(ids[1]))
    other = await swarm.task("other")
    before = await swarm.dump()
    assert await swarm.engine.selections.count_cancellable(swarm.operator, wanted) == 6
    assert await swarm.dump() == before

    done, cursor = 0, None
    while True:
        changed = await swarm.engine.selections.cancel(swarm.operator, wanted, reason="enough", cursor=cursor)
        done, cursor = done + changed.count, changed.next_cursor
        if cursor is None:
            break
    assert done == 6
    assert [await swarm.status(id) for id in (ids[0], ids[1], ids[6], child, other)] == [
        Status.CANCELLED, Status.PASS, Status.CANCELLED, Status.CANCELLED, Status.PENDING
    ]  # fmt: skip
    assert await swarm.engine.selections.count_cancellable(swarm.operator, TaskFilter(ids=tuple(ids))) == 0


async def test_blocked_tasks_are_dispatched_again_as_they_were(swarm: Swarm) -> None:
    """Into the same queue; what has no attempt, or a worker of its own, is left and named."""
    first, second = await blocked(swarm, "crew"), await blocked(swarm, "crew")
    by_hand = (await swarm.external(await swarm.task("crew"))).task_id
    await swarm.engine.tasks.mark(swarm.operator, by_hand, ok=False)
    never = await swarm.task("crew")
    await swarm.engine.tasks.mark(swarm.operator, never, ok=False)
    wanted = TaskFilter(agent="crew")
    assert await swarm.engine.selections.count_retryable(swarm.operator, wanted) == 4

    await swarm.engine.switch.pause(swarm.senior)
    await refused(LoopPaused, swarm.engine.selections.retry(swarm.operator, wanted))
    await swarm.engine.switch.resume(swarm.senior)
    changed = await swarm.engine.selections.retry(swarm.operator, wanted)
    assert (changed.count, changed.skipped, changed.next_cursor) == (2, 2, None)
    assert {task_id for task_id, _ in changed.reasons} == {by_hand, never}
    for task_id in (first, second):
        attempt = await swarm.attempt(task_id)
        assert (attempt.attempt, attempt.queue, await swarm.status(task_id)) == (2, "swarm", Status.RUNNING)


async def test_a_selection_says_what_it_means(swarm: Swarm) -> None:
    """No empty filter, no ids beside conditions, and no worker."""
    selections, task_id = swarm.engine.selections, await swarm.task()
    await refused(InvalidRequest, selections.cancel(swarm.operator, TaskFilter()))
    await refused(InvalidRequest, selections.cancel(swarm.operator, TaskFilter(ids=(task_id,), agent="coder")))
    await refused(RoleViolation, selections.cancel(swarm.observer, TaskFilter(agent="coder")))
    token = await swarm.worker_token(await swarm.external())
    await refused(RoleViolation, selections.cancel(token, TaskFilter(agent="coder")))
    await refused(RoleViolation, selections.retry(token, TaskFilter(agent="coder")))
    assert await swarm.status(task_id) is Status.PENDING


# Workers


async def test_who_listens_where_and_holds_what(swarm: Swarm) -> None:
    """A parked claim listens; a claimed attempt is held; and `why` counts who could take what waits."""
    await swarm.root_key()
    claims = swarm.engine.workers.claim
    parked = asyncio.create_task(claims(ROOT_KEY, queue="idle", hold=HOUR, worker_name="ada"))
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, QUEUE)
    assert await claims(ROOT_KEY, queue="swarm", hold=timedelta(0), worker_name="bob")
    stuck = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, stuck, {"kind": "queue", "queue": "nobody"})

    async def listening() -> bool:
        rows, _ = await swarm.engine.reports.workers(swarm.operator)
        return [row.worker for row in rows] == ["ada", "bob"]

    await eventually(listening)
    (ada, bob), queues = await swarm.engine.reports.workers(swarm.operator)
    assert [(one.queue, one.listening, one.since) for one in ada.queues] == [("idle", True, swarm.clock())]
    assert (ada.held, bob.held, bob.holds[0].task_id, bob.key_name) == (0, 1, task_id, "root")
    assert [tuple(row) for row in queues] == [("idle", 1, 0), ("nobody", 0, 1), ("swarm", 1, 0)]
    why = await swarm.engine.tasks.why(swarm.operator, stuck)
    assert "0 workers listen on `nobody`; 1 on `idle`; 1 on `swarm`" in why["summary"]

    parked.cancel()
    await asyncio.wait({parked})
    swarm.clock.advance(60)
    (ada, bob), queues = await swarm.engine.reports.workers(swarm.operator)
    assert [one.listening for one in (*ada.queues, *bob.queues)] == [False, False]
    assert [tuple(row) for row in queues] == [("nobody", 0, 1)]
    swarm.clock.advance(3600)
    rows, _ = await swarm.engine.reports.workers(swarm.operator)
    assert [row.worker for row in rows] == ["bob"]


# Minutes


async def test_each_minute_is_counted_once_and_kept_for_a_day(swarm: Swarm) -> None:
    """What happened in it, and how things stood at its beginning; a restart changes nothing."""
    indexing, reports = swarm.engine.indexing, swarm.engine.reports
    swarm.clock.advance((MINUTE_MS - swarm.clock() % MINUTE_MS) / 1000)
    first = swarm.clock()
    await indexing.catch_up()
    await swarm.submit(await swarm.external())
    await swarm.task()
    await indexing.catch_up()
    swarm.clock.advance(60)
    await indexing.catch_up()
    await swarm.external()
    swarm.clock.advance(60)
    await indexing.catch_up()
    assert await reports.history(swarm.observer, 3) == [
        Minute(first - MINUTE_MS),
        Minute(first, created=2, started=1, passed=1),
        Minute(first + MINUTE_MS, created=1, started=1, pending=1),
    ]
    swarm.clock.advance(25 * 3600)
    await indexing.catch_up()
    assert not [row for row in (await swarm.dump())["minutes"] if row[1] <= first + MINUTE_MS]


# Sessions that only look


async def test_a_quiet_session_leaves_no_events_and_an_ended_one_is_no_longer_listed(swarm: Swarm) -> None:
    """It attaches, detaches and comes back unseen by the feed."""
    engine = swarm.engine
    before = len(await swarm.events())
    quiet = await engine.sessions.attach("quiet", Role.OBSERVER, HOUR, SessionOptions(quiet=True))
    await engine.detach(quiet)
    await engine.heartbeat(quiet)
    await engine.detach(quiet)
    assert len(await swarm.events()) == before
    for attached, who in ((True, {"operator", "senior", "observer"}), (False, {"quiet"})):
        page = await engine.sessions.page(swarm.operator, attached=attached)
        assert {row.operator_id for row in page.items} == who


async def test_a_quiet_session_ends_when_its_client_leaves_and_comes_back(swarm: Swarm) -> None:
    """The last connection of one that only looks is its presence; another session's, and a minted token's, are not."""
    engine = swarm.engine
    tokens = [
        await engine.sessions.attach(name, Role.OPERATOR, HOUR, SessionOptions(quiet=name == "quiet"))
        for name in ("quiet", "loud")
    ]
    quiet, loud = [await engine.credentials.authorize(token, Verb.SUBSCRIBE_EVENTS) for token in tokens]
    for caller in (quiet, loud, quiet._replace(session_id=None)):
        await engine.sessions.detach_left(caller)
    attached = [(await engine.sessions.read_own(token)).attached for token in tokens]
    assert attached == [False, True]
    await engine.heartbeat(tokens[0])
    await engine.sessions.detach_left(quiet._replace(jti=loud.jti))
    assert (await engine.sessions.read_own(tokens[0])).attached


@pytest.fixture
def plan(plan: Plan) -> Plan:
    """Claims may wait for an hour."""
    return with_cfg(plan, longest_hold_ms=3_600_000)
