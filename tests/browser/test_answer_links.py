"""The page of answer links: rendering it settles nothing, and the button that names an answer gives that answer."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.conftest import ACTION_MS
from tests.browser.console import WATCH
from tests.support.processes import ServerProcess
from tests.support.swarm import Swarm

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
ACTION = {"name": "bash", "arguments": {"command": "make deploy"}}


@pytest.fixture(scope="module")
def person(node: ServerProcess) -> str:
    """The name of a person's key, the same for all tests here."""
    with contextlib.closing(Swarm(node.url, node.root_key())) as swarm:
        swarm.call(node.root_key(), "POST", "/v1/admin/keys", {"name": "pat", "roles": ["senior"], "person": True})
    return "pat"


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    """Both themes."""
    return request.param


@pytest.fixture
def page(browser: Browser, node: ServerProcess) -> Iterator[Page]:
    """A phone. Nothing may fail behind its back, go elsewhere, or have a secret in an address that is requested."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(ACTION_MS)
    page = context.new_page()
    wrong: list[str] = []

    def requested(request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(node.url).netloc or "al_" in request.url.partition("#")[0]:
            wrong.append(request.url)
        if request.headers.get("referer"):
            wrong.append(f"a referrer {request.headers['referer']} with {request.url}")

    page.add_init_script(WATCH)
    page.on("request", requested)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    wrong += page.evaluate("() => window.__violations ?? []")
    context.close()
    assert wrong == []


def linked(swarm: Swarm, question: Any, **parts: Any) -> tuple[str, str]:
    """The key of a new question, and a link to it for Pat."""
    asked = swarm.call(swarm.operator, "POST", "/v1/operator/questions", {"question": question, **parts})
    body = {"person": "pat", "ttl": 600}
    return asked["key"], swarm.call(swarm.senior, "POST", f"/v1/senior/questions/{asked['key']}/links", body)["url"]


def test_a_link_is_rendered_for_nothing_and_answers_when_pressed(
    page: Page, swarm: Swarm, person: str, node: ServerProcess
) -> None:
    """Fetched a hundred times, rendered, clicked and submitted by scripts, it is open; the named button settles it."""
    key, url = linked(swarm, "Deploy to all regions?", title="Deploy?", choices=["yes", "no"])
    with httpx.Client(trust_env=False) as scanner:
        for _ in range(100):
            assert scanner.get(url).status_code == 200
    for _ in range(3):
        page.goto("about:blank")
        page.goto(url)
        expect(page.get_by_role("heading", name="Deploy?")).to_be_visible()
        page.evaluate(
            """() => {
              for (const one of document.querySelectorAll("button, a, form, input, textarea")) {
                one.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
                if (one.tagName === "BUTTON") one.click();
                one.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
              }
            }"""
        )
        page.keyboard.press("Enter")
    assert swarm.question(key)["status"] == "open"

    page.get_by_role("button", name="Answer “no”").click()
    expect(page.get_by_role("heading", name="Your answer was taken")).to_be_visible()
    answered = swarm.question(key)
    assert (answered["answer"], answered["answered_by"]) == ("no", person)
    assert answered["answered_through"]["door"] == "link"
    page.reload()
    expect(page.get_by_role("heading", name="This link cannot be used")).to_be_visible()


def test_an_action_is_decided(page: Page, swarm: Swarm, person: str) -> None:
    """The page shows what is to be done; each decision that is allowed has a button of its own."""
    allowed = ["approve", "edit", "reject", "respond"]
    key, url = linked(swarm, "May I?", action=ACTION, allowed=allowed)
    page.goto(url)
    expect(page.get_by_text("make deploy").first).to_be_visible()
    names = ["Approve bash", "Reject bash", "Type first"]
    for name in names:
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    page.get_by_label("Other arguments, as JSON").fill('{"command": "make plan"')
    expect(page.get_by_role("button", name="Type first")).to_have_count(2)
    page.get_by_label("Other arguments, as JSON").fill('{"command": "make plan"}')
    page.get_by_role("button", name='Approve bash with {"command":"make plan"}').click()
    expect(page.get_by_role("heading", name="Your answer was taken")).to_be_visible()
    edited = {"name": "bash", "arguments": {"command": "make plan"}}
    assert swarm.question(key)["answer"] == {"decision": "edit", "edited_action": edited}

    key, url = linked(swarm, "May I?", action=ACTION)
    page.goto("about:blank")
    page.goto(url)
    page.get_by_label("Why not").fill("not today")
    page.get_by_role("button", name="Reject bash").click()
    expect(page.get_by_role("heading", name="Your answer was taken")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("Rejected. not today")
    assert swarm.question(key)["answer"] == {"decision": "reject", "message": "not today"}


@pytest.mark.parametrize(
    ("parts", "typed", "button", "answer"),
    [
        ({}, "Go ahead", "Answer “Go ahead”", "Go ahead"),
        ({"answer_schema": {"type": "integer"}}, "42", "Answer 42", 42),
        ({"answer_schema": {"type": "boolean"}}, None, "Answer Yes", True),
        ({"answer_schema": {"enum": ["a", 2, None]}}, None, "Answer null", None),
        ({"choices": [{"value": {"n": 1}, "label": "One"}]}, None, 'Answer One ({"n":1})', {"n": 1}),
    ],
)
def test_an_answer_is_named_before_it_is_sent(
    page: Page, swarm: Swarm, person: str, parts: Any, typed: str | None, button: str, answer: Any
) -> None:
    """Text, a number, yes or no, a listed value, a choice with words."""
    key, url = linked(swarm, "Which?", **parts)
    page.goto(url)
    if typed is not None:
        page.get_by_role("textbox").fill(typed)
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_role("heading", name="Your answer was taken")).to_be_visible()
    found = swarm.question(key)
    assert (found["status"], found["answer"]) == ("answered", answer)


def test_a_dangerous_answer_is_pressed_twice(page: Page, swarm: Swarm, person: str) -> None:
    """The asker's mark is heeded."""
    key, url = linked(swarm, "Which?", choices=[{"value": "wipe", "label": "Wipe it", "danger": True}, "keep"])
    page.goto(url)
    page.get_by_role("button", name="Answer Wipe it (“wipe”)").click()
    again = page.get_by_role("button", name="It is called dangerous. Press again to answer Wipe it (“wipe”)")
    expect(again).to_be_visible()
    assert swarm.question(key)["status"] == "open"
    again.click()
    expect(page.get_by_role("heading", name="Your answer was taken")).to_be_visible()
    assert swarm.question(key)["answer"] == "wipe"


