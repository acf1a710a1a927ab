"""The measures of both databases that operators alarm on."""

from app.domain.json import Json
from app.domain.namespaces import DEFAULT_ID
from app.domain.webhooks import Webhook, WebhookStatus
from app.engine.ops.measures import QueueMeasure, WebhookMeasure
from app.state import feed
from app.state.state import State
from app.state.tables import WEBHOOKS
from tests.support.swarms import Swarm


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
    assert swarm.engine.reports.counts()[DEFAULT_ID, "task_attempt_started", "queue"] == 2
    assert await swarm.engine.reports.measures() is found
