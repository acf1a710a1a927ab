"""What all pages have in common: where one lands, edges, times, and sizes for fingers."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser

PAGES = ("inbox", "tasks", "overview", "workers", "events", "sessions", "webhooks")
SMALL = """
() => [...document.querySelectorAll("button, select, textarea, summary, label.check, input")]
  .filter((one) => !["checkbox", "radio"].includes(one.type))
  .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 43.5)
  .map((one) => `${one.outerHTML.slice(0, 100)} ${one.getBoundingClientRect().height}`)
"""
CUT = """
() => [...document.querySelectorAll("main .handling, main .buttons, main .bar")]
  .flatMap((bar) => [bar, ...bar.children])
  .filter((one) => one.checkVisibility() && (one.scrollWidth > one.clientWidth + 1 && one.matches("div")
    || one.getBoundingClientRect().right > innerWidth))
  .map((one) => one.outerHTML.slice(0, 100))
"""
WIDTHS = """
() => [...document.querySelectorAll("main > *")]
  .filter((one) => one.checkVisibility())
  .filter((one) => Math.abs(one.getBoundingClientRect().width - document.querySelector("main").clientWidth) > 1)
  .map((one) => `${one.outerHTML.slice(0, 100)} ${one.getBoundingClientRect().width}`)
"""
FIRST_PAINT = """
() => new Promise((resolve) => {
  const report = (list) => list.getEntriesByName("first-contentful-paint").forEach((one) => resolve(one.startTime))
  new PerformanceObserver(report).observe({ type: "paint", buffered: true })
})
"""


@pytest.fixture
def story(swarm: Swarm) -> tuple[str, str]:
    """A task with an attempt and an answered question, and a question with a form."""
    task_id, handle = swarm.worker("A prompt.")
    swarm.call(handle, "POST", "/v1/worker/output", {"type": "progress", "stage": "one"})
    asked = swarm.call(handle, "POST", "/v1/worker/questions", {"question": "Old?"})
    swarm.answer(asked["key"], "yes")
    schema = {
        "type": "object",
        "properties": {
            "go": {"type": "boolean"},
            "why": {"type": "string"},
            "list": {"type": "array", "items": {"type": "string"}},
            "any": {},
        },
    }
    return task_id, swarm.ask("A form?", answer_schema=schema)["key"]


def test_an_unknown_page_says_so(console: Console) -> None:
    """Instead of another page under its address."""
    console.go("nowhere")
    expect(console.page.get_by_role("heading", level=1)).to_have_text("There is no such page")
    console.page.get_by_role("link", name="Go to the tasks").click()
    expect(console.page.get_by_role("heading", level=1)).to_have_text("Tasks")


@pytest.mark.parametrize("viewport", [(1920, 1080), (390, 844)])
def test_pages_have_one_left_edge_and_one_width(
    open_console: OpenConsole, swarm: Swarm, story: tuple[str, str], viewport: tuple[int, int]
) -> None:
    """Titles stand on one line from page to page, all take the whole width, and none has to be scrolled sideways."""
    console = open_console(viewport=viewport)
    console.sign_in(swarm.root_key)
    edges = {}
    for page, id in (*((page, "") for page in PAGES), ("task", story[0])):
        console.go(page, id)
        title = console.page.locator("main").get_by_text(
            re.compile("^(Inbox|Tasks|Overview|Workers|Events|Sessions and|Webhooks|coder)")
        )
        expect(title.first).to_be_visible()
        expect(console.main.get_by_text("Reading…")).to_have_count(0)
        # A title that is drawn anew between being found and measured has no place.
        edge = "(one) => one.isConnected ? one.closest('h1, h2, a').getBoundingClientRect().left : -1"
        edges[page] = next(
            left for left in iter(lambda title=title, edge=edge: title.first.evaluate(edge), None) if left >= 0
        )
        assert console.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), page
        assert console.page.evaluate(WIDTHS) == [], page

    assert len(set(edges.values())) == 1, edges


def test_times_are_local_and_tell_the_instant(console: Console, story: tuple[str, str]) -> None:
    """Each has the whole instant in its title, in ISO 8601."""
    instant = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
    for page, id in (("task", story[0]), ("events", ""), ("sessions", ""), ("tasks", "")):
        console.go(page, id)
        expect(console.page.locator("main time").first).to_be_visible()
        titles = console.page.locator("main time").evaluate_all("(all) => all.map((one) => one.title)")
        assert [title for title in titles if not instant.match(title)] == [], page


def test_fingers_reach_everything(open_console: OpenConsole, swarm: Swarm, story: tuple[str, str]) -> None:
    """On a phone, controls are at least 44 pixels high and wholly shown, and no keys are shown beside them."""
    console = open_console(viewport=(390, 844))
    expect(console.button("Sign in")).to_be_visible()
    assert console.page.evaluate(SMALL) == [], "sign-in"
    console.sign_in(swarm.root_key)
    listed = swarm.ask("Choices?", choices=["a", "b"])["key"]
    for page, id in (*((page, "") for page in PAGES), ("task", story[0]), ("inbox", story[1]), ("inbox", listed)):
        console.go(page, id)
        expect(console.main.get_by_role("heading").first).to_be_visible()
        expect(console.main.get_by_text("Reading…")).to_have_count(0)
        sign = {"tasks": ".task-row a", story[1]: ".form", listed: ".choice", story[0]: ".attempt"}.get(id or page)
        if sign:
            expect(console.page.locator(sign).first).to_be_visible()
        assert console.page.evaluate(SMALL) == [], page
        assert console.page.evaluate(CUT) == [], page
        assert (
            console.page.locator("main kbd").evaluate_all("(all) => all.filter((one) => one.checkVisibility()).length")
            == 0
        )


def test_the_first_content_comes_within_a_second(open_console: OpenConsole) -> None:
    """In one of the loads, on a machine that runs other tests."""
    console = open_console()

    def comes() -> bool:
        console.page.reload()
        expect(console.page.get_by_label("API key")).to_be_visible()
        return 0 < console.page.evaluate(FIRST_PAINT) < 1000

    wait_until(comes, awaited="a first paint within a second")
