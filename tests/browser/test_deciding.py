"""What a decider works with: typeset questions, words beside choices, comments, claims, and what was decided."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser

MARKDOWN = """# Ship **1.4**?

See [the run](https://ci.example/991) and <b>this</b>, but not [that](javascript:alert(1)).

| a | b |
|---|---|
| 1 | 2 |

```sh
make ship
```

![pixel](https://t.example/p.png)

[ref]: https://hidden.example
"""


def answered(swarm: Swarm, key: str) -> dict[str, object]:
    """Wait until the question is answered, and return it."""
    return wait_until(lambda: (found := swarm.question(key))["status"] == "answered" and found, awaited="the answer")


def test_a_question_is_typeset_and_its_links_say_where_they_lead(console: Console, swarm: Swarm) -> None:
    """Markdown becomes elements, markup of HTML stays text, nothing is loaded or hidden, and the source is at hand."""
    asked = swarm.ask(MARKDOWN, title="Release 1.4")
    console.go("inbox", asked["key"])
    question = console.page.get_by_role("region", name="What is asked")

    expect(console.page.get_by_role("heading", level=1)).to_contain_text("Release 1.4")
    expect(question.get_by_role("heading", name="Ship 1.4?")).to_be_visible()
    expect(question.get_by_role("table")).to_contain_text("2")
    link = question.get_by_role("link", name="the run")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    for text in ("(https://ci.example/991)", "<b>this</b>", "[that](javascript:alert(1))", "(https://t.example/p.png)"):
        expect(question).to_contain_text(text)
    expect(question).to_contain_text("[ref]: https://hidden.example")
    expect(question.locator("img, b")).to_have_count(0)

    question.get_by_role("button", name="As written").click()
    expect(question).to_contain_text("# Ship **1.4**?")
    expect(console.row("Release 1.4")).to_be_visible()


def test_an_object_is_names_and_values(console: Console, swarm: Swarm) -> None:
    """A call of a tool is read, not parsed; numbers keep their digits, and the list names the call."""
    call = {"tool": "bash", "arguments": {"command": "rm -rf build\nmake", "n": 9007199254740993}}
    asked = swarm.ask(call, choices=["approve"])
    console.row("bash: rm -rf build make").click()
    question = console.page.get_by_role("region", name="What is asked")

    expect(question.locator("dt")).to_have_text(["tool", "arguments", "command", "n"])
    expect(question).to_contain_text("9007199254740993")
    expect(question).not_to_contain_text('"tool"')
    question.get_by_role("button", name="As JSON").click()
    expect(question).to_contain_text('"command": "rm -rf build\\nmake"')
    assert swarm.question(asked["key"])["question"] == call


def test_a_dangerous_choice_is_asked_once_and_its_value_is_what_is_sent(console: Console, swarm: Swarm) -> None:
    """The label stands beside the value; the comment goes with it."""
    choices = ["wait", {"value": "drop", "label": "No, keep everything", "danger": True}]
    asked = swarm.ask("Drop the table?", choices=choices, comment=True)
    console.go("inbox", asked["key"])
    choice = console.page.get_by_role("group", name="Choices").get_by_role("button", name="drop")
    expect(choice).to_contain_text("No, keep everything")
    console.page.get_by_label("Comment").fill("the backup is fresh")
    choice.click()
    dialog = console.page.get_by_role("dialog", name="Send this answer?")
    expect(dialog).to_contain_text("drop")
    dialog.get_by_role("button", name="Leave it").click()
    expect(dialog).to_have_count(0)
    choice.click()
    dialog.get_by_role("button", name="Send it").click()

    found = answered(swarm, asked["key"])
    assert (found["answer"], found["answer_comment"]) == ("drop", "the backup is fresh")
    console.go("inbox", asked["key"])
    expect(console.page.get_by_role("region", name="How it was answered")).to_contain_text("the backup is fresh")


def test_a_claim_is_seen_by_others_and_handed_over(open_console: OpenConsole, swarm: Swarm) -> None:
    """Live, in the list and at the question; it is in nobody's way."""
    asked = swarm.ask("Who takes it?", choices=["me"], bridge_id="desk")
    mine, other = open_console(), open_console()
    mine.sign_in(swarm.root_key, name="ann")
    other.sign_in(swarm.root_key, name="bob")
    for console in (mine, other):
        console.go("inbox", asked["key"])
        console.expect_live()
    expect(mine.page.get_by_role("group", name="Handling")).to_contain_text("bob looks at this, too")
    expect(other.page.get_by_role("group", name="Handling")).to_contain_text("ann looks at this, too")
    mine.button("I’m on this").click()
    expect(mine.main).to_contain_text("You are on this until")
    expect(other.page.get_by_role("group", name="Handling")).to_contain_text("ann is on this until")
    expect(other.row("Who takes it?")).to_contain_text("ann is on it")

    other.button("Hand over…").click()
    dialog = other.page.get_by_role("dialog", name="Hand the question over")
    dialog.get_by_label("To which inbox").fill("night")
    dialog.get_by_role("button", name="Hand it over").click()
    expect(mine.page.locator(".question header")).to_contain_text("addressed to night")
    expect(mine.button("I’m on this")).to_be_visible()
    assert swarm.question(asked["key"])["bridge_id"] == "night"


def test_a_question_that_was_put_off_comes_back(console: Console, swarm: Swarm) -> None:
    """It leaves the list of this person alone, also over a reload, and is taken back."""
    asked = swarm.ask("Not now?", choices=["yes"])
    console.go("inbox", asked["key"])
    console.page.get_by_label("Put it off, for you alone").select_option(label="an hour")
    expect(console.row("Not now?")).to_have_count(0)
    console.page.reload()
    console.page.get_by_role("button", name="Snoozed").click()
    console.row("Not now?").click()
    console.page.get_by_role("button", name=re.compile("take it back")).click()
    console.page.get_by_role("group", name="Which questions").get_by_role("button", name="Open").click()
    expect(console.row("Not now?")).to_be_visible()


def test_what_was_decided_is_listed_in_one_request_and_searched(open_console: OpenConsole, swarm: Swarm) -> None:
    """Newest decision first, with answer, who, door and when; also what was decided before this console was opened."""
    early, late = swarm.ask("Asked first, decided last?"), swarm.ask("Asked last, decided first?")
    swarm.answer(late["key"], "one")
    swarm.answer(early["key"], "two")
    console = open_console()
    console.sign_in(swarm.root_key)
    console.expect_live()
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url) if "order=decided" in request.url else None)
    console.page.get_by_role("group", name="Which questions").get_by_role("button", name="Done").click()
    rows = console.page.get_by_role("list", name="Questions").get_by_role("listitem")
    expect(rows.nth(0)).to_contain_text(re.compile(r"Asked first, decided last\?.*two.*mira, over HTTP", re.DOTALL))
    expect(rows.nth(1)).to_contain_text("Asked last, decided first?")
    assert len(asked) == 1

    console.page.get_by_label("Search what was decided").fill("decided FIRST")
    expect(rows).to_have_count(1)
    expect(console.page.get_by_role("region", name="What is asked")).to_contain_text("Asked last, decided first?")
    third = swarm.ask("Decided FIRST, live?")
    swarm.answer(third["key"], "three")
    expect(rows.nth(0)).to_contain_text("Decided FIRST, live?")


