"""`swarmhold workers`: who listens on which queue, and what they hold."""

from __future__ import annotations

from app.cli.endpoint import AsJson, Endpoint, calls_server
from app.cli.output import add_row, console, print_json, short, table, to_seconds
from app.cli.sessions import call_in, reader_session


@calls_server()
def workers(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """List the workers of queues with what they hold, and the queues with what waits in them."""

    found = call_in(reader_session(endpoint), lambda seat: seat.workers())
    if as_json:
        print_json(found.as_json())
        return
    people = table("worker", "queues", "key", "last seen", "holds")
    for one in found.items:
        queues = ", ".join(at.queue if at.listening else f"{at.queue} (gone)" for at in one.queues)
        seen = max((str(listened.as_json()["last_seen"]) for listened in one.queues), default="")
        holds = ", ".join(held.task_id for held in one.holds)
        more = f" and {one.held - len(one.holds)} more" if one.held > len(one.holds) else ""
        add_row(people, (one.worker, short(queues), one.key_name or one.key_id, to_seconds(seen), f"{holds}{more}"))
    console.print(people)
    console.print()
    places = table("queue", "workers", "waiting")
    for queue in found.queues:
        add_row(places, (queue.queue, queue.workers, queue.waiting))
    console.print(places)
