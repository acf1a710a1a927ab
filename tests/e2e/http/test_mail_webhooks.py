"""Mail about questions, taken by a real mail server on loopback."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.spawning.outbound.settings import SenderSettings, SmtpSettings
from app.spawning.outbound.webhooks import WebhookSender
from tests.e2e.http.test_chat_webhooks import answer, ask
from tests.e2e.http.test_webhooks import HOOKS
from tests.support.mailbox import mailbox
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

ALLOWED = ("mailto:pat@example.com", "mailto:*@swarm.example")


@contextlib.asynccontextmanager
async def mailing(smtp: SmtpSettings) -> AsyncIterator[Node]:
    """A node that may write to Pat and to everybody at swarm.example."""
    sender = WebhookSender(SenderSettings(allow=ALLOWED, backoff_s=0.01), smtp=smtp)
    engine = Engine(replace(default_parts(EngineCfg()), webhook_sender=sender))
    async with served(engine=engine) as node:
        yield node


async def hook(node: Node, url: str = "mailto:pat@example.com", **fields: Any) -> dict[str, Any]:
    """A webhook that writes mail."""
    reply = await node.as_(ROOT_KEY).post(HOOKS, json={"url": url, "format": "mail", **fields})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def test_a_question_and_its_answer_are_mailed(tmp_path: Path) -> None:
    """Over TLS, signed in, as plain text with the link; the answer refers to the question's mail."""
    async with mailbox(tmp_path, username="swarm", password=_secret("pass word")) as box, mailing(box.settings) as node:
        root, operator = node.as_(ROOT_KEY), await node.operator()
        await root.post("/v1/admin/keys", json={"name": "pat", "roles": ["senior"], "person": True})
        made = await hook(node, links="pat")
        box.refusals.append("451 try again")
        asked = await ask(operator, "Größer als <b>?\r\n.\r\nQUIT", title="Ship")
        await eventually(lambda: len(box.mails) == 1)
        link = re.search(r"^Answer: (\S+)$", _text(box.mails[0]), re.MULTILINE)
        assert link is not None
        secret = link[1].split("#")[1]
        assert (await node.as_(None).post("/v1/links/open", json={"link": secret})).status_code == 200
        await answer(node, asked["key"])
        await eventually(lambda: len(box.mails) == 2)
        row = (await root.get(f"{HOOKS}/{made['id']}")).json()

    first, second = box.mails
    assert box.envelopes == [("swarm@example.com", ["pat@example.com"])] * 2
    assert box.encrypted == [True, True]
    assert set(box.signed_in) == {(b"swarm", b"pass word")}
    assert (first["From"], first["To"]) == ("Swarm <swarm@example.com>", "pat@example.com")
    assert (first["Subject"], first.get_content_type()) == ("ask asks: Ship", "text/plain")
    assert "Größer als <b>?" in _text(first)
    assert re.fullmatch(rf"<{made['id']}\.\d+@example\.com>", first["Message-ID"])
    assert second["In-Reply-To"] == first["Message-ID"]
    assert second["Subject"] == "Answered by sam: Ship"
    assert (row["url"], row["delivered"], row["failures"]) == ("mailto:pat@example.com", 2, 0)


def _text(mail: Any) -> str:
    return mail.get_content().replace("\r\n", "\n")


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


async def test_no_text_becomes_a_header(tmp_path: Path) -> None:
    """Neither a title's end of line, which names do not have, nor one in the question."""
    evil = "x\r\nBcc: all@example.com\r\n\r\nbody\n\u2028Cc: all@example.com"
    async with mailbox(tmp_path) as box, mailing(box.settings) as node:
        operator = await node.operator()
        await hook(node, "mailto:anybody@swarm.example", content="full")
        await ask(operator, evil, title="Ship: \u00e9 =?utf-8?q?x?=, Bcc: all@example.com")
        await eventually(lambda: len(box.mails) == 1)

    (mail,) = box.mails
    assert box.envelopes[0][1] == ["anybody@swarm.example"]
    assert sorted(name.lower() for name in mail.keys()) == sorted(  # noqa: SIM118 - a message may have a name twice
        [
            "auto-submitted",
            "content-transfer-encoding",
            "content-type",
            "date",
            "from",
            "message-id",
            "mime-version",
            "subject",
            "to",
        ]
    )
    assert "Bcc: all@example.com" in _text(mail)


async def test_a_server_that_cannot_be_trusted_gets_no_mail(tmp_path: Path) -> None:
    """Its certificate is unknown: nothing is sent, and the webhook says why."""
    async with (
        mailbox(tmp_path, username="swarm", password=_secret("p")) as box,
        mailing(replace(box.settings, ca_file=None)) as node,
    ):
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        made = await hook(node)
        await ask(operator)

        async def failed() -> bool:
            row = (await root.get(f"{HOOKS}/{made['id']}")).json()
            return "certificate verify failed" in row.get("last_error", "")

        await eventually(failed)
    assert (box.mails, box.signed_in) == ([], [])


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("mailto:sam@example.com", 400, "webhooks.allow"),
        ("mailto:pat@example.com?bcc=all@example.com", 422, "one plain address"),
        ("mailto:pat@example.com,sam@example.com", 422, "one plain address"),
        ("mailto:pat%0aBcc:all@example.com", 422, "one plain address"),
        ("mailto:pat@example.com\r\nBcc: x@y", 422, "one plain address"),
        ("https://example.com/", 422, "one plain address"),
    ],
)
async def test_only_an_allowed_plain_address_is_written_to(url: str, status: int, said: str) -> None:
    """Nothing else makes a webhook."""
    async with mailing(SmtpSettings(host="127.0.0.1", sender="swarm@example.com")) as node:
        reply = await node.as_(ROOT_KEY).post(HOOKS, json={"url": url, "format": "mail"})
        assert (reply.status_code, reply.json()["field"]) == (status, "url")
        assert said in reply.json()["detail"]
        mixed = await node.as_(ROOT_KEY).post(HOOKS, json={"url": "mailto:pat@example.com", "format": "slack"})
        assert mixed.status_code == 400


async def test_without_a_mail_server_there_is_no_mail() -> None:
    """The refusal names the settings."""
    async with mailing(SmtpSettings()) as node:
        reply = await node.as_(ROOT_KEY).post(HOOKS, json={"url": "mailto:pat@example.com", "format": "mail"})
        assert reply.status_code == 422
        assert "notify.smtp.host" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "sender"),
        ({"sender": "nobody"}, "sender"),
        ({"sender": "a@example.com", "username": "a"}, "belong together"),
        ({"sender": "a@example.com", "username": "a", "password": _secret("p"), "security": "none"}, "in clear"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(fields: dict[str, Any], said: str) -> None:
    """At the start, not at the first mail."""
    with pytest.raises(ValueError, match=said):
        WebhookSender(SenderSettings(), smtp=SmtpSettings(host="mail.example", **fields))
    with pytest.raises(ValueError, match="is not mailto"):
        WebhookSender(SenderSettings(allow=("mailto:example.com",)))
