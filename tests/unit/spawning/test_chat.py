"""Messages for people: whatever others wrote, it is text for the target, and fits."""

import email.header
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import WebhookInvalid
from app.domain.notices import SAMPLE, Content, Notice
from app.domain.templates import check_template, fill
from app.domain.webhooks import Webhook, WebhookFormat
from app.spawning.outbound.chat import ChatRequest, for_markdown, reference_in, request
from tests.support.rows import blank

URL = httpx.URL("https://chat.example/hooks/secret?thread_id=7")
EVIL = "<!channel> <@U1> @everyone & *b* _i_ `c` [x](https://evil.example) <at>all</at>\n- not a list"
NOTICE = replace(SAMPLE, title=EVIL, text=EVIL, action=EVIL, agent="an @here", link="https://swarm.example/a#al_0")
WORST = "&<*\U0001f600"


def rendered(format: WebhookFormat, notice: Notice = NOTICE, **fields: Any) -> ChatRequest:
    """The request of a webhook with this format."""
    return request(blank(Webhook)._replace(format=format, **fields), URL, notice)


def texts(document: Any) -> list[str]:
    """Every text of a document."""
    if isinstance(document, dict):
        return [found for value in document.values() for found in texts(value)]
    if isinstance(document, list):
        return [found for value in document for found in texts(value)]
    return [document] if isinstance(document, str) else []


def test_slack_shows_text_as_it_was_written() -> None:
    """Blocks of plain text, without control sequences and mentions; the one link is the message's own."""
    asked = rendered(WebhookFormat.SLACK)
    body = json.loads(asked.body)
    assert asked.url == URL
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "section", "context", "section"]
    *others, last = body["blocks"]
    assert last["text"] == {"type": "mrkdwn", "text": f"<{NOTICE.link}|Open in the console>", "verbatim": True}
    assert {block["text"]["type"] for block in others if "text" in block} == {"plain_text"}
    assert "&lt;!channel&gt; &lt;@\u200bU1&gt; @\u200beveryone &amp;" in body["blocks"][1]["text"]["text"]
    for text in texts([others, body["text"]]):
        assert "<" not in text
        assert "@" not in text.replace("@\u200b", "")


def test_teams_shows_text_as_it_was_written() -> None:
    """In runs, where Markdown has no meaning; what stands elsewhere is escaped."""
    (attachment,) = json.loads(rendered(WebhookFormat.TEAMS).body)["attachments"]
    card = attachment["content"]
    assert (attachment["contentType"], card["type"]) == ("application/vnd.microsoft.card.adaptive", "AdaptiveCard")
    assert card["version"] == "1.5"
    heading, question, action, facts = card["body"]
    assert [block["inlines"][0]["text"] for block in (question, action)] == [EVIL, EVIL]
    assert {block["inlines"][0]["type"] for block in (question, action)} == {"TextRun"}
    assert "\\*b\\* \\_i\\_ \\`c\\` \\[x\\]\\(" in heading["text"]
    assert facts["facts"][0] == {"title": "Agent", "value": "an \\@here"}
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Open in the console", "url": NOTICE.link}]


def test_discord_mentions_nobody() -> None:
    """An embed with a link, whose Markdown is escaped; the message's id is asked for."""
    asked = rendered(WebhookFormat.DISCORD)
    body = json.loads(asked.body)
    (embed,) = body["embeds"]
    assert (asked.method, str(asked.url)) == ("POST", f"{URL}&wait=true")
    assert body["allowed_mentions"] == {"parse": []}
    assert (embed["url"], embed["timestamp"]) == (NOTICE.link, NOTICE.at)
    assert "\\<\\@U1\\> \\@everyone & \\*b\\*" in embed["description"]
    assert "\n\\- not a list" in embed["description"]
    assert embed["description"].endswith(f"[Open in the console]({NOTICE.link})")


def test_discord_changes_the_message_about_a_closed_question() -> None:
    """By the id that it gave; without one, and for what is still open, there is a new message."""
    closed = replace(NOTICE, status="answered", reference="77")
    asked = rendered(WebhookFormat.DISCORD, closed)
    assert (asked.method, str(asked.url)) == (
        "PATCH",
        "https://chat.example/hooks/secret/messages/77?thread_id=7",
    )
    assert asked.accepts_missing
    for notice in (replace(closed, reference=None), replace(closed, status="open")):
        assert rendered(WebhookFormat.DISCORD, notice).method == "POST"


def test_only_an_id_of_discord_is_a_reference() -> None:
    """What a receiver replies is not trusted to be one."""
    row = blank(Webhook)._replace(format=WebhookFormat.DISCORD)
    assert reference_in(row, b'{"id": "1234567890123456789"}') == "1234567890123456789"
    for reply in (b"", b"ok", b"[]", b'{"id": 7}', b'{"id": "../7"}', b'{"id": "' + b"7" * 40 + b'"}'):
        assert reference_in(row, reply) is None
    assert reference_in(row._replace(format=WebhookFormat.SLACK), b'{"id": "7"}') is None