@pytest.mark.parametrize(
    "parts",
    [
        {"answer_schema": {"type": "object", "additionalProperties": {"type": "string"}}},
        {"choices": [12345678901234567890, 1]},
    ],
)
def test_what_the_page_cannot_show_truly_is_left_to_the_console(
    page: Page, swarm: Swarm, person: str, parts: Any
) -> None:
    """No choice is simplified, and no number bent."""
    key, url = linked(swarm, "Which?", **parts)
    page.goto(url)
    place = page.get_by_role("link", name="in the console")
    assert str(place.get_attribute("href")).endswith(f"/console#/inbox/{key}")
    expect(page.get_by_role("button")).to_have_count(0)


ORDER = {
    "type": "object",
    "required": ["size"],
    "additionalProperties": False,
    "properties": {
        "size": {"type": "integer", "minimum": 2},
        "note": {"type": "string", "title": "<b>Why</b>"},
        "to": {"type": "object", "properties": {"city": {"enum": ["Ulm", "Bonn"]}}},
        "share": {"type": "number"},
    },
}


def test_an_answer_with_parts_has_the_form_of_the_console(page: Page, swarm: Swarm, person: str, theme: str) -> None:
    """Checked before it is sent, nested, with every digit that was typed; the button names what is sent."""
    key, url = linked(swarm, "Which order?", answer_schema=ORDER)
    page.emulate_media(color_scheme=theme)  # pyright: ignore[reportArgumentType] - one of Playwright's names
    page.goto(url)
    page.get_by_label("size").fill("2")
    page.evaluate("() => [...document.querySelectorAll('main > section > button')].forEach((one) => one.click())")
    assert swarm.question(key)["status"] == "open"
    page.get_by_label("size").fill("1")
    page.get_by_role("button", name='Answer {"size":1}').click()
    expect(page.get_by_text("This has to be at least 2.")).to_be_visible()
    page.get_by_label("size").fill("3")
    page.get_by_label("share").fill("0.10")
    page.get_by_role("button", name="Add to").click()
    page.get_by_text("Ulm").click()
    assert page.locator("b").count() == 0
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Answer {").click()
    expect(page.get_by_role("heading", name="Your answer was taken")).to_be_visible()
    expect(page.get_by_text("0.10")).to_be_visible()
    assert swarm.question(key)["answer"] == {"size": 3, "share": 0.1, "to": {"city": "Ulm"}}


def test_a_refused_answer_can_be_corrected(page: Page, swarm: Swarm, person: str) -> None:
    """The reason is shown, and the link is still good."""
    key, url = linked(swarm, "How many?", answer_schema={"type": "integer", "minimum": 3})
    page.goto(url)
    page.get_by_role("textbox").fill("1")
    page.get_by_role("button", name="Answer 1").click()
    expect(page.get_by_role("alert")).to_contain_text("3")
    page.get_by_role("textbox").fill("4")
    page.get_by_role("button", name="Answer 4").click()
    expect(page.get_by_role("heading", name="Your answer was taken")).to_be_visible()
    assert swarm.question(key)["answer"] == 4


def test_the_page_is_accessible_and_texts_are_inert(
    browser: Browser, page: Page, swarm: Swarm, person: str, theme: str
) -> None:
    """Markup stays text, letters that reorder others are spelled out, everything fits a phone."""
    nasty = "<img src=x onerror=alert(1)> \u202eylno \u2066x\u2069 " + "w" * 300
    _, url = linked(swarm, nasty, title="<b>T</b>", choices=[{"value": "a\u202eb", "label": "<i>L</i>"}, nasty])
    page.emulate_media(color_scheme=theme)  # pyright: ignore[reportArgumentType] - one of Playwright's names
    page.goto(url)
    expect(page.get_by_role("heading", name="<b>T</b>")).to_be_visible()
    expect(page.get_by_role("button", name="Answer <i>L</i> (“a⟨U+202E⟩b”)")).to_be_visible()
    assert page.locator("img, b, i").count() == 0
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_address_without_its_secret_says_so(page: Page, node: ServerProcess) -> None:
    """Mail programs that cut addresses are met with words."""
    page.goto(f"{node.url}/a")
    expect(page.get_by_role("heading", name="Open the whole link")).to_be_visible()
    page.goto("about:blank")
    page.goto(f"{node.url}/a#al_nonsense")
    expect(page.get_by_role("heading", name="This link cannot be used")).to_be_visible()
