"""Operating the swarm: a list whose address is its filter, many tasks at once, who listens, what a page says first."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, expect

from tests.browser.conftest import FLAGS, NOWHERE, OpenConsole
from tests.browser.console import Console
from tests.support.processes import ServerProcess
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser


def test_the_address_is_the_filter(open_console: OpenConsole, console: Console, swarm: Swarm) -> None:
    """What is searched, chosen and chipped is in it; who opens it sees that list, and comes back to it from a task."""
    for team in ("red", "blue"):
        _, handle = swarm.worker(f"Polish the {team} bicycle.", agent="mechanic", labels={"team": team})
        swarm.call(handle, "POST", "/v1/worker/submit?ok=false", {"error": f"no {team} paint"})
    console.go("tasks")
    console.page.get_by_label("Search").fill("bicyc paint")
    expect(console.row("Polish the red bicycle.")).to_be_visible()
    console.page.get_by_label("Label, as key:value").fill("team:blue")
    console.press("Enter")
    expect(console.row("Polish the red bicycle.")).to_have_count(0)
    tabs = console.page.get_by_role("navigation", name="Status")
    expect(tabs.get_by_role("link", name="blocked")).to_have_text(re.compile(r"blocked\s*1"))
    tabs.get_by_role("link", name="blocked").click()
    console.row("Polish the blue bicycle.").get_by_role("link").first.click()
    expect(console.page.get_by_role("heading", level=1)).to_contain_text("Polish the blue bicycle.")
    console.page.get_by_role("link", name="Tasks").last.click()
    expect(console.row("Polish the blue bicycle.")).to_be_visible()

    shared = console.page.url
    assert {"q=", "status=blocked", "label="} <= set(re.findall(r"\w+=(?:blocked)?", shared))
    other = open_console()
    other.sign_in(swarm.root_key, name="eli")
    other.page.goto(shared)
    expect(other.row("Polish the blue bicycle.")).to_be_visible()
    expect(other.row("Polish the red bicycle.")).to_have_count(0)
    other.button("Remove label team:blue").click()
    expect(other.row("Polish the red bicycle.")).to_be_visible()


def test_many_tasks_are_retried_and_cancelled_after_a_count(console: Console, swarm: Swarm) -> None:
    """A dialog says how many it is about; what cannot be changed is named with its reason."""
    queued = {"kind": "queue", "queue": "nobody"}
    ids = [swarm.start(f"Bulk {n}", agent="bulk") for n in range(3)]
    for task_id in ids[:2]:
        swarm.dispatch(task_id, queued)
    for task_id in ids:
        swarm.call(swarm.operator, "POST", f"/v1/operator/tasks/{task_id}/verdict", {"ok": False})
    console.page.goto(f"{console.url}/console#/tasks?agent=bulk")
    expect(console.row("Bulk 2")).to_be_visible()
    console.page.get_by_label("Choose all that are shown").check()
    expect(console.page.get_by_role("group", name="Chosen tasks")).to_contain_text("3 chosen")
    console.button("Retry…").click()
    dialog = console.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Retry 3 tasks").click()
    expect(dialog).to_contain_text("2 tasks dispatched again, 1 left as they are")
    expect(dialog).to_contain_text("it was never dispatched")
    dialog.get_by_role("button", name="Close").click()
    assert [swarm.task(task_id)["status"] for task_id in ids] == ["running", "running", "blocked"]

    console.page.get_by_label("Choose Bulk 1").check()
    console.button("Cancel…").click()
    console.page.get_by_label("Reason").fill("enough")
    console.button("Cancel 1 task").click()
    expect(console.page.get_by_role("dialog")).to_have_count(0)
    expect(console.row("Bulk 1")).to_contain_text("cancelled")
    assert [swarm.task(task_id)["status"] for task_id in ids] == ["running", "cancelled", "blocked"]


def test_an_empty_server_teaches_the_next_step(open_console: OpenConsole, node: ServerProcess, swarm: Swarm) -> None:
    """No task yet: the command to copy names this server; a filter that finds nothing says so instead."""
    root = swarm.root_key
    made = swarm.call(root, "POST", "/v1/admin/keys", {"name": "new", "roles": ["operator"], "namespace": "empty"})
    console = open_console()
    console.sign_in(made["key"], name="newcomer")
    console.go("tasks")
    expect(console.main.get_by_role("heading", name="No task yet")).to_be_visible()
    expect(console.main).to_contain_text(f"SWARMHOLD_URL={node.url} swarmhold run")
    console.page.get_by_label("Agent").fill("nobody")
    console.press("Enter")
    expect(console.main).to_contain_text("No task fits this filter.")
    console.button("Show all tasks").click()
    expect(console.main.get_by_role("heading", name="No task yet")).to_be_visible()


def test_a_blocked_task_says_why_and_is_retried_with_one_click(console: Console, swarm: Swarm) -> None:
    """The error stands first; Retry dispatches with the last queue; who could take it is counted."""
    task_id = swarm.start("Ship the crates.\nThe blue ones first.", agent="docker", retry={"max_attempts": 3})
    swarm.dispatch(task_id, {"kind": "queue", "queue": "harbour"})
    body = {"ok": False, "value": {"error": "crane 4 is stuck"}}
    swarm.call(swarm.operator, "POST", f"/v1/operator/tasks/{task_id}/verdict", body)
    console.go("task", task_id)
    outcome = console.page.get_by_role("region", name="Outcome")
    expect(console.page.get_by_role("heading", name="Ship the crates.", level=1)).to_be_visible()
    expect(outcome).to_contain_text("crane 4 is stuck")
    expect(console.page.locator("header")).to_contain_text(["", "attempt 1 of at most 3"])
    outcome.get_by_role("button", name="Retry", exact=True).click()
    expect(outcome).to_contain_text("0 workers listen on harbour")
    assert (
        swarm.call(swarm.operator, "GET", f"/v1/operator/tasks/{task_id}/attempts/2")["spawner"]["queue"] == "harbour"
    )
    expect(outcome.get_by_role("heading", name="No worker listens")).to_be_visible()
    console.page.get_by_text("Details", exact=True).click()
    expect(console.main).to_contain_text("up to 3 attempts when failed, timeout, lost")


def test_output_streams_into_the_page(console: Console, swarm: Swarm) -> None:
    """Pieces that follow each other are one text, which grows as they come."""
    task_id, handle = swarm.worker("Recite.")
    console.go("task", task_id)
    for piece in ("Tyger ", "tyger, ", "burning bright"):
        swarm.call(handle, "POST", "/v1/worker/output", {"type": "partial", "chunk": piece})
    expect(console.page.locator(".outputs li")).to_have_count(1)
    expect(console.page.locator(".outputs li")).to_contain_text("Tyger tyger, burning bright")


def test_workers_are_listed_with_what_they_listen_to_and_hold(console: Console, swarm: Swarm) -> None:
    """A worker that holds a task leads to it; a queue without workers stands out."""
    task_id = swarm.start("Carry the box.", agent="carrier")
    swarm.dispatch(task_id, {"kind": "queue", "queue": "boxes"})
    key = swarm.key("worker")
    asked = {"queue": "boxes", "hold": 0, "worker_name": "mule-1"}
    assert swarm.call(key, "POST", "/v1/worker/claim", asked)["task_id"] == task_id
    waiting = swarm.start("Nobody carries this.", agent="carrier")
    swarm.dispatch(waiting, {"kind": "queue", "queue": "left"})
    console.go("workers")
    row = console.page.get_by_role("row").filter(has_text="mule-1")
    expect(row).to_contain_text("boxes")
    expect(console.main).to_contain_text("0 workers, 1 waiting")
    row.get_by_role("link", name="carrier").click()
    expect(console.page.get_by_role("heading", name="Carry the box.", level=1)).to_be_visible()


def test_looking_leaves_no_trace_and_a_closed_console_is_not_attached(open_console: OpenConsole, swarm: Swarm) -> None:
    """No event tells of a console that comes and goes, and its sessions end with its page."""

    def sessions(attached: bool) -> list[str]:
        path = f"/v1/operator/sessions?attached={str(attached).lower()}&limit=200"
        return [one["operator_id"] for one in swarm.call(swarm.operator, "GET", path)["items"]]

    console = open_console()
    console.sign_in(swarm.root_key, name="passer-by")
    console.go("events")
    expect(console.main.get_by_role("heading", name="Events")).to_be_visible()
    assert sessions(attached=True).count("passer-by") == 2
    console.page.reload()
    expect(console.main.get_by_role("heading", name="Events")).to_be_visible()
    wait_until(lambda: sessions(attached=True).count("passer-by") == 2)
    swarm.start("A landmark.", agent="landmark")
    expect(console.row("landmark")).to_be_visible()
    expect(console.row("passer-by")).to_have_count(0)
    console.page.goto("about:blank")
    wait_until(lambda: "passer-by" not in sessions(attached=True))
    assert sessions(attached=False).count("passer-by") == 2


def test_a_console_whose_browser_is_killed_is_not_attached(
    browser: Browser, chromium: Path, node: ServerProcess, swarm: Swarm
) -> None:
    """Its connections end with it, though no page says goodbye; others stay."""

    def attached(name: str) -> int:
        found = swarm.call(swarm.operator, "GET", "/v1/operator/sessions?attached=true&limit=200")["items"]
        return [one["operator_id"] for one in found].count(name)

    consoles = {}
    with contextlib.ExitStack() as stack:
        for name in ("killed", "stays"):
            own = stack.enter_context(
                contextlib.closing(browser.browser_type.launch(executable_path=str(chromium), args=FLAGS))
            )
            consoles[name] = Console(own.new_page(), node.url)
            consoles[name].open()
            consoles[name].sign_in(swarm.root_key, name=name)
            consoles[name].expect_live()
            assert attached(name) == 2
        with contextlib.suppress(Error):
            consoles["killed"].page.context.browser.new_browser_cdp_session().send("Browser.crash")
        wait_until(lambda: attached("killed") == 0, awaited="the end of its sessions")
        assert attached("stays") == 2


def test_webhooks_are_seen_and_managed_with_the_root_key(console: Console, swarm: Swarm) -> None:
    """The key is asked for and kept nowhere; why one fails and when it is tried again is said; it can be stopped."""
    made = swarm.call(swarm.root_key, "POST", "/v1/admin/webhooks", {"url": NOWHERE + "x", "name": "pager"})
    swarm.start("Something to tell.", agent="teller")
    console.go("webhooks")
    console.page.get_by_label("Root key").fill(swarm.key("operator", "senior"))
    console.press("Enter")
    expect(console.page.get_by_role("alert")).to_contain_text("This is not the root key.")
    console.page.get_by_label("Root key").fill(swarm.root_key)
    console.press("Enter")
    hook = console.page.get_by_role("article", name="pager")
    expect(hook).to_contain_text("failing", timeout=30_000)
    expect(hook).to_contain_text(
        re.compile(r"\d+ failures? in a row.*Last error: .*connect", re.DOTALL | re.IGNORECASE)
    )
    assert swarm.root_key not in json.dumps(console.stored())

    hook.get_by_role("button", name="Pause").click()
    expect(hook).to_contain_text("Paused by the holder of the root key.")
    hook.get_by_role("button", name="Resume").click()
    expect(hook).not_to_contain_text("paused")
    hook.get_by_role("button", name="Pause").click()
    hook.get_by_role("button", name="Send again…").click()
    console.page.get_by_label("All after event number").fill("0")
    console.button("Send them").click()
    expect(hook).to_contain_text("up to event 0")
    hook.get_by_role("button", name="New secret…").click()
    console.button("Make a new secret").click()
    expect(console.page.locator(".secret")).to_have_text(re.compile("^whsec_"))
    console.page.get_by_role("dialog").get_by_role("button", name="Close").click()
    hook.get_by_role("button", name="Delete…").click()
    console.button("Delete it").click()
    expect(hook).to_have_count(0)
    listed = swarm.call(swarm.root_key, "GET", "/v1/admin/webhooks")["items"]
    assert made["id"] not in [one["id"] for one in listed]
    console.button("Forget the root key").click()
    expect(console.page.get_by_label("Root key")).to_have_value("")


def test_the_script_fits_its_budget_and_unknown_pages_say_so(open_console: OpenConsole) -> None:
    """250 KB of script over the wire at most, however many pages are opened; a wrong address leads on."""
    console = open_console()
    sizes: dict[str, int] = {}
    console.page.on(
        "response",
        lambda reply: (
            sizes.update({reply.url: int(reply.headers.get("content-length", 0))})
            if reply.url.endswith(".js")
            else None
        ),
    )
    console.open()
    expect(console.page.get_by_label("API key")).to_be_visible()
    assert 0 < sum(sizes.values()) <= 250_000
    reply = console.page.goto(f"{console.url}/console/nowhere")
    assert reply is not None
    assert reply.status == 404
    expect(console.page.get_by_role("heading", name="There is no such page")).to_be_visible()
    console.page.get_by_role("link", name="Go to the console").click()
    expect(console.page.get_by_label("API key")).to_be_visible()