def test_ntfy_has_its_fields_in_headers_of_one_line() -> None:
    """Whatever the title has in it; messages about one question have one sequence."""
    notice = replace(NOTICE, title="Größe\r\nX-Priority: 1", key="R-1")
    asked = rendered(WebhookFormat.NTFY, notice)
    [(title, charset)] = email.header.decode_header(asked.headers["X-Title"])
    assert title.decode(charset or "ascii") == "a asks: Größe\r\nX-Priority: 1".replace("a asks", "an @here asks")
    assert all(value.isascii() and value.isprintable() for value in asked.headers.values())
    assert (asked.headers["X-Click"], asked.headers["X-Priority"], asked.headers["X-Sequence-ID"]) == (
        NOTICE.link,
        "4",
        "R-1",
    )
    assert asked.body.decode().startswith(EVIL)
    reminded = rendered(WebhookFormat.NTFY, replace(notice, kind="question_reminded"))
    assert reminded.headers["X-Priority"] == "5"
    assert rendered(WebhookFormat.NTFY, replace(notice, status="answered")).headers["X-Priority"] == "1"


@pytest.mark.parametrize("letters", ["x", WORST, "é", "@"])
def test_a_message_fits_its_target(letters: str) -> None:
    """However long the texts are and whatever they are escaped to."""
    long = (letters * 100_000)[:70_000]
    notice = replace(NOTICE, agent=long[:200], asked_by=long[:200], title=long[:200], text=long, action=long)
    slack = json.loads(rendered(WebhookFormat.SLACK, notice).body)
    assert all(len(block["text"]["text"]) <= 3000 for block in slack["blocks"] if "text" in block)
    assert len(slack["blocks"][0]["text"]["text"]) <= 150
    assert len(rendered(WebhookFormat.TEAMS, notice).body) < 28 * 1024
    (embed,) = json.loads(rendered(WebhookFormat.DISCORD, notice).body)["embeds"]
    assert len(embed["title"]) <= 256
    assert len(embed["description"]) <= 4096
    assert all(len(field["value"]) <= 1024 for field in embed["fields"])
    assert (
        sum(map(len, [embed["title"], embed["description"]]))
        + sum(len(field["name"]) + len(field["value"]) for field in embed["fields"])
        <= 6000
    )
    assert len(rendered(WebhookFormat.NTFY, notice).body) <= 4096
    assert len(rendered(WebhookFormat.NTFY, notice).headers["X-Title"]) < 1000


@given(st.text())
def test_escaped_markdown_is_the_text_with_backslashes(text: str) -> None:
    """Nothing is lost, and each character with a meaning stands behind a backslash."""
    escaped = for_markdown(text)
    plain, marked = "", False
    for letter in escaped:
        if letter == "\\" and not marked:
            marked = True
            continue
        assert marked or letter not in "\\`*_[]()#~<>|@"
        plain, marked = plain + letter, False
    assert plain == text


# Templates


def test_a_template_is_filled_with_json() -> None:
    """Each value as JSON, null where there is none."""
    template = '{"text": {{ heading | json }}, "by": [{{settled_by|json}}], "n": 1.10}'
    check_template(template)
    notice = replace(NOTICE, agent='q"{{key|json}}', title=None, settled_by=None)
    assert fill(template, notice) == b'{"text": "q\\"{{key|json}} asks", "by": [null], "n": 1.10}'


@given(st.dictionaries(st.sampled_from(sorted(set(SAMPLE.fields()) - {"heading"})), st.none() | st.text()))
def test_no_value_breaks_a_template(values: dict[str, Any]) -> None:
    """The message is JSON with the values in their places."""
    notice = replace(SAMPLE, **values)
    template = json.dumps(dict.fromkeys(notice.fields(), "@")).replace('"@"', "%s")
    template %= tuple(f"{{{{{name}|json}}}}" for name in notice.fields())
    check_template(template)
    assert json.loads(fill(template, notice)) == notice.fields()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ('{"a": {{question|json}}}', "there is no field question; there are id, kind,"),
        ('{"a": {{text}}}', "write {{field|json}}, not {{text}}"),
        ('{"a": {{text|upper}}}', "write {{field|json}}"),
        ('{"a": {{#if text}}1{{/if}}}', "write {{field|json}}"),
        ('{"a": "{{text|json}}"}', "it is not JSON"),
        ('{"a": "by {{agent|json}}, {{text|json}}"}', "it is not JSON"),
        ("{{{agent|json}}: 1}", "write {{field|json}}"),
        ("{ {{agent|json}}: 1}", "it is not JSON"),
        ("hello", "it is not JSON"),
        ("x" * 20_000, "longer than 16384"),
    ],
)
def test_a_template_is_checked_when_it_is_given(template: str, said: str) -> None:
    """What would not be a JSON text, with a value or without, is refused and says how to write it."""
    with pytest.raises(WebhookInvalid) as raised:
        check_template(template)
    assert said in str(raised.value)
    assert raised.value.field == "template"


# What leaves the server


def test_secrets_and_control_characters_do_not_leave() -> None:
    """A key, a handle or a link that somebody wrote into a question; text that would be shown in another order."""
    text = "key shk_abc, al_0123456789abcdef, \u202egnp.exe\x1b[2J\nnext\tline"
    shown = Content.FULL.part_of(text)
    assert shown == "key shk_[redacted], al_[redacted], \\u202egnp.exe\\u001b[2J\nnext\tline"
    assert Content.NONE.part_of(text) is None
