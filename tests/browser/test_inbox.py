import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.conftest import StartServer
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser

WINDOW = {
    "type": "object",
    "title": "Maintenance window",
    "required": ["minutes", "tell"],
    "properties": {
        "minutes": {"type": "integer", "title": "Minutes", "minimum": 5, "maximum": 120},
        "tell": {"type": "array", "title": "Tell", "items": {"type": "string"}, "minItems": 1},
        "dry": {"type": "boolean", "title": "Dry run"},
        "risk": {"enum": ["low", "high"], "title": "Risk"},
    },
}


def in_seconds(seconds: float) -> str:
    """An instant of the near future."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def answered(swarm: Swarm, key: str) -> object:
    """Wait until the question is answered, and return the answer."""
    return wait_until(
        lambda: (found := swarm.question(key))["status"] == "answered" and [found["answer"]], awaited="the answer"
    )[0]


def test_a_question_appears_and_is_answered_by_a_click(console: Console, swarm: Swarm) -> None:
    """Without a reload the question appears, and the worker gets its answer at once."""
    console.expect_live()
    asked = swarm.ask("Shall I publish it?", choices=["publish", "wait"])

    console.row("Shall I publish it?").click()
    expect(console.page).to_have_title(re.compile(r"^\(\d+\) "))
    console.page.get_by_role("button", name="publish").click()

    assert answered(swarm, asked["key"]) == "publish"
    assert swarm.question(asked["key"])["answered_by"] == "dana"
    expect(console.row("Shall I publish it?")).to_have_count(0)


def test_click_and_keystroke_with_a_reload_and_a_killed_server_between(
    start_server: StartServer, open_console: OpenConsole
) -> None:
    """What a person began survives everything that may happen to the browser and to the server."""
    server = start_server()
    swarm = Swarm(server.url, server.root_key())
    console = open_console(url=server.url, offline_is_fine=True)
    console.sign_in(server.root_key())
    first = swarm.ask("First: go on?", choices=["yes", "no"])
    second = swarm.ask("Second: which one?", choices=["left", "right"])
    third = swarm.ask("Third: in your words?")
    console.row("Third").click()
    console.page.get_by_role("textbox", name="Your answer").fill("half an answ")

    server.kill()
    expect(console.page.get_by_text("Offline, retrying")).to_be_visible()
    console.page.get_by_role("textbox", name="Your answer").press_sequentially("er")
    server.start()
    console.page.reload()
    console.expect_live()

    expect(console.page.get_by_role("textbox", name="Your answer")).to_have_value("half an answer")
    console.press("Control+Enter")
    assert answered(swarm, third["key"]) == "half an answer"
    console.row("First").click()
    console.page.get_by_role("button", name="yes").click()
    assert answered(swarm, first["key"]) == "yes"
    console.row("Second").click()
    expect(console.page.locator(".asked")).to_contain_text("Second")
    console.page.wait_for_function("() => performance.now() > 0 && document.querySelector('.choices')")
    wait_until(lambda: _pressed(console, "2") or swarm.question(second["key"])["status"] == "answered")
    assert answered(swarm, second["key"]) == "right"
    swarm.close()


def _pressed(console: Console, key: str) -> bool:
    """A keystroke that comes too soon after a question was shown is not meant for it, and does nothing."""
    console.press(key)
    return False


def test_an_answer_that_is_sent_while_the_server_is_away_goes_out_when_it_is_back(
    start_server: StartServer, open_console: OpenConsole
) -> None:
    """Sending is kept up over the outage, and over a reload of the page in the middle of it."""
    server = start_server()
    swarm = Swarm(server.url, server.root_key())
    asked = swarm.ask("Go?", choices=["go", "stop"])
    console = open_console(url=server.url, offline_is_fine=True)
    console.sign_in(server.root_key())
    console.row("Go?").click()
    expect(console.page.get_by_role("button", name="go")).to_be_visible()

    server.kill()
    console.page.get_by_role("button", name="go").click()
    expect(console.page.get_by_text("Sending…")).to_be_visible()
    server.start()

    assert answered(swarm, asked["key"]) == "go"
    swarm.close()


def test_a_form_is_made_from_the_schema(console: Console, swarm: Swarm) -> None:
    """Fields are named, what breaks the schema is said once and at its field, and the value has the schema's types."""
    asked = swarm.ask("When may I run it?", answer_schema=WINDOW)
    console.row("When may I run it?").click()
    console.page.get_by_label("minutes").fill("500")
    console.button("Add an item").click()
    console.page.get_by_label("1", exact=True).fill("ops")
    console.button("Send").click()
    expect(console.page.locator(".complaint")).to_have_text("This has to be at most 120.")

    console.page.get_by_label("minutes").fill("45")
    console.page.get_by_label("Yes").check()
    console.page.get_by_label("high").check()
    console.press("Control+Enter")

    assert answered(swarm, asked["key"]) == {"minutes": 45, "tell": ["ops"], "dry": True, "risk": "high"}


