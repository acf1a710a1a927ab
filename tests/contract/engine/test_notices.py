"""Notices of chat webhooks: what they say, the answer links in them, and what is remembered of them."""

from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.answer_links import new_secret
from app.domain.errors import LinkNotFound, WebhookInvalid
from app.domain.events import Event, EventKind
from app.domain.json import Json
from app.domain.notices import Content, Notice
from app.domain.questions import Question
from app.domain.webhooks import Webhook, WebhookFormat, WebhookSpec, WebhookStatus
from app.engine.ops import notices, webhooks
from app.engine.ops.notices import NoticeParts
from app.engine.ops.webhooks import Failure
from app.state import audit_log, retention
from app.state.policies import RetentionPolicy
from app.state.tables import ANSWER_LINKS, API_KEYS, WEBHOOK_MESSAGES, WEBHOOKS
from tests.support.desks import YES, Desk
from tests.support.swarms import DAY, Swarm, unchanged


async def root_row(swarm: Swarm) -> Any:
    """The row of the root key."""
    key = swarm.engine.keys.digest(await swarm.root_key())
    return await swarm.engine.store.read(
        lambda state: next(row for row in API_KEYS.search().all(state.db) if row.digest == key)
    )


async def hook(desk: Desk, **fields: Any) -> Webhook:
    """A chat webhook of the root key, with answer links for Pat."""
    root = await root_row(desk.swarm)
    asked = {"name": "chat", "url": "https://chat.example/x", "format": WebhookFormat.SLACK, "links": "pat"} | fields
    return await desk.swarm.engine.store.transact(
        "make", lambda state: webhooks.create(state, WebhookSpec(**asked), namespace=1, by=root)
    )


async def event(desk: Desk, kind: EventKind, question: Question | None = None) -> Event:
    """The latest event of this kind about the question."""
    found = await desk.swarm.events((question or desk.question).task_id)
    return [one for one in found if one.kind == kind][-1]


async def told(desk: Desk, row: Webhook, about: Event) -> tuple[Notice | None, str]:
    """What the webhook says about an event, and the secret that was at hand for it."""
    secret = new_secret()
    mint = desk.swarm.plan.parts().mint
    parts = NoticeParts(
        cfg=desk.swarm.plan.cfg, names=lambda _: "default", secret=secret, digest=mint.keyed_digest(secret)
    )
    row = await desk.swarm.engine.store.read(lambda state: WEBHOOKS.get(state.db, row.id)) or row
    found = await desk.swarm.engine.store.transact("tell", lambda state: notices.notice(state, parts, row, about))
    return found, secret


async def take(desk: Desk, row: Webhook, notice: Notice, reference: str | None = None) -> None:
    """Let the receiver have taken a message."""
    await desk.swarm.engine.store.transact("took", lambda state: notices.sent(state, row, notice, reference))


async def test_each_message_has_a_link_of_its_own(desk: Desk) -> None:
    """For the person, by the right of the webhook's creator; the same message again has its link with a new secret."""
    row, about = await hook(desk), await event(desk, EventKind.SENIOR_QUERIED)
    first, lost = await told(desk, row, about)
    again, secret = await told(desk, row, about)

    assert first is not None
    assert again is not None
    assert (first.id, again.id) == (f"{row.id}.{about.cursor}",) * 2
    assert again.link == f"{desk.swarm.plan.cfg.base_url}/a#{secret}"
    links = await desk.swarm.engine.store.read(lambda state: ANSWER_LINKS.search().all(state.db))
    assert [(link.key_id, link.made_by) for link in links] == [(desk.ids["pat"], f"key:{row.key_id}")]
    assert lost not in repr(await desk.swarm.dump())
    assert secret not in repr(await desk.swarm.dump())
    with pytest.raises(LinkNotFound):
        await desk.answer(lost)
    assert (await desk.answer(secret)).answered_by == "pat"
    actions = await desk.swarm.engine.store.read(lambda state: audit_log.page(state.db, 0, 1000))
    assert [one.key_id for one in actions if one.action.startswith("link_")] == [row.key_id] * 2


async def closed_to_links(desk: Desk) -> Question:
    return await desk.ask(require="signed_in")


async def of_other_doors(desk: Desk) -> Question:
    return await desk.ask(doors=("console", "mcp"))


async def asked_by_the_person(desk: Desk) -> Question:
    return await desk.ask(await desk.attach("asker", Role.OPERATOR))


async def when_the_person_left(desk: Desk) -> Question:
    await desk.swarm.engine.keys.revoke(await desk.swarm.root_key(), desk.ids["pat"])
    return await desk.ask()


async def when_the_creator_left(desk: Desk) -> Question:
    root = await root_row(desk.swarm)
    await desk.swarm.engine.store.transact(
        "expire", lambda state: API_KEYS.update(state.db, root.id, expires_at=desk.swarm.clock())
    )
    return await desk.ask()


@pytest.mark.parametrize(
    "make", [closed_to_links, of_other_doors, asked_by_the_person, when_the_person_left, when_the_creator_left]
)
async def test_there_are_messages_without_a_link(desk: Desk, make: Any) -> None:
    """They lead to the console, and nothing else of them is missing."""
    await desk.key("asker", Role.OPERATOR, Role.SENIOR)
    row = await hook(desk, links="asker" if make is asked_by_the_person else "pat")
    question = await make(desk)
    found, secret = await told(desk, row, await event(desk, EventKind.SENIOR_QUERIED, question))
    assert found is not None
    assert found.link == f"{desk.swarm.plan.cfg.base_url}/console#/inbox/{question.key}"
    assert (found.text, found.has_answer_link) == ("May I?", False)
    assert secret not in repr(found)
    assert await desk.swarm.engine.store.read(lambda state: ANSWER_LINKS.search().all(state.db)) == []


