import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.console import Console
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser


def test_the_list_is_live_and_filtered(console: Console, swarm: Swarm) -> None:
    """A task that is started appears, changes as it goes on, and is found by every filter."""
    console.go("tasks")
    task_id, handle = swarm.worker("Count the sheep.", agent="shepherd", labels={"farm": "north"})
    row = console.row("Count the sheep.")
    expect(row).to_contain_text("running")
    swarm.call(handle, "POST", "/v1/worker/submit", {"sheep": 7})
    expect(row).to_contain_text("pass")

    swarm.start("Count the cows.", agent="cowherd")
    expect(console.row("Count the cows.")).to_be_visible()
    for label, text in (("Agent", "shepherd"), ("Label, as key:value", "farm:north")):
        console.page.get_by_label(label).fill(text)
        console.press("Enter")
        expect(console.row("Count the cows.")).to_have_count(0)
        expect(row).to_be_visible()
        console.button("All tasks").click()
        expect(console.row("Count the cows.")).to_be_visible()
    console.page.get_by_role("navigation", name="Status").get_by_role("link", name="pending").click()
    expect(row).to_have_count(0)
    console.button("All tasks").click()
    console.page.get_by_label("Search").fill(task_id[:-3].upper())
    expect(console.row("Count the cows.")).to_have_count(0)
    expect(row).to_be_visible()
    console.button("All tasks").click()


def test_keys_lead_through_the_list(console: Console, swarm: Swarm) -> None:
    """g t, j, Enter, Escape; and ? shows them all."""
    swarm.start("The newest of all.")
    console.press("g", "t")
    expect(console.row("The newest of all.")).to_be_visible()
    console.press("j")
    expect(console.page.locator(".listing li.selected")).to_contain_text("The newest of all.")
    console.press("Enter")
    expect(console.page.get_by_role("heading", name="The newest of all.", level=1)).to_be_visible()
    console.press("Escape")
    expect(console.page.get_by_role("heading", name="Tasks")).to_be_visible()
    console.press("?")
    expect(console.page.get_by_role("dialog")).to_contain_text("Ctrl")
    console.press("Escape")
    expect(console.page.get_by_role("dialog")).to_have_count(0)


def test_children_open_under_their_parent(console: Console, swarm: Swarm) -> None:
    """In the list and on the parent's page."""
    task_id, handle = swarm.worker("The parent.")
    swarm.call(handle, "POST", "/v1/worker/tasks", {"agent": "kid", "initial_directive": "The child."})
    console.go("tasks")
    expect(console.row("The parent.")).to_be_visible()
    console.page.get_by_label("Agent").fill("coder")
    console.press("Enter")
    expect(console.row("The child.")).to_have_count(0)
    console.page.get_by_role("button", name=f"Children of {task_id}").click()
    expect(console.row("The child.")).to_be_visible()
    console.button("All tasks").click()

    console.go("task", task_id)
    expect(console.page.locator(".tree")).to_contain_text("The child.")


def test_a_task_is_drawn_explained_and_cancelled(console: Console, swarm: Swarm) -> None:
    """The picture says in words what it shows; why names what is waited for; cancelling reaches the server."""
    task_id, handle = swarm.worker("Dig a hole.")
    swarm.call(handle, "POST", "/v1/worker/output", {"type": "progress", "stage": "one metre"})
    swarm.call(handle, "POST", "/v1/worker/questions", {"question": "Deeper?"})
    console.go("task", task_id)

    picture = console.page.locator(".timeline svg")
    expect(console.page.get_by_role("img", name="Timeline over")).to_be_visible()
    expect(picture.locator(".bar")).to_have_count(1)
    expect(picture.locator(".asked")).to_have_count(1)
    expect(console.page.locator(".why")).to_contain_text("waits for an answer")
    expect(console.page.locator(".outputs")).to_contain_text("one metre")

    console.button("Cancel…").click()
    console.page.get_by_label("Reason").fill("enough")
    console.button("Cancel the task").click()
    expect(console.page.locator("h1 .badge")).to_have_text("cancelled")
    assert swarm.task(task_id)["status"] == "cancelled"


def test_what_models_used_is_shown(console: Console, swarm: Swarm) -> None:
    """In the list, of the attempt by model, and of the task with those below it."""
    task_id, handle = swarm.worker("Spend a little.")
    for model, tokens in (("large", 1200), ("small", 50)):
        body = {"type": "usage", "input_tokens": tokens, "cost": 0.25, "model": model}
        swarm.call(handle, "POST", "/v1/worker/output", body)
    child = swarm.call(handle, "POST", "/v1/worker/tasks", {"agent": "kid", "initial_directive": "Spend more."})
    below = swarm.dispatch(child["id"], {"kind": "external"})["worker_handle"]
    swarm.call(below, "POST", "/v1/worker/output", {"type": "usage", "output_tokens": 30})
    console.go("tasks")
    expect(console.row("Spend a little.")).to_contain_text("used 1.25k in, cost 0.5")
    console.page.get_by_label("Order").select_option("shortest")
    expect(console.page.locator(".listing li").first).to_contain_text("Spend more.")
    expect(console.page).to_have_url(re.compile("sort=shortest"))
    console.page.get_by_label("Order").select_option("")
    console.go("task", task_id)
    expect(console.page.locator("header .facts")).to_contain_text("used 1.25k in, 30 out, cost 0.5 with 1 task below")
    expect(console.page.locator(".attempt .used")).to_contain_text("large: 1.2k in, cost 0.25")
    expect(console.page.locator(".tree")).to_contain_text("used 30 out")


