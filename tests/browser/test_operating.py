"""Operating the swarm: a list whose address is its filter, many tasks at once, who listens, what a page says first."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.support.processes import ServerProcess
from tests.support.swarm import Swarm

pytestmark = pytest.mark.browser


def test_the_address_is_the_filter(open_console: OpenConsole, console: Console, swarm: Swarm) -> None:
    """What is searched, chosen and chipped is in it; who opens it sees that list, and comes back to it from a task."""
    for team in ("red", "blue"):
        _, handle = swarm.worker(f"Polish the {team} bicycle.", agent="mechanic", labels={"team": team})
        swarm.call(handle, "POST", "/v1/worker/submit?ok=false", {"error": f"no {team} paint"})
    console.go("tasks")
    console.page.get_by_label("Search").fill("bicyc paint")
    expect(console.row("Polish the red bicycle.")).to_be_visible(timeout=20_000)
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
