"""What agents write is shown and does nothing: the fixture fails on any dialog, policy violation or foreign request."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.console import Console
from tests.support.swarm import Swarm

pytestmark = pytest.mark.browser

HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)><style>*{display:none}</style>"
    "<iframe src='javascript:alert(4)'></iframe><a href='javascript:alert(5)'>go</a> [md](javascript:alert(6)) **x** "
    "![pic](https://example.invalid/pixel.png) <link rel=stylesheet href=https://example.invalid/a.css> "
    "&lt;b&gt; {{7*7}} ${7*7} \x1b[2J\x1b[31mred\x1b]8;;https://example.invalid\x07 "
    "\u202etxt.exe\u202c \u2066isolated\u2069 zero\u200bwidth \ufefftag\U000e0041 \x9b31m \u2028line"
)
MARKED = [
    "⟨ESC⟩[31mred",
    "⟨BEL⟩",
    "⟨U+202E⟩txt.exe",
    "⟨U+200B⟩",
    "⟨U+E0041⟩",
    "⟨U+009B⟩",
    "⟨U+2028⟩",
    "<script>alert(2)</script>",
]
LIVE_ELEMENTS = "main :is(img, script, iframe, style, link, b[onclick]), a[href^=javascript]"


@pytest.fixture
def hostile_task(swarm: Swarm) -> tuple[str, str]:
    """A task whose worker says hostile things wherever it can, and the key of its question."""
    task_id, handle = swarm.worker(HOSTILE, agent="<b>agent</b>", labels={"<i>label": "<img src=y onerror=alert(8)>"})

    def say(path: str, body: object) -> object:
        return swarm.call(handle, "POST", f"/v1/worker/{path}", body)

    say("output", {"type": "progress", "stage": "<script>alert(9)</script>", "note": HOSTILE})
    say("output", {"type": "partial", "chunk": {"<b>key</b>": HOSTILE}})
    say(
        "output",
        {"type": "artifact", "name": "<svg onload=alert(10)>", "content": {"kind": "inline", "value": HOSTILE}},
    )
    asked = say("questions", {"question": HOSTILE, "choices": ["<img src=z onerror=alert(11)>", "\u202eevil", HOSTILE]})
    return task_id, asked["key"]  # pyright: ignore[reportIndexIssue] - a question


def test_hostile_text_is_inert_on_every_page(console: Console, hostile_task: tuple[str, str]) -> None:
    """It is there letter by letter, unseen characters made visible, and no element comes of it."""
    task_id, key = hostile_task
    console.go("inbox", key)
    asked = console.page.locator(".asked")
    for text in MARKED:
        expect(asked).to_contain_text(text)
    expect(console.page.get_by_role("group", name="Choices")).to_contain_text(r'"\u202eevil"')
    expect(console.page.get_by_role("complementary")).to_contain_text("<script>alert(9)</script>")
    for page, id in (
        ("inbox", key),
        ("task", task_id),
        ("tasks", ""),
        ("events", ""),
        ("sessions", ""),
        ("overview", ""),
    ):
        console.go(page, id)
        expect(console.page.get_by_role("heading").first).to_be_visible()
        made = console.page.evaluate("(kinds) => document.querySelectorAll(kinds).length", LIVE_ELEMENTS)
        assert made == 0, page
    console.go("task", task_id)
    expect(console.page.locator(".outputs")).to_contain_text("⟨ESC⟩[31mred")


def test_a_hostile_schema_makes_a_harmless_form(console: Console, swarm: Swarm) -> None:
    """Titles, descriptions, names and choices of a schema are text like any other."""
    schema = {
        "title": HOSTILE,
        "description": "<img src=q onerror=alert(20)> **x**",
        "type": "object",
        "properties": {
            "<b>name</b>\u202e": {"type": "string", "description": HOSTILE},
            "__proto__x": {"enum": ["\u202egpj.exe", "<script>alert(21)</script>"]},
            "slow": {"type": "string", "pattern": "^(a+)+$"},
        },
    }
    asked = swarm.ask("A form?", answer_schema=schema)
    console.go("inbox", asked["key"])
    form = console.page.locator(".form")
    expect(form).to_contain_text("⟨ESC⟩[31mred")
    expect(form).to_contain_text("<b>name</b>⟨U+202E⟩")
    expect(form).to_contain_text('"\\u202egpj.exe"')
    assert console.page.evaluate("() => document.querySelectorAll('.form img, .form script, .form style').length") == 0
    # An expression that takes for ever on this text is never run here.
    console.page.get_by_label("slow").fill("a" * 60 + "!")
    console.button("Send").click()
    expect(console.page.locator(".answer")).to_be_visible()


def test_an_unfolded_text_stays_as_it_is_when_someone_else_answers(console: Console, swarm: Swarm) -> None:
    """What is read anew replaces the text when it has arrived, not before."""
    asked = swarm.ask("".join(f"line {n}\n" for n in range(2_300)))
    console.go("inbox", asked["key"])
    question = console.page.locator(".asked")
    question.get_by_role("button", name=re.compile(r"Show all \(\d{2},")).click()
    late: list[Route] = []
    reads: list[Route] = []

    def second_read_waits(route: Route) -> None:
        reads.append(route)
        late.append(route) if len(reads) > 1 else route.continue_()

    console.page.route(f"**/v1/senior/questions/{asked['key']}", second_read_waits)
    swarm.answer(asked["key"], "done")
    expect(console.main.get_by_text("answered", exact=True).first).to_be_visible()
    expect(question.locator(".block").last).to_contain_text("line 2299")
    for route in late:
        route.continue_()
    expect(question.get_by_role("button", name="Show less")).to_be_visible()


def test_long_text_is_folded_and_shown_when_asked(console: Console, swarm: Swarm) -> None:
    """The page stays quick, and the whole text is there on demand."""
    lines = [f"line {n} \x1b[1m<b>\n" for n in range(40_000)]
    large, directive = "".join(lines[:2_300]), "".join(lines)
    asked = swarm.ask(large, directive=directive)
    console.go("inbox", asked["key"])
    question = console.page.locator(".asked")
    expect(question).to_contain_text("line 0 ⟨ESC⟩[1m<b>")
    more = question.get_by_role("button", name="Show all")
    expect(more).to_contain_text(f"{len(large):,}")  # before, the beginning that the list has of it is shown
    assert len(question.inner_text()) < 5_000
    more.click()
    expect(question.locator(".block").last).to_contain_text("line 2299")
    assert console.page.evaluate("() => document.querySelectorAll('*').length") < 1_500
    question.get_by_role("button", name="Show less").click()
    expect(more).to_be_visible()
    assert len(question.inner_text()) < 5_000

    console.go("tasks")
    expect(console.row("line 0").first).to_be_visible()
    assert len(console.main.inner_text()) < 50_000
