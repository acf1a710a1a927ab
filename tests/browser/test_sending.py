"""An answer is on its way for five seconds in which nothing has left; the list and the question agree all the time."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.browser.test_inbox import answered
from tests.support.swarm import Swarm

pytestmark = pytest.mark.browser


def test_an_answer_can_be_taken_back(console: Console, swarm: Swarm) -> None:
    """Nothing is sent before the five seconds are over; afterwards the other answer is the only one."""
    sent: list[str] = []
    console.page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/answer") else None)
    asked = swarm.ask("Ship it?", choices=["ship", "wait"])
    console.row("Ship it?").click()
    console.button("ship").click()
    outbox = console.page.get_by_role("log", name="Answers on their way")
    expect(outbox).to_contain_text("Sent: ship")
    outbox.get_by_role("button", name="Undo").click()

    expect(console.page.locator(".asked")).to_contain_text("Ship it?")
    expect(console.row("Ship it?")).to_have_class(re.compile("selected"))
    console.button("wait").click()
    assert answered(swarm, asked["key"]) == "wait"
    expect(outbox.locator(".notice")).to_have_count(0)
    assert len(sent) == 1


def test_the_next_question_is_selected_and_a_key_takes_back(console: Console, swarm: Swarm) -> None:
    """Whoever answers goes on to the next one; `u` brings the last one back with its draft."""
    swarm.ask("One of two?", agent="pair")
    second = swarm.ask("Two of two?", agent="pair")
    console.page.get_by_label("Filter by agent or text").fill("pair")
    console.row("One of two?").click()
    console.page.get_by_role("textbox", name="Your answer").fill("first words")
    console.press("Control+Enter")
    expect(console.page.locator(".asked")).to_contain_text("Two of two?")
    expect(console.row("One of two?")).to_have_count(0)
    console.page.locator(".asked").click()
    console.press("u")

    expect(console.page.get_by_role("textbox", name="Your answer")).to_have_value("first words")
    assert swarm.question(second["key"])["status"] == "open"


def test_leaving_the_page_sends_what_waits(open_console: OpenConsole, swarm: Swarm) -> None:
    """Nobody is there to take it back."""
    asked = swarm.ask("Gone?", choices=["gone", "here"])
    console = open_console()
    console.sign_in(swarm.root_key)
    console.row("Gone?").click()
    console.button("gone").click()
    expect(console.page.locator(".outbox")).to_contain_text("Sent: gone")
    console.page.goto("about:blank")

    assert answered(swarm, asked["key"]) == "gone"


def test_a_filter_moves_the_selection(console: Console, swarm: Swarm) -> None:
    """The question that is shown is the one that is selected; keys never answer one that the list hides."""
    shown = swarm.ask("Apples?", choices=["red", "green"], agent="fruit")
    hidden = swarm.ask("Bolts?", choices=["long", "short"], agent="metal")
    console.row("Bolts?").click()
    expect(console.page.locator(".asked")).to_contain_text("Bolts?")
    console.page.get_by_label("Filter by agent or text").fill("fruit")
    expect(console.page.locator(".asked")).to_contain_text("Apples?")
    expect(console.page.locator(".listing li.selected")).to_contain_text("Apples?")

    console.page.get_by_label("Filter by agent or text").fill("no such thing")
    expect(console.page.locator(".asked")).to_have_count(0)
    console.press("Escape", "1")
    expect(console.page.locator(".outbox .notice")).to_have_count(0)

    console.page.get_by_label("Filter by agent or text").fill("fruit")
    console.press("Enter")
    expect(console.page.locator(".listing li.selected")).to_contain_text("Apples?")
    console.press("a")
    expect(console.page.locator(".choice").first).to_be_focused()
    console.press("Enter")
    assert answered(swarm, shown["key"]) == "red"
    assert swarm.question(hidden["key"])["status"] == "open"


PRESS_WHILE_FOLDED = """() => {
    if (!document.querySelector(".asked .folded")) return true;
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "1", bubbles: true}));
    return false;
}"""
"""Keys are ignored right after a question appears; one that comes after the fold has opened would answer."""


def test_a_key_unfolds_a_long_question_before_it_answers(console: Console, swarm: Swarm) -> None:
    """What is below the fold may change the answer."""
    asked = swarm.ask("Line.\n" * 100 + "Do NOT ship it.", choices=["keep", "ship"])
    console.go("inbox", asked["key"])
    expect(console.page.locator(".asked .folded")).to_be_visible()
    console.page.wait_for_function(PRESS_WHILE_FOLDED)
    expect(console.page.locator(".asked")).to_contain_text("Do NOT ship it.")
    expect(console.page.locator(".outbox .notice")).to_have_count(0)
    console.press("1")

    assert answered(swarm, asked["key"]) == "keep"


def test_a_tab_moves_the_selection(console: Console, swarm: Swarm) -> None:
    """Among what is done, nothing open is shown; what is opened by its address stands in the list."""
    done = swarm.ask("Old one?", choices=["x"])
    swarm.ask("New one?", choices=["y"])
    expect(console.row("Old one?")).to_be_visible()
    swarm.answer(done["key"], "x")
    expect(console.row("Old one?")).to_have_count(0)
    console.row("New one?").click()
    console.button("Done").click()
    expect(console.page.locator(".listing li.selected")).to_contain_text("Old one?")
    expect(console.page.locator(".asked")).to_contain_text("Old one?")

    console.page.get_by_role("button", name=re.compile("^Open")).click()
    expect(console.page.locator(".listing li.selected .badge")).to_have_count(0)
    expect(console.page.locator(".answer")).to_have_count(1)


@pytest.mark.parametrize(("name", "status"), [("dana", "answered"), ("mo", "open")])
def test_an_answer_outlives_its_session_and_goes_out_under_its_own_name_alone(
    open_console: OpenConsole, swarm: Swarm, name: str, status: str
) -> None:
    """Whose key is revoked in the five seconds signs in again; somebody else who does sends nothing of theirs."""
    made = swarm.call(swarm.root_key, "POST", "/v1/admin/keys", {"name": f"short for {name}", "roles": ["senior"]})
    asked = swarm.ask(f"Revoked before {name}?", choices=["go"])
    console = open_console()
    console.sign_in(made["key"], name="dana")
    console.row(f"Revoked before {name}?").click()
    console.button("go").click()
    expect(console.page.locator(".outbox")).to_contain_text("Sent: go")
    swarm.call(swarm.root_key, "DELETE", f"/v1/admin/keys/{made['id']}")
    expect(console.page.get_by_text("The session ended")).to_be_visible()
    console.sign_in(swarm.root_key, name=name)

    if status == "answered":
        assert answered(swarm, asked["key"]) == "go"
    else:
        expect(console.page.get_by_role("log", name="Notices")).to_contain_text("An answer of dana was not sent.")
        expect(console.page.locator(".outbox .notice")).to_have_count(0)
    assert swarm.question(asked["key"])["status"] == status