async def test_what_closes_a_question_follows_its_message(desk: Desk) -> None:
    """Who answered, with the receiver's id of the first message; nothing where no message was sent."""
    row, silent = await hook(desk), await hook(desk)
    asked, _ = await told(desk, row, await event(desk, EventKind.SENIOR_QUERIED))
    await told(desk, silent, await event(desk, EventKind.SENIOR_QUERIED))
    assert asked is not None
    await take(desk, row, asked, "77")
    await desk.swarm.engine.questions.answer(desk.swarm.senior, desk.question.key, YES)
    answered = await event(desk, EventKind.SENIOR_ANSWERED)

    found, _ = await told(desk, row, answered)
    assert found is not None
    assert (found.heading, found.reference, found.has_answer_link) == ("Answered by senior", "77", False)
    assert (await told(desk, silent, answered))[0] is None
    assert (await told(desk, row, await event(desk, EventKind.SENIOR_QUERIED)))[0] is None
    await take(desk, row, found)
    assert (await told(desk, row, answered))[0] is None


@pytest.mark.parametrize(
    ("content", "shown"), [(Content.NONE, None), (Content.SUMMARY, "x" * 500 + "…"), (Content.FULL, "x" * 600)]
)
async def test_so_much_of_a_question_leaves_the_server(desk: Desk, content: Content, shown: str | None) -> None:
    """Title, question and action alike; who asks, the deadline and the link are always there."""
    row = await hook(desk, content=content)
    deadline = desk.swarm.clock() + 60_000
    question = await desk.ask(
        question=Json.of("x" * 600),
        title="Ship",
        action=Json.of({"name": "ship", "arguments": {"to": "prod"}}),
        deadline=deadline,
    )
    found, _ = await told(desk, row, await event(desk, EventKind.SENIOR_QUERIED, question))
    assert found is not None
    assert found.text == shown
    assert (found.title, found.action) == (None, None) if shown is None else ("Ship", 'ship {"to":"prod"}')
    assert dict(found.facts).keys() == {"Agent", "Asked by", "Deadline", "Task"}
    assert found.has_answer_link


async def test_a_blocked_task_says_why(desk: Desk) -> None:
    """With a link to it in the console."""
    row = await hook(desk, links=None)
    work = await desk.swarm.external()
    await desk.swarm.submit(work, "the disk is full", ok=False)
    found = [one for one in await desk.swarm.events(work.task_id) if one.kind == EventKind.TASK_BLOCKED]
    notice, _ = await told(desk, row, found[-1])
    assert notice is not None
    assert (notice.heading, notice.text) == ("coder is blocked", "the disk is full")
    assert notice.link.endswith(f"/console#/tasks/{work.task_id}")
    assert notice.key is None


async def test_what_was_sent_is_forgotten(desk: Desk) -> None:
    """With the webhook, and by retention with the task."""
    row, other = await hook(desk), await hook(desk)
    for one in (row, other):
        notice, _ = await told(desk, one, await event(desk, EventKind.SENIOR_QUERIED))
        assert notice is not None
        await take(desk, one, notice)

    async def remembered() -> list[str]:
        rows = await desk.swarm.engine.store.read(lambda state: WEBHOOK_MESSAGES.search().all(state.db))
        return [one.webhook_id for one in rows]

    await desk.swarm.engine.store.transact("delete", lambda state: webhooks.delete(state, other.id, by="root"))
    assert await remembered() == [row.id]
    await desk.swarm.engine.questions.withdraw(desk.swarm.operator, desk.question.key)
    desk.swarm.clock.advance(timedelta(days=400).total_seconds())
    while await desk.swarm.engine.store.transact("sweep", lambda s: retention.sweep(s, RetentionPolicy())):
        pass
    assert await remembered() == []


async def test_a_failure_about_what_is_closed_meanwhile_is_over(desk: Desk) -> None:
    """The next failure, days later, does not pause the webhook as if it had failed all the time."""
    row, about = await hook(desk, after=0), await event(desk, EventKind.SENIOR_QUERIED)
    failure = Failure(detail="away", pause_ms=1, retry_to=about.cursor)

    async def fail() -> Webhook | None:
        def run(state: Any) -> Webhook | None:
            webhooks.failed(state, WEBHOOKS.get(state.db, row.id) or row, failure, pause_after_ms=1000)
            return WEBHOOKS.get(state.db, row.id)

        return await desk.swarm.engine.store.transact("fail", run)

    failing = await fail()
    assert failing is not None
    assert failing.failing_since is not None
    await desk.swarm.engine.store.transact("skip", lambda state: webhooks.advance(state, row, about.cursor, 0))
    desk.swarm.clock.advance(DAY.total_seconds())
    again = await fail()
    assert again is not None
    assert (again.status, again.failures) == (WebhookStatus.ACTIVE, 1)


@pytest.mark.parametrize("person", ["nobody", "agent", "reader"])
async def test_links_are_for_people(desk: Desk, person: str) -> None:
    """The key of an agent, of a reader and an unknown one make no webhook."""
    await desk.key("agent", Role.SENIOR, person=False)
    await desk.key("reader", Role.OBSERVER)
    root = await root_row(desk.swarm)
    spec = WebhookSpec(name="chat", url="https://chat.example/x", format=WebhookFormat.SLACK, links=person)

    def make(state: Any) -> Webhook:
        return webhooks.create(state, spec, namespace=1, by=root)

    error = await unchanged(desk.swarm, WebhookInvalid, desk.swarm.engine.store.transact("make", make))
    assert error.field == "links"