def test_a_form_can_be_answered_as_json_and_is_refused_by_the_server(console: Console, swarm: Swarm) -> None:
    """A bad answer is told before it is sent; who sends it anyway reads what the server says, and may try again."""
    asked = swarm.ask("As JSON?", answer_schema=WINDOW)
    console.row("As JSON?").click()
    console.button("JSON").click()
    field = console.page.get_by_label("Your answer, as JSON")
    field.fill('{"minutes": 1, "tell": []}')
    console.press("Control+Enter")
    expect(console.page.locator(".answer .trouble").first).to_contain_text("This has to be at least 5.")
    console.button("Send it anyway").click()
    expect(console.page.locator(".outbox")).to_contain_text("Not accepted")
    assert swarm.question(asked["key"])["status"] == "open"
    console.page.get_by_role("link", name="Open the question").click()

    field.fill('{"minutes": 10, "tell": ["x"]}')
    console.press("Control+Enter")
    assert answered(swarm, asked["key"]) == {"minutes": 10, "tell": ["x"]}


@pytest.mark.parametrize(
    ("schema", "label", "value"),
    [({"type": "boolean"}, "No", False), ({"enum": ["a", 2, None]}, "2", 2), ({"const": "agreed"}, "agreed", "agreed")],
)
def test_schemas_that_list_their_answers_are_buttons(
    console: Console, swarm: Swarm, schema: dict[str, object], label: str, value: object
) -> None:
    """A truth value, an enumeration and a constant need no form."""
    asked = swarm.ask(f"Which of {schema}?", answer_schema=schema)
    console.go("inbox", asked["key"])
    console.page.get_by_role("group", name="Choices").get_by_text(label, exact=True).last.click()

    assert answered(swarm, asked["key"]) == value


def test_a_schema_that_no_form_can_show_is_answered_as_json(console: Console, swarm: Swarm) -> None:
    """A schema that contains itself for ever neither hangs the page nor takes the answer away."""
    endless = {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/a"}}}},
    }
    asked = swarm.ask("Endless?", answer_schema=endless)
    console.go("inbox", asked["key"])

    expect(console.page.get_by_role("button", name="Send")).to_be_visible()
    expect(console.page.locator(".question")).to_contain_text("Endless?")


def test_what_somebody_else_answered_is_shown_and_the_draft_kept(console: Console, swarm: Swarm) -> None:
    """The other's answer and name stand beside what was being written, also after a reload."""
    asked = swarm.ask("Who is first?")
    console.row("Who is first?").click()
    console.page.get_by_role("textbox", name="Your answer").fill("me, nearly")
    swarm.answer(asked["key"], "Mira was")

    settlement = console.page.get_by_role("region", name="How it was answered")
    for _ in range(2):
        expect(settlement).to_contain_text("Answered by mira")
        expect(settlement).to_contain_text("Mira was")
        expect(settlement).to_contain_text("me, nearly")
        console.page.reload()

    console.button("Discard the draft").click()
    expect(settlement).not_to_contain_text("me, nearly")