def test_the_task_stands_beside_the_question(console: Console, swarm: Swarm) -> None:
    """Directive, progress, latest outputs, earlier answers with who and when, and what silence does."""
    _, handle = swarm.worker("Translate the manual.\nInto Welsh.", agent="translator")
    early = swarm.call(handle, "POST", "/v1/worker/questions", {"question": "Formal?", "comment": True})
    body = {"value": "formal", "comment": "as in the last edition"}
    swarm.call(swarm.senior, "POST", f"/v1/senior/questions/{early['key']}/answer", body)
    for stage in ("one", "two"):
        swarm.call(handle, "POST", "/v1/worker/output", {"type": "progress", "stage": stage})
    swarm.call(handle, "POST", "/v1/worker/output", {"type": "partial", "chunk": "Pennod un"})
    silence = {"deadline": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "on_deadline": "block"}
    asked = swarm.call(handle, "POST", "/v1/worker/questions", {"question": "And now?", **silence})
    console.go("inbox", asked["key"])

    context = console.page.get_by_role("complementary", name="The worker’s context")
    expect(context.get_by_role("link", name="Translate the manual.")).to_be_visible()
    for text in ("two", "Pennod un", "Into Welsh.", "Formal?", "as in the last edition", "mira, "):
        expect(context).to_contain_text(text)
    expect(console.page.locator(".deadline")).to_contain_text(
        re.compile(r"Nobody answers until .+: the task is blocked")
    )


