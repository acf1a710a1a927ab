"""`swarmhold webhooks`: where the running server sends events. Needs the root key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from app.cli.endpoint import AsJson, ConfigFile, DataDir, InNamespace, Key, Url, endpoint_of, run_call
from app.cli.output import add_row, console, print_json, short, table
from swarmhold.admin import Admin
from swarmhold.models.admin import Webhook
from swarmhold.models.enums import WebhookStatus

R = TypeVar("R")

webhooks = typer.Typer(help="Send events to other systems: make, watch, pause and move webhooks.", no_args_is_help=True)

Target = Annotated[str, typer.Argument(metavar="URL", help="Where to send events; webhooks.allow must cover it.")]
WebhookId = Annotated[str, typer.Argument(help="The webhook's id, H-…; `list` shows it.")]
Name = Annotated[str, typer.Option("--name", help="A name, for people.")]
Events = Annotated[list[str] | None, typer.Option("--event", help="A kind of event; may be repeated. By default all.")]
After = Annotated[
    int | None, typer.Option("--after", help="Begin after this cursor; by default with the events from now on.", min=0)
]
ReplayAfter = Annotated[int, typer.Option("--after", help="The cursor to go back to; 0 is the beginning.", min=0)]


def _administer(
    call: Callable[[Admin], Awaitable[R]],
    *,
    url: str | None,
    key: str | None,
    data_dir: Path | None,
    config: Path | None,
) -> R:
    """Call the server with the root key, and return the result. Raises CommandFailed."""
    endpoint = endpoint_of(url, key, data_dir, config)

    async def run() -> R:
        async with endpoint.connect() as server:
            return await call(server.admin(endpoint.key))

    return run_call(run)


@webhooks.command()
def create(
    target: Target,
    name: Name = "webhook",
    event: Events = None,
    after: After = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    namespace: InNamespace = None,
) -> None:
    """Send events to a URL. The secret that signs the deliveries is shown this once."""
    made = _administer(
        lambda admin: admin.create_webhook(target, name=name, events=event, after=after, namespace=namespace),
        url=url,
        key=key,
        data_dir=data_dir,
        config=config,
    )
    if as_json:
        print_json(made.as_json())
    else:
        print(f"{made.id}  {made.url}  {name}\n{made.secret}")


@webhooks.command("list")
def list_webhooks(
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    namespace: InNamespace = None,
) -> None:
    """List webhooks and their state, without their secrets."""
    found = _administer(
        lambda admin: admin.webhooks(namespace=namespace), url=url, key=key, data_dir=data_dir, config=config
    )
    if as_json:
        print_json([one.as_json() for one in found])
        return
    shown = table("id", "name", "namespace", "url", "events", "cursor", "delivered", "state")
    for one in found:
        events = "all" if one.events is None else ", ".join(one.events)
        cells = (one.id, one.name, one.namespace or "", short(one.url), short(events), one.cursor, one.delivered)
        add_row(shown, (*cells, _state(one)), style="dim" if one.status is WebhookStatus.PAUSED else None)
    console.print(shown)


def _state(one: Webhook) -> str:
    if one.status is WebhookStatus.PAUSED:
        return short(f"paused: {one.reason}" if one.reason else "paused", 200)
    return short(f"failed {one.failures} times: {one.last_error}", 200) if one.failures else "good"


@webhooks.command()
def pause(
    webhook_id: WebhookId, url: Url = None, key: Key = None, data_dir: DataDir = None, config: ConfigFile = None
) -> None:
    """Pause deliveries until the webhook is resumed; its cursor in the feed is kept."""
    _print_state(
        _administer(lambda one: one.pause_webhook(webhook_id), url=url, key=key, data_dir=data_dir, config=config)
    )


@webhooks.command()
def resume(
    webhook_id: WebhookId, url: Url = None, key: Key = None, data_dir: DataDir = None, config: ConfigFile = None
) -> None:
    """Resume deliveries from its cursor, at once."""
    _print_state(
        _administer(lambda one: one.resume_webhook(webhook_id), url=url, key=key, data_dir=data_dir, config=config)
    )


@webhooks.command()
def replay(
    webhook_id: WebhookId,
    after: ReplayAfter,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Deliver the events after a cursor again; a paused webhook is resumed."""
    moved = _administer(
        lambda admin: admin.replay_webhook(webhook_id, after=after), url=url, key=key, data_dir=data_dir, config=config
    )
    _print_state(moved)


@webhooks.command()
def delete(
    webhook_id: WebhookId, url: Url = None, key: Key = None, data_dir: DataDir = None, config: ConfigFile = None
) -> None:
    """Delete a webhook. A delivery that is under way may still arrive."""
    _administer(lambda one: one.delete_webhook(webhook_id), url=url, key=key, data_dir=data_dir, config=config)
    print(f"deleted {webhook_id}")


def _print_state(one: Webhook) -> None:
    print(f"{one.id} is {one.status}, at cursor {one.cursor}.")