def test_an_answer_that_comes_second_is_told_so(open_console: OpenConsole, swarm: Swarm) -> None:
    """Between the answer of another and the news of it, a click gets a conflict that is explained."""
    asked = swarm.ask("Contested?", choices=["a", "b"])
    console = open_console()
    console.sign_in(swarm.root_key)
    console.row("Contested?").click()
    choice = console.page.get_by_role("group", name="Choices").get_by_text("b", exact=True)
    expect(choice).to_be_visible()
    console.page.route("**/v1/operator/events*", lambda route: route.abort())
    console.page.route("**/answer", lambda route: (swarm.answer(asked["key"], "a"), route.continue_()))
    choice.click()
    console.page.get_by_role("link", name="Open the question").click()

    settlement = console.page.get_by_role("region", name="How it was answered")
    expect(settlement).to_contain_text("Answered by mira")
    expect(settlement).to_contain_text("Your draft, not sent")


def test_the_most_urgent_deadline_comes_first_then_the_oldest(
    open_console: OpenConsole, start_server: StartServer
) -> None:
    """A deadline beats age, the nearer deadline the farther one."""
    server = start_server()
    swarm = Swarm(server.url, server.root_key())
    swarm.ask("old")
    swarm.ask("young")
    swarm.ask("far", deadline=in_seconds(7200))
    swarm.ask("near", deadline=in_seconds(600))
    console = open_console(url=server.url)
    console.sign_in(server.root_key())

    expect(console.page.locator(".question-row .second")).to_have_text(["near", "far", "old", "young"])
    swarm.close()


def test_the_workers_context_stands_beside_the_question(console: Console, swarm: Swarm) -> None:
    """Prompt, earlier answers and what was said so far."""
    _, handle = swarm.worker("Translate the manual into Welsh.", agent="translator")
    early = swarm.call(handle, "POST", "/v1/worker/questions", {"question": "Formal or informal?"})
    swarm.answer(early["key"], "formal, please")
    swarm.call(handle, "POST", "/v1/worker/output", {"type": "progress", "stage": "chapter 3", "note": "half way"})
    swarm.call(handle, "POST", "/v1/worker/questions", {"question": "And the glossary?"})
    console.row("And the glossary?").click()

    context = console.page.get_by_role("complementary", name="The worker’s context")
    for text in ("Translate the manual into Welsh.", "Formal or informal?", "formal, please", "chapter 3: half way"):
        expect(context).to_contain_text(text)


def test_questions_for_a_named_inbox_reach_it(open_console: OpenConsole, swarm: Swarm) -> None:
    """Who receives under an id gets what is addressed to it; a second window takes it over and says so."""
    console = open_console()
    console.sign_in(swarm.root_key, bridge="night-shift")
    console.expect_live()
    asked = swarm.ask("For the night shift?", bridge_id="night-shift", choices=["ok"])
    expect(console.row("For the night shift?")).to_be_visible()
    wait_until(lambda: "night-shift" in swarm.question(asked["key"])["delivered_to"])

    other = open_console()
    other.sign_in(swarm.root_key, bridge="night-shift")
    other.expect_live()
    expect(console.page.get_by_text("Another window receives")).to_be_visible()
    console.button("Take them back").click()
    expect(other.page.get_by_text("Another window receives")).to_be_visible()


def test_the_inbox_works_on_a_phone(open_console: OpenConsole, swarm: Swarm) -> None:
    """At 360 pixels nothing has to be scrolled sideways, and list and question are two views."""
    swarm.ask("Small screen?", choices=["one", "two"])
    console = open_console(viewport=(360, 740))
    console.sign_in(swarm.root_key)
    console.row("Small screen?").click()
    expect(console.page.locator(".asked")).to_be_visible()
    expect(console.page.locator(".side")).to_be_hidden()
    for page in ("inbox", "tasks", "overview", "events", "sessions"):
        console.go(page)
        expect(console.page.get_by_role("heading", level=1)).to_be_visible()
        assert console.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), page


WIDE = [9007199254740992, 9007199254740993]


