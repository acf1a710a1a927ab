"""Messages for people: a notice as Slack, Teams, Discord, ntfy or a template takes it.

What others wrote is escaped for the target, so that it is shown as it was written, and mentions, links and colours it
nothing. Texts are cut to what the target takes.

A question has one message. Discord changes it when the question is closed, and ntfy (2.16 and later) when anything more
is said of it; the incoming webhooks of Slack and Teams can change nothing, and so a message follows there.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import orjson

from app.domain.events import EventKind
from app.domain.json import encode
from app.domain.notices import Notice
from app.domain.templates import fill
from app.domain.webhooks import Webhook, WebhookFormat

_SLACK_TEXT = 3000
_SLACK_HEADER = 150
_TEAMS_BYTES = 8000  # of 28 KiB for a message, in which a character may be written with six
_DISCORD_TITLE = 256
_DISCORD_TEXT = 3500
_DISCORD_FIELD = 1000
_NTFY_BYTES = 3000  # of 4096; what is longer becomes an attached file
_MARKDOWN = re.compile(r"[\\`*_\[\]()#~<>|@]|^[ \t]*[-+]", re.MULTILINE)
_REFERENCE = re.compile(r"[0-9]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """The request that brings a message. `accepts_missing`: 404 says that the message to change was removed."""

    url: httpx.URL
    body: bytes
    method: str = "POST"
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    accepts_missing: bool = False


def request(row: Webhook, url: httpx.URL, notice: Notice) -> ChatRequest:
    """Return the request about a notice to a webhook with a format for people, whose URL was checked."""
    return _REQUESTS[row.format](row, url, notice)


def reference_in(row: Webhook, body: bytes) -> str | None:
    """Return the id that a receiver gave to a message, by which it can be changed; None where there is none."""
    if row.format is not WebhookFormat.DISCORD:
        return None
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    id: Any = cast(dict[str, Any], found).get("id") if isinstance(found, dict) else None
    return id if isinstance(id, str) and _REFERENCE.fullmatch(id) else None


def fitted(text: str, limit: int, escape: Callable[[str], str], size: Callable[[str], int] = len) -> str:
    """Return as much of a text, escaped, as has the size `limit`, with an ellipsis where it goes on."""
    escaped = escape(text)
    if size(escaped) <= limit:
        return escaped
    fits, over = 0, len(text)
    while over - fits > 1:
        middle = (fits + over) // 2
        if size(escape(text[:middle])) < limit - 3:
            fits = middle
        else:
            over = middle
    return f"{escape(text[:fits])}…"


def for_markdown(text: str) -> str:
    """Return a text in which neither Markdown nor a mention has a meaning."""
    return _MARKDOWN.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)


def _as_it_is(text: str) -> str:
    return text


def _bytes(text: str) -> int:
    return len(text.encode())


# Slack: Block Kit, to an incoming webhook


def _slack(row: Webhook, url: httpx.URL, notice: Notice) -> ChatRequest:
    heading = fitted(notice.heading, _SLACK_HEADER, for_slack)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(heading)}]
    texts = [text for text in (notice.text, notice.action) if text]
    blocks += [{"type": "section", "text": _plain(fitted(text, _SLACK_TEXT, for_slack))} for text in texts]
    said = [_plain(for_slack(f"{name}: {value}")) for name, value in notice.facts]
    blocks.append({"type": "context", "elements": said})
    link = f"<{for_slack(notice.link)}|{notice.link_label}>"
    blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": link, "verbatim": True}})
    body = {"text": heading, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}
    return ChatRequest(url=url, body=encode(body))


def for_slack(text: str) -> str:
    """Return a text without control sequences and mentions: `<!channel>`, `<@U…>`, `@here`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@\u200b")


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


# Teams: an Adaptive Card, to the URL of a workflow


