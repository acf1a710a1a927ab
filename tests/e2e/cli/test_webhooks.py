"""Webhooks by command and by client, against a real node and a real receiver."""

import asyncio
import json
from pathlib import Path

import pytest

from swarmhold import Admin, ApiProblem, SwarmholdClient
from swarmhold.models.enums import Role, WebhookStatus
from tests.conftest import StartServer
from tests.e2e.cli.conftest import Run
from tests.support.processes import ServerProcess
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import eventually


def _node(start_server: StartServer, receiver: Receiver) -> ServerProcess:
    """A node that may send to this receiver and looks again soon."""
    return start_server(settings={"SWARMHOLD_WEBHOOKS__ALLOW": receiver.url, "SWARMHOLD_WEBHOOKS__BACKOFF": "0.01"})


async def _command(run: Run, *arguments: str | Path, status: int = 0, stdin: str | None = None) -> str:
    """What the command said, the receiver going on meanwhile."""
    done = await asyncio.to_thread(run, "webhooks", *arguments, status=status, stdin=stdin)
    return done.stderr if status else done.stdout


async def test_a_webhook_is_managed_from_the_shell(start_server: StartServer, run: Run) -> None:
    """Made, listed, paused, resumed, replayed and deleted, also by scripts; deliveries are signed as was shown."""
    async with receiving() as receiver:
        node = await asyncio.to_thread(_node, start_server, receiver)
        here = ("--data-dir", node.data_dir)
        _, receiver.secret = (
            await _command(run, "create", receiver.url, "--name", "chat", "--event", "task_created", *here)
        ).splitlines()
        (listed,) = json.loads(await _command(run, "list", "--json", *here))
        assert (listed["name"], listed["events"], listed["status"]) == ("chat", ["task_created"], "active")
        assert receiver.secret not in json.dumps(listed)

        rotated = (await _command(run, "rotate", listed["id"], *here)).strip()
        assert rotated.startswith("whsec_")
        assert rotated != receiver.secret
        receiver.secret = rotated

        assert "is paused" in await _command(run, "pause", listed["id"], *here)
        assert "paused" in await _command(run, "list", *here)
        assert "is active" in await _command(run, "resume", listed["id"], *here)
        assert "at cursor 0" in await _command(run, "replay", listed["id"], "--after", "0", *here)
        assert json.loads(await _command(run, "pause", listed["id"], "--json", *here))["status"] == "paused"
        assert json.loads(await _command(run, "delete", listed["id"], "--json", *here)) == {"deleted": listed["id"]}
        assert json.loads(await _command(run, "list", "--json", *here)) == []


async def test_messages_for_people_are_set_up_from_the_shell(
    start_server: StartServer, run: Run, tmp_path: Path
) -> None:
    """The URL, which is a secret, comes by standard input and is shown no more; a template is checked at once."""
    template = tmp_path / "message.json"
    template.write_text('{"say": {{heading|json}}, "go": {{link|json}}}')
    async with receiving() as receiver:
        node = await asyncio.to_thread(_node, start_server, receiver)
        here = ("--data-dir", node.data_dir)
        async with SwarmholdClient(node.url) as server:
            await server.admin(node.root_key()).create_key("pat", [Role.SENIOR], person=True)
            options = ("--format", "template", "--template", template, "--links", "pat", "--content", "none", *here)
            said = await _command(run, "create", "-", *options, stdin=f"{receiver.url}\n")
            assert receiver.url not in said
            (listed,) = json.loads(await _command(run, "list", "--json", *here))
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
        assert "there is no field words" in await _command(run, "create", receiver.url, *options, status=1)


async def test_what_cannot_be_done_is_told(start_server: StartServer, run: Run) -> None:
    """A URL that the settings do not have, a kind and an id that do not exist, and no server at all."""
    async with receiving() as receiver:
        node = await asyncio.to_thread(_node, start_server, receiver)
        here = ("--data-dir", node.data_dir)
        assert "webhooks.allow" in await _command(run, "create", "http://127.0.0.1:9/", *here, status=1)
        assert "task_made" in await _command(run, "create", receiver.url, "--event", "task_made", *here, status=1)
        assert "webhook-not-found" in await _command(run, "pause", f"H-{'0' * 26}", *here, status=1)
        await asyncio.to_thread(node.stop)
        assert "No server of" in await _command(run, "list", "--url", node.url, *here, status=1)


async def test_a_program_manages_webhooks(start_server: StartServer) -> None:
    """The client's calls do what the shell's do, with typed replies, and events arrive."""
    async with receiving() as receiver:
        node = await asyncio.to_thread(_node, start_server, receiver)
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