def test_a_choice_is_recorded_with_every_digit(console: Console, swarm: Swarm) -> None:
    """Of two numbers that JavaScript cannot tell apart, the one that was clicked is the answer."""
    asked = swarm.ask("Which account?", choices=WIDE)

    console.row("Which account?").click()
    expect(console.page.get_by_role("button", name=str(WIDE[0]))).to_be_visible()
    console.page.get_by_role("button", name=str(WIDE[1])).click()

    assert answered(swarm, asked["key"]) == WIDE[1]


def test_a_form_sends_the_digits_that_were_typed(console: Console, swarm: Swarm) -> None:
    """Numbers of the form go through it as text."""
    schema = {
        "type": "object",
        "required": ["account"],
        "properties": {"account": {"type": "integer", "title": "Account"}},
    }
    asked = swarm.ask("Which account exactly?", answer_schema=schema)

    console.row("Which account exactly?").click()
    console.page.get_by_label("account").fill("20000000000000000001")
    console.page.get_by_role("button", name="Send").click()

    assert answered(swarm, asked["key"]) == {"account": 20000000000000000001}


def test_who_answered_through_which_key_is_told(console: Console, swarm: Swarm) -> None:
    """Beside the answer stand role, key and door; what a deadline gave was nobody's answer."""
    made = swarm.call(swarm.root_key, "POST", "/v1/admin/keys", {"name": "night desk", "roles": ["senior"]})
    body = {"operator_id": "mo", "role": "senior", "ttl": 600}
    token = swarm.call(made["key"], "POST", "/v1/operator/sessions", body)["token"]
    asked = swarm.ask("Who answers?")
    swarm.call(token, "POST", f"/v1/senior/questions/{asked['key']}/answer", {"value": "me"})
    console.go("inbox", asked["key"])

    settlement = console.page.get_by_role("region", name="How it was answered")
    expect(settlement).to_contain_text("Answered by mo")
    expect(settlement).to_contain_text("as senior, with the key night desk, over HTTP")

    task_id, _ = swarm.worker()
    silent = {"question": "Silent?", "deadline": in_seconds(1), "on_deadline": "default", "default": "no"}
    expired = swarm.call(swarm.operator, "POST", f"/v1/operator/tasks/{task_id}/questions", silent)
    assert answered(swarm, expired["key"]) == "no"
    console.go("inbox", expired["key"])
    expect(settlement).to_contain_text("Nobody answered in time: the default was given")


def test_what_silence_does_is_said_in_words(console: Console, swarm: Swarm) -> None:
    """The deadline, what happens at it, and whom the asker wants to answer."""
    fields = {"deadline": in_seconds(3600), "on_deadline": "escalate", "escalate_to": "cto", "bridge_id": "desk"}
    asked = swarm.ask("Escalates?", **fields)
    console.go("inbox", asked["key"])

    header = console.page.locator(".question header")
    expect(header).to_contain_text("addressed to desk")
    expect(header).to_contain_text(re.compile(r"Nobody answers until .+: it goes to cto\. That is the asker’s choice"))


def test_what_is_opened_wins_over_what_is_selected_by_itself(console: Console, swarm: Swarm) -> None:
    """The first question is selected where none is named, but never in the place of one that was opened just now."""
    swarm.ask("Selected by itself?", choices=["yes"])
    opened = swarm.ask("Opened?", choices=["yes"])
    console.go("inbox", opened["key"])
    expect(console.page.get_by_role("heading", level=1)).to_have_text(re.compile("."))
    both = """(opened) => new Promise((done) => {
        const open = () => { location.hash = opened; requestAnimationFrame(() => setTimeout(done)) };
        addEventListener("hashchange", () => requestAnimationFrame(open), { once: true });
        location.hash = "#/inbox";
    })"""
    for _ in range(20):
        console.page.evaluate(both, f"#/inbox/{opened['key']}")
        expect(console.page.locator(".asked")).to_have_text("Opened?")
        assert console.page.evaluate("() => location.hash").endswith(opened["key"])
