"""Webhooks by command and by client, against a real node and a real receiver."""

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest

from swarmhold import Admin, ApiProblem, SwarmholdClient
from swarmhold.models.enums import Role, WebhookStatus
from tests.conftest import StartServer
from tests.e2e.cli.conftest import Run, Serve, place
from tests.support.processes import ServerProcess
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import eventually


def _node(serve: Serve, receiver: Receiver) -> ServerProcess:
    """A node that may send to this receiver and looks again soon."""
    return serve({"SWARMHOLD_WEBHOOKS__ALLOW": receiver.url, "SWARMHOLD_WEBHOOKS__BACKOFF": "0.01"})


async def _command(run: Run, *arguments: str | Path, status: int = 0, stdin: str | None = None) -> str:
    """What the command said, the receiver going on meanwhile."""
    done = await asyncio.to_thread(run, "webhooks", *arguments, status=status, stdin=stdin)
    return done.stderr if status else done.stdout


async def test_a_webhook_is_managed_from_the_shell(serve: Serve, run: Run) -> None:
    """Made, listed, paused, resumed, replayed and deleted, also by scripts; deliveries are signed as was shown."""
    async with receiving() as receiver:
        node = await asyncio.to_thread(_node, serve, receiver)
        here = partial(run, **place(node))
        _, receiver.secret = (
            await _command(here, "create", receiver.url, "--name", "chat", "--event", "task_created")
        ).splitlines()
        (listed,) = json.loads(await _command(here, "list", "--json"))
        assert (listed["name"], listed["events"], listed["status"]) == ("chat", ["task_created"], "active")
        assert receiver.secret not in json.dumps(listed)

        rotated = (await _command(here, "rotate", listed["id"])).strip()
        assert rotated.startswith("whsec_")
        assert rotated != receiver.secret
        receiver.secret = rotated

        assert "is paused" in await _command(here, "pause", listed["id"])
        assert "paused" in await _command(here, "list")
        assert "is active" in await _command(here, "resume", listed["id"])
        assert "at cursor 0" in await _command(here, "replay", listed["id"], "--after", "0")
        assert json.loads(await _command(here, "pause", listed["id"], "--json"))["status"] == "paused"
        assert json.loads(await _command(here, "delete", listed["id"], "--json")) == {"deleted": listed["id"]}
        assert json.loads(await _command(here, "list", "--json")) == []


async def test_messages_for_people_are_set_up_from_the_shell(serve: Serve, run: Run, tmp_path: Path) -> None:
    """The URL, which is a secret, comes by standard input and is shown no more; a template is checked at once."""
    template = tmp_path / "message.json"
    template.write_text('{"say": {{heading|json}}, "go": {{link|json}}}')
    async with receiving() as receiver:
        node = await asyncio.to_thread(_node, serve, receiver)
        here = partial(run, **place(node))
        async with SwarmholdClient(node.url) as server:
            await server.admin(node.root_key()).create_key("pat", [Role.SENIOR], person=True)
            options = ("--format", "template", "--template", template, "--links", "pat", "--content", "none")
            said = await _command(here, "create", "-", *options, stdin=f"{receiver.url}\n")
            assert receiver.url not in said
            (listed,) = json.loads(await _command(here, "list", "--json"))
            assert (listed["format"], listed["content"], listed["template"]) == (
                "template",
                "none",
                template.read_text(),
            )
            operator = await server.attach_operator(node.root_key(), "test")
            await operator.ask((await operator.start_task("coder", "b")).id, "May I?")
            await eventually(lambda: len(receiver.bodies) == 1)
            assert receiver.bodies[0]["say"] == "coder asks"
            assert receiver.bodies[0]["go"].startswith(f"{node.url}/a#al_")

        template.write_text('{"say": {{words|json}}}')
        assert "there is no field words" in await _command(here, "create", receiver.url, *options, status=1)


async def test_what_cannot_be_done_is_told(serve: Serve, run: Run) -> None:
    """A URL that the settings do not have, a kind and an id that do not exist."""
    async with receiving() as receiver:
        node = await asyncio.to_thread(_node, serve, receiver)
        here = partial(run, **place(node))
        assert "webhooks.allow" in await _command(here, "create", "http://127.0.0.1:9/", status=1)
        assert "task_made" in await _command(here, "create", receiver.url, "--event", "task_made", status=1)
        assert "webhook-not-found" in await _command(here, "pause", f"H-{'0' * 26}", status=1)


async def test_a_server_that_is_gone_is_told(start_server: StartServer, run: Run) -> None:
    """By its data directory, since another one may listen there by now."""
    node = await asyncio.to_thread(start_server)
    await asyncio.to_thread(node.stop)
    gone = ("--url", node.url, "--data-dir", node.data_dir)
    assert "No server of" in await _command(run, "list", *gone, status=1)


async def test_a_program_manages_webhooks(serve: Serve) -> None:
    """The client's calls do what the shell's do, with typed replies, and events arrive."""
    async with receiving() as receiver:
        node = await asyncio.to_thread(_node, serve, receiver)
        async with SwarmholdClient(node.url) as server:
            admin: Admin = server.admin(node.root_key())
            made = await admin.create_webhook(receiver.url, name="ledger", events=["task_created"])
            receiver.secret = made.secret
            operator = await server.attach_operator(node.root_key(), "test")
            task = await operator.start_task("a", "b")
            await eventually(lambda: [event["task_id"] for event in receiver.events] == [task.id])

            assert (await admin.pause_webhook(made.id)).status is WebhookStatus.PAUSED
            assert (await admin.replay_webhook(made.id, after=0)).status is WebhookStatus.ACTIVE
            await eventually(lambda: len(receiver.events) == 2)
            receiver.secret = (await admin.rotate_webhook(made.id)).secret
            assert receiver.secret != made.secret
            await operator.start_task("a", "c")
            await eventually(lambda: len(receiver.events) == 3)
            assert [one.id for one in await admin.webhooks()] == [made.id]
            await admin.delete_webhook(made.id)
            unshared = await admin.create_webhook(receiver.url, format="slack", content="none", sign="asymmetric")
            assert (unshared.secret, unshared.content, unshared.sign) == (None, "none", "asymmetric")
            assert unshared.url == f"http://127.0.0.1:{receiver.port}/…"
            (key,) = (await admin.webhook_keys()).keys
            assert key.standard.startswith("whpk_")
            await admin.delete_webhook(unshared.id)
            with pytest.raises(ApiProblem, match="webhook-not-found"):
                await admin.webhook(made.id)
