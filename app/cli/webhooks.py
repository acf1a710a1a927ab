"""`swarmhold webhooks`: where the running server sends events. Needs the root key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.endpoint import AsJson, Endpoint, calls_server
from app.cli.output import add_row, console, print_json, short, table
from app.cli.sessions import admin_calls, call_in
from swarmhold.models.enums import WebhookContent, WebhookFormat, WebhookSign, WebhookStatus

if TYPE_CHECKING:
    from swarmhold.models.admin import Webhook

webhooks = typer.Typer(help="Send events to other systems: make, watch, pause and move webhooks.", no_args_is_help=True)

Target = Annotated[
    str, typer.Argument(metavar="URL", help="Where to send events (webhooks.allow must cover it), or - to read it.")
]
WebhookId = Annotated[str, typer.Argument(help="The webhook's id, H-…; `list` shows it.")]
Name = Annotated[str, typer.Option("--name", help="A name, for people.")]
Events = Annotated[list[str] | None, typer.Option("--event", help="A kind of event; may be repeated. By default all.")]
After = Annotated[
    int | None, typer.Option("--after", help="Begin after this cursor; by default with the events from now on.", min=0)
]
Format = Annotated[
    WebhookFormat, typer.Option("--format", help="Batches of events, one event by a standard, or messages for people.")
]
Content = Annotated[
    WebhookContent | None, typer.Option("--content", help="How much of a question people see; by default a summary.")
]
Template = Annotated[
    Path | None,
    typer.Option("--template", help="A file with a JSON text and {{field|json}} in it.", exists=True, dir_okay=False),
]
Links = Annotated[
    str | None, typer.Option("--links", help="The key of a person who gets an answer link in each message.")
]
Sign = Annotated[
    WebhookSign, typer.Option("--sign", help="By a secret of the webhook, or by the server's key and without a secret.")
]
ReplayAfter = Annotated[int, typer.Option("--after", help="The cursor to go back to; 0 is the beginning.", min=0)]


@webhooks.command()
@calls_server()
def create(
    endpoint: Endpoint,
    target: Target,
    name: Name = "webhook",
    event: Events = None,
    after: After = None,
    format: Format = WebhookFormat.SWARMHOLD,
    content: Content = None,
    template: Template = None,
    links: Links = None,
    sign: Sign = WebhookSign.SYMMETRIC,
    as_json: AsJson = False,
) -> None:
    """Send events to a URL. The secret that signs the deliveries, if any, is shown this once."""
    made = call_in(
        admin_calls(endpoint),
        lambda admin: admin.create_webhook(
            _given_url(target),
            name=name,
            events=event,
            after=after,
            namespace=endpoint.namespace,
            format=format,
            content=content,
            template=None if template is None else template.read_text(),
            links=links,
            sign=sign,
        ),
    )
    if as_json:
        print_json(made.as_json())
    else:
        print(f"{made.id}  {made.url}  {name}")
        if made.secret is not None:
            print(made.secret)


def _given_url(target: str) -> str:
    """Return the URL, read from standard input for `-`: that of a chat is a secret, which no argument should hold."""
    return sys.stdin.readline().strip() if target == "-" else target


@webhooks.command("list")
@calls_server()
def list_webhooks(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """List webhooks and their state, without their secrets."""
    found = call_in(admin_calls(endpoint), lambda admin: admin.webhooks(namespace=endpoint.namespace))
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
@calls_server(namespace=False)
def pause(endpoint: Endpoint, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Pause deliveries until the webhook is resumed; its cursor in the feed is kept."""
    _print_state(call_in(admin_calls(endpoint), lambda one: one.pause_webhook(webhook_id)), as_json=as_json)


@webhooks.command()
@calls_server(namespace=False)
def resume(endpoint: Endpoint, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Resume deliveries from its cursor, at once."""
    _print_state(call_in(admin_calls(endpoint), lambda one: one.resume_webhook(webhook_id)), as_json=as_json)


@webhooks.command()
@calls_server(namespace=False)
def replay(endpoint: Endpoint, webhook_id: WebhookId, after: ReplayAfter, as_json: AsJson = False) -> None:
    """Deliver the events after a cursor again; a paused webhook is resumed."""
    moved = call_in(admin_calls(endpoint), lambda admin: admin.replay_webhook(webhook_id, after=after))
    _print_state(moved, as_json=as_json)


@webhooks.command()
@calls_server(namespace=False)
def rotate(endpoint: Endpoint, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Replace the secret that signs the deliveries; the new one is shown this once, both sign for a day."""
    rotated = call_in(admin_calls(endpoint), lambda one: one.rotate_webhook(webhook_id))
    if as_json:
        print_json(rotated.as_json())
    else:
        print(rotated.secret)


@webhooks.command()
@calls_server(namespace=False)
def delete(endpoint: Endpoint, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Delete a webhook. A delivery that is under way may still arrive."""
    call_in(admin_calls(endpoint), lambda one: one.delete_webhook(webhook_id))
    if as_json:
        print_json({"deleted": webhook_id})
    else:
        print(f"deleted {webhook_id}")


def _print_state(one: Webhook, *, as_json: bool) -> None:
    if as_json:
        print_json(one.as_json())
    else:
        print(f"{one.id} is {one.status}, at cursor {one.cursor}.")