def test_a_senior_overrules_and_directs(console: Console, swarm: Swarm) -> None:
    """A verdict turns around, and the next attempt gets the new prompt."""
    task_id, handle = swarm.worker("Paint the door.")
    swarm.call(handle, "POST", "/v1/worker/submit?ok=false", "no paint")
    console.go("task", task_id)
    console.button("Next directive…").click()
    console.page.get_by_role("textbox", name="Prompt").fill("Paint it green.")
    console.button("Set it").click()
    expect(console.page.get_by_role("dialog")).to_have_count(0)

    console.button("Dispatch again…").click()
    console.button("Start attempt 2").click()
    expect(console.page.get_by_role("dialog")).to_contain_text("wh-")
    expect(console.page.locator("h1 .badge")).to_have_text("running")
    expect(console.page.get_by_role("dialog")).to_contain_text("wh-")
    console.button("Close").click()
    attempt = swarm.call(swarm.operator, "GET", f"/v1/operator/tasks/{task_id}/attempts/2")
    assert attempt["prompt"] == "Paint it green."

    console.button("Overrule…").click()
    console.page.get_by_label("Its result, as JSON or text").fill('{"door": "green"}')
    console.button("Set to pass").click()
    expect(console.page.locator("h1 .badge")).to_have_text("pass")
    assert swarm.task(task_id)["last_result"] == {"door": "green"}


def test_a_late_result_is_adopted(console: Console, swarm: Swarm) -> None:
    """What came too late is shown with its attempt, and counts when a person says so."""
    task_id, handle = swarm.worker("Find the key.")
    swarm.call(handle, "POST", "/v1/worker/submit?ok=false", "not found")
    swarm.dispatch(task_id, {"kind": "queue", "queue": "nobody"})
    with pytest.raises(AssertionError, match="attempt-superseded"):
        swarm.call(handle, "POST", "/v1/worker/submit", "under the mat")
    console.go("task", task_id)
    console.page.locator("details.attempt").filter(has_text="Attempt 1").locator("summary").click()
    expect(console.page.locator(".late")).to_contain_text("under the mat")
    console.button("Adopt this result").click()

    expect(console.page.locator("h1 .badge")).to_have_text("pass")
    assert swarm.task(task_id)["last_result"] == "under the mat"


def test_a_task_is_started_here(console: Console, swarm: Swarm) -> None:
    """The dialog makes one task, labelled and queued."""
    console.go("tasks")
    console.button("New task").click()
    dialog = console.page.get_by_role("dialog")
    dialog.get_by_label("Agent").fill("gardener")
    dialog.get_by_label("Directive").fill("Water the roses.")
    dialog.get_by_label("Labels").fill("bed: roses, when: now")
    dialog.get_by_role("button", name="Start").click()

    expect(console.page.get_by_role("heading", name="Water the roses.", level=1)).to_be_visible()
    made = swarm.task(console.page.url.rsplit("/", 1)[1])
    assert made["labels"] == {"bed": "roses", "when": "now"}
    assert (made["status"], made["attempt"]) == ("running", 1)


def test_events_flow_stop_and_are_narrowed(console: Console, swarm: Swarm) -> None:
    """A pause holds what comes, going on shows it, filters take away what is not wanted."""
    console.go("events")
    first = swarm.start("one", agent="first-of-events")
    expect(console.row("first-of-events")).to_be_visible()
    console.press("p")
    expect(console.page.get_by_text("Held still")).to_be_visible()
    swarm.start("two", agent="second-of-events")
    swarm.ask("three")
    expect(console.row("second-of-events")).to_have_count(0)
    console.press("p")
    expect(console.row("second-of-events")).to_be_visible()

    console.page.get_by_role("button", name="tasks", exact=True).click()
    expect(console.row("second-of-events")).to_have_count(0)
    expect(console.row("senior queried").first).to_be_visible()
    console.page.get_by_role("button", name="tasks", exact=True).click()
    console.page.get_by_label("Text, task or kind").fill(first)
    expect(console.row("second-of-events")).to_have_count(0)
    expect(console.row("first-of-events")).to_be_visible()


def test_the_overview_counts_and_pauses_dispatching(console: Console, swarm: Swarm) -> None:
    """Counts and the server's minutes are there; pausing asks, and every page says so until it is resumed."""
    swarm.ask("How old am I?")
    console.go("overview")
    expect(console.page.get_by_role("link", name="open questions")).to_be_visible()
    expect(console.page.locator(".plot canvas")).to_have_count(4)
    expect(console.page.get_by_role("img", name="per minute")).to_be_visible()
    expect(console.page.locator("section", has=console.page.get_by_role("heading", name="Nodes"))).to_contain_text(
        "alive"
    )

    console.button("Pause dispatching…").click()
    expect(console.page.get_by_role("dialog")).to_contain_text("No new attempt starts")
    assert not swarm.call(swarm.senior, "GET", "/v1/senior/loop")["paused"]
    console.button("Pause dispatching").click()
    banner = console.page.get_by_text("Dispatching is paused by dana")
    for page in ("overview", "tasks", "inbox", "workers", "events", "sessions"):
        console.go(page)
        expect(banner).to_be_visible()
    assert swarm.call(swarm.senior, "GET", "/v1/senior/loop")["paused"]
    console.button("Resume dispatching").click()
    expect(banner).to_have_count(0)
    assert not swarm.call(swarm.senior, "GET", "/v1/senior/loop")["paused"]


def test_sessions_and_registries_are_listed(console: Console, swarm: Swarm) -> None:
    """Who is attached, without any token, and what can be named."""
    console.expect_live()
    console.go("sessions")
    expect(console.page.get_by_role("row").filter(has_text="dana").first).to_contain_text("attached")
    expect(console.main).to_contain_text("senior_escalation")
    wait_until(lambda: "console-dana" in console.main.inner_text())
    assert "eyJ" not in json.dumps(console.main.inner_text())
    assert swarm.operator not in console.page.content()
