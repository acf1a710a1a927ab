"""The registry of nodes: who is alive, who died, and which one carries out an attempt."""

from typing import Any

from app import __version__
from app.domain.nodes import NodeState
from app.engine.ops.nodes import DEAD_KEPT_MS, DEAD_SHOWN_MS
from app.engine.ops.rules import HOUR, ClusterRules
from app.state.state import State
from app.state.tables import NODES
from tests.support.scripted import IN_PROCESS, ScriptedFunction
from tests.support.swarms import Plan, Swarm, crash, with_cfg
from tests.support.waiting import eventually


async def _last_seen_before(swarm: Swarm, node_id: str, age_ms: int) -> None:
    """Set back a node's last heartbeat."""

    def set_back(state: State) -> int:
        return NODES.update(state.db, node_id, seen_at=state.database_now() - age_ms)

    assert await swarm.engine.transactions.run("set_back", set_back) == 1


async def _listed(swarm: Swarm) -> dict[str, NodeState]:
    return {state.node.id: state for state in await swarm.engine.nodes.listed(swarm.observer)}


async def test_a_node_is_listed_while_it_lives_and_gone_when_it_left(swarm: Swarm, plan: Plan) -> None:
    """With its URL and version; the next one to start does not find it."""
    own = swarm.engine.nodes.own_id
    (found,) = (await _listed(swarm)).values()
    assert (found.node.id, found.alive, found.node.draining) == (own, True, False)
    assert (found.node.url, found.node.version) == (plan.cfg.base_url, __version__)
    assert found.node.started_at == found.node.seen_at

    await swarm.engine.nodes.drain()
    await swarm.engine.nodes.record_heartbeat()
    assert (await _listed(swarm))[own].node.draining is True

    await swarm.engine.stop()
    swarm.engine = plan.engine()
    async with swarm.engine:
        assert list(await _listed(swarm)) == [swarm.engine.nodes.own_id]


async def test_a_dead_node_is_listed_for_an_hour_and_removed_later(swarm: Swarm, plan: Plan) -> None:
    """Dead is who gave no heartbeat for the lease, whatever its row says else."""
    lease_ms, dead = plan.cfg.cluster.lease_ms, swarm.engine.nodes.own_id
    await crash(swarm.engine)
    swarm.engine = plan.engine()
    async with swarm.engine:
        own = swarm.engine.nodes.own_id
        for age_ms, shown in (
            (lease_ms, {dead: False, own: True}),
            (lease_ms + DEAD_SHOWN_MS - 60_000, {dead: False, own: True}),
            (lease_ms + DEAD_SHOWN_MS, {own: True}),
        ):
            await _last_seen_before(swarm, dead, age_ms)
            assert {name: state.alive for name, state in (await _listed(swarm)).items()} == shown
        await _last_seen_before(swarm, dead, DEAD_KEPT_MS)
    swarm.engine = plan.engine()
    async with swarm.engine:
        rows = await swarm.engine.store.read(lambda state: state.db.query("SELECT id FROM nodes", ()))
        assert rows == [(swarm.engine.nodes.own_id,)]


async def test_a_node_that_is_late_keeps_its_row_and_one_without_a_row_joins_anew(swarm: Swarm, plan: Plan) -> None:
    """Only what another node has declared dead, or forgotten, becomes another node."""
    own = swarm.engine.nodes.own_id
    await _last_seen_before(swarm, own, plan.cfg.cluster.lease_ms)
    await swarm.engine.nodes.record_heartbeat()
    renewed = (await _listed(swarm))[own]
    assert renewed.alive
    assert await swarm.engine.transactions.run("remove", lambda state: NODES.delete(state.db, own)) == 1
    await swarm.engine.nodes.record_heartbeat()

    async def has_joined() -> bool:
        return list(await _listed(swarm)) == [swarm.engine.nodes.own_id] != [own]

    await eventually(has_joined)


async def test_heartbeats_come_by_themselves(plan: Plan) -> None:
    """Every `heartbeat`, without a call."""
    frequent = with_cfg(plan, cluster=ClusterRules(heartbeat_ms=20))
    async with frequent.engine() as engine:
        swarm = await Swarm.over(engine, frequent)
        await _last_seen_before(swarm, engine.nodes.own_id, HOUR)

        async def is_renewed() -> bool:
            (found,) = (await _listed(swarm)).values()
            return found.node.seen_at >= found.node.started_at

        await eventually(is_renewed)


async def test_why_names_the_node_that_carries_an_attempt_out(swarm: Swarm, function: ScriptedFunction) -> None:
    """By id and URL, with its last heartbeat; an attempt without a driver is on no node."""
    own = swarm.engine.nodes.own_id
    (found,) = (await _listed(swarm)).values()
    task_id, waiting = await swarm.task(), await swarm.external()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS)
    await function.called.wait()

    async def link() -> dict[str, Any]:
        chain = (await swarm.engine.tasks.why(swarm.operator, task_id))["chain"]
        return next(dict(link) for link in chain if link["kind"] == "node")

    shown = await link()
    assert (shown["name"], shown["last_seen_at"]) == (own, found.node.seen_at)
    assert found.node.url in shown["detail"]
    chain = (await swarm.engine.tasks.why(swarm.operator, waiting.task_id))["chain"]
    assert "node" not in {link["kind"] for link in chain}

    await swarm.engine.transactions.run("remove", lambda state: NODES.delete(state.db, own))
    assert "has left" in (await link())["detail"]
