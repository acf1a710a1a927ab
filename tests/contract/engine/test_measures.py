"""The measures of both databases that operators alarm on."""

from app.domain.json import Json
from app.domain.namespaces import DEFAULT_ID
from app.domain.webhooks import Webhook, WebhookStatus
from app.engine.ops.measures import QueueMeasure, WebhookMeasure, measure
from app.state import feed
from app.state.state import State
from app.state.tables import WEBHOOKS
from tests.support.swarms import Plan, Swarm, crash


def _insert(state: State) -> None:
    """A webhook that wants everything, and one that wants what does not happen."""
    for id, kinds in (("H-1", None), ("H-2", Json.of(["task_pass"]))):
        row = Webhook(
            id=id,
            name=id,
            url="http://127.0.0.1/",
            kinds=kinds,
            status=WebhookStatus.ACTIVE,
            reason=None,
            cursor=feed.head(state.db),
            epoch=0,
            failures=2,
            failing_since=state.now,
            next_at=None,
            last_error="500",
            delivered=0,
            delivered_at=None,
            created_at=state.now,
            created_by="root",
            namespace=DEFAULT_ID,
            key_id=None,
        )
        WEBHOOKS.insert(state.db, row)


async def test_queues_webhooks_and_size(swarm: Swarm) -> None:
    """What waits and since when, and what this process did; remembered for a while."""
    await swarm.engine.with_state("webhooks", _insert)
    began = swarm.clock()
    for _ in range(2):
        await swarm.engine.dispatcher.dispatch(swarm.operator, await swarm.task(), {"kind": "queue", "queue": "q"})
        swarm.clock.advance(1)
    found = await swarm.engine.reports.measures()
    assert found.queues == [QueueMeasure(DEFAULT_ID, "q", 2, began)]
    assert found.webhooks == [
        WebhookMeasure(DEFAULT_ID, "H-1", 2, False, began),
        WebhookMeasure(DEFAULT_ID, "H-2", 2, False, None),
    ]
    assert found.database_bytes > 0
    assert found.at == swarm.clock()
    assert found.nodes == {"alive": 1, "draining": 0, "dead": 0}
    assert (found.unread, found.unread_since) == (0, None)
    assert swarm.engine.reports.counts()[DEFAULT_ID, "task_attempt_started", "queue"] == 2
    assert await swarm.engine.reports.measures() is found


async def test_what_a_reader_has_still_to_read_is_measured(swarm: Swarm) -> None:
    """The events after the cursor up to which it has read, and since when the oldest of them is there."""
    tail = await swarm.engine.feed.head()
    began = swarm.clock()
    for _ in range(2):
        await swarm.task()
        swarm.clock.advance(1)
    found = await swarm.engine.transactions.read(lambda state: measure(state, tail))
    assert (found.unread, found.unread_since) == (2, began)


async def test_nodes_are_counted_by_state(swarm: Swarm, plan: Plan) -> None:
    """Those that serve, that are being stopped, and that died within the hour."""
    await crash(swarm.engine)
    swarm.engine = plan.engine()
    async with swarm.engine as engine:
        await engine.nodes.drain()
        found = await engine.transactions.read(lambda state: measure(state, None))
        assert found.nodes == {"alive": 0, "draining": 1, "dead": 1}