def _teams(row: Webhook, url: httpx.URL, notice: Notice) -> ChatRequest:
    heading = {
        "type": "TextBlock",
        "text": for_markdown(notice.heading),
        "weight": "Bolder",
        "size": "Medium",
        "wrap": True,
    }
    facts = [{"title": name, "value": for_markdown(value)} for name, value in notice.facts]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "body": [
            heading,
            *_runs(notice.text),
            *_runs(notice.action, fontType="Monospace"),
            {"type": "FactSet", "facts": facts},
        ],
        "actions": [{"type": "Action.OpenUrl", "title": notice.link_label, "url": notice.link}],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return ChatRequest(url=url, body=encode({"type": "message", "attachments": [attachment]}))


def _runs(text: str | None, **style: str) -> list[dict[str, Any]]:
    """Return a text in which Markdown has no meaning."""
    if not text:
        return []
    run = {"type": "TextRun", "text": fitted(text, _TEAMS_BYTES, _as_it_is, _bytes), **style}
    return [{"type": "RichTextBlock", "inlines": [run]}]


# Discord: an embed, which is changed when the question is closed


def _discord(row: Webhook, url: httpx.URL, notice: Notice) -> ChatRequest:
    embed: dict[str, Any] = {
        "title": fitted(notice.heading, _DISCORD_TITLE, for_markdown),
        "url": notice.link,
        "description": _discord_text(notice),
        "fields": [
            {"name": name, "value": fitted(value, _DISCORD_FIELD, for_markdown), "inline": True}
            for name, value in notice.facts
        ],
        "timestamp": notice.at,
    }
    if notice.action:
        embed["fields"].insert(0, {"name": "Action", "value": fitted(notice.action, _DISCORD_FIELD, for_markdown)})
    body = encode({"embeds": [embed], "allowed_mentions": {"parse": []}})
    if notice.is_settled and notice.reference is not None:
        path, mark, query = url.raw_path.partition(b"?")
        message = b"%b/messages/%b" % (path.rstrip(b"/"), notice.reference.encode())
        changed = url.copy_with(raw_path=message + mark + query)
        return ChatRequest(url=changed, body=body, method="PATCH", accepts_missing=True)
    return ChatRequest(url=url.copy_merge_params({"wait": "true"}), body=body)


def _discord_text(notice: Notice) -> str:
    text = fitted(notice.text, _DISCORD_TEXT, for_markdown) if notice.text else ""
    return f"{text}\n\n[{notice.link_label}]({notice.link})".lstrip()


# ntfy: plain text, with the rest in headers


def _ntfy(row: Webhook, url: httpx.URL, notice: Notice) -> ChatRequest:
    parts = [notice.text, notice.action, "\n".join(f"{name}: {value}" for name, value in notice.facts)]
    body = fitted("\n\n".join(part for part in parts if part), _NTFY_BYTES, _as_it_is, _bytes)
    headers = {
        "X-Title": _encoded_word(notice.heading),
        "X-Click": notice.link,
        "X-Priority": _priority(notice),
        "X-Sequence-ID": notice.key or notice.task_id,
    }
    return ChatRequest(url=url, body=body.encode(), content_type="text/plain; charset=utf-8", headers=headers)


def _priority(notice: Notice) -> str:
    if notice.is_settled:
        return "1"
    return "5" if notice.kind == EventKind.QUESTION_REMINDED else "4"


def _encoded_word(text: str) -> str:
    """Return a text as the value of a header field (RFC 2047): whatever it has in it, it stays one line of ASCII."""
    return f"=?UTF-8?B?{b64encode(fitted(text, 400, _as_it_is, _bytes).encode()).decode()}?="


# A template


def _template(row: Webhook, url: httpx.URL, notice: Notice) -> ChatRequest:
    return ChatRequest(url=url, body=fill(row.template or "null", notice))


_REQUESTS: Mapping[WebhookFormat, Callable[[Webhook, httpx.URL, Notice], ChatRequest]] = {
    WebhookFormat.SLACK: _slack,
    WebhookFormat.TEAMS: _teams,
    WebhookFormat.DISCORD: _discord,
    WebhookFormat.NTFY: _ntfy,
    WebhookFormat.TEMPLATE: _template,
}