def test_an_action_is_shown_and_decided_on(console: Console, swarm: Swarm) -> None:
    """Name, arguments and digest stand beside the question; what is allowed is offered, and what is shown is sent."""
    action = {"name": "bash", "arguments": {"command": "make ship", "n": 10}}
    asked = swarm.ask("May I?", action=action, allowed=["approve", "edit", "reject"])
    console.go("inbox", asked["key"])
    shown = console.page.get_by_role("region", name="The action")
    expect(shown.locator("dt")).to_have_text(["name", "arguments", "command", "n"])
    expect(shown).to_contain_text(asked["action_digest"][:19])
    decisions = console.page.get_by_role("group", name="Decisions")
    expect(decisions.get_by_role("button")).to_have_text(["Approve", "Edit and approve", "Reject"])
    expect(console.page.get_by_role("button", name="Send")).to_have_count(0)

    console.press("a")
    expect(decisions.get_by_role("button", name="Approve", exact=True)).to_be_focused()
    decisions.get_by_role("button", name="Edit and approve").click()
    console.page.get_by_label("Arguments, as JSON").fill('{"command": "make check", "n": 9007199254740992}')
    console.page.get_by_label("Message").fill("not yet")
    will_send = console.page.get_by_role("region", name="What will be sent")
    expect(will_send).to_contain_text('"command": "make check"')
    expect(will_send).to_contain_text("not yet")
    sent = json.loads(will_send.get_by_role("group", name="The JSON that will be sent").inner_text())
    console.press("Control+Enter")
    expect(console.page.get_by_role("log", name="Answers on their way")).to_contain_text(
        "Sent: Approve with changes: not yet"
    )

    edited = {"name": "bash", "arguments": {"command": "make check", "n": 9007199254740992}}
    answer = answered(swarm, asked["key"])["answer"]
    assert answer == sent == {"decision": "edit", "edited_action": edited, "message": "not yet"}
    console.go("inbox", asked["key"])
    settled = console.page.get_by_role("region", name="How it was answered")
    expect(settled).to_contain_text("Approve with changes: not yet")
    expect(settled).to_contain_text("make check")


def test_a_question_is_taken_back_by_who_may(console: Console, swarm: Swarm, open_console: OpenConsole) -> None:
    """An operator withdraws it, with a reason; a senior alone has no such button."""
    asked = swarm.ask("Still wanted?", title="Soon gone")
    alone = swarm.call(swarm.root_key, "POST", "/v1/admin/keys", {"name": "decides alone", "roles": ["senior"]})
    other = open_console()
    other.sign_in(alone["key"])
    other.go("inbox", asked["key"])
    expect(other.button("Hand over…")).to_be_visible()
    expect(other.button("Withdraw…")).to_have_count(0)
    console.go("inbox", asked["key"])
    console.button("Withdraw…").click()
    expect(console.page.get_by_role("dialog")).to_contain_text("cannot be undone")
    console.page.get_by_label("Reason").fill("not needed any more")
    console.button("Withdraw it").click()
    expect(console.page.locator("h1 .badge")).to_have_text("withdrawn")
    found = swarm.question(asked["key"])
    assert (found["status"], found["reason"]) == ("withdrawn", "not needed any more")
