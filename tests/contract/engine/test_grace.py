"""What a time without any server means for the leases of workers that went on working."""

from datetime import timedelta

from app.domain.attempts import Reason
from app.domain.tasks import Status
from tests.support.clocks import HandClock
from tests.support.swarms import Plan, Swarm

LEASE = timedelta(seconds=60)


async def _outlive_a_server(plan: Plan, clock: HandClock, *, away_s: float) -> str:
    """A leased task of a server that stopped, and the seconds that passed before the next one."""
    async with plan.engine() as first:
        swarm = await Swarm.over(first, plan)
        work = await swarm.external(lease=LEASE)
    clock.advance(away_s)
    return work.task_id


async def test_a_lease_that_ended_while_no_server_was_there_is_whole_again(plan: Plan, clock: HandClock) -> None:
    """Missed heartbeats do not count while no server runs; they count again once one does."""
    task_id = await _outlive_a_server(plan, clock, away_s=600)

    async with plan.engine() as second:
        swarm = await Swarm.over(second, plan)
        await second.timers.carry_out_due()
        assert (await swarm.attempt(task_id)).is_live

        await swarm.pass_time(LEASE.total_seconds() + 1)
        assert await swarm.status(task_id) is Status.BLOCKED
        assert (await swarm.attempt(task_id)).reason is Reason.LOST
