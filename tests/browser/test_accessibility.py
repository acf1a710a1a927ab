"""axe-core over every page, in both themes: labels, roles, focus order, contrast."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.support.swarm import Swarm

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
TYPESET = "# Now?\n\n[it](https://ci.example/1)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\nmake\n```"
SCHEMA = {
    "type": "object",
    "required": ["when"],
    "properties": {
        "when": {"type": "string", "format": "date-time"},
        "notes": {"type": "array", "items": {"type": "object", "properties": {"text": {"type": "string"}}}},
        "sure": {"type": "boolean"},
        "how": {"oneOf": [{"type": "string", "title": "words"}, {"type": "number", "title": "a number"}]},
    },
}


def complaints(console: Console) -> list[str]:
    """What axe finds on the page as it is now, with where."""
    # The page's policy allows no foreign script, so that axe is evaluated by the browser's own tools.
    console.page.evaluate(AXE.read_text())
    found: Any = console.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.fixture(scope="module")
def seeded(node: Any) -> tuple[str, str, str, str]:
    """A task with everything, the keys of three questions: choices, a form, text; and a worker that holds a task."""
    swarm = Swarm(node.url, node.root_key())
    task_id, handle = swarm.worker("A prompt.", labels={"a": "b"})
    swarm.call(handle, "POST", "/v1/worker/output", {"type": "progress", "stage": "one"})
    swarm.call(handle, "POST", "/v1/worker/tasks", {"agent": "kid", "initial_directive": "below"})
    first = swarm.call(handle, "POST", "/v1/worker/questions", {"question": "Old?"})
    swarm.answer(first["key"], "yes")
    choices = ["a", {"b": 1}, {"value": "c", "label": "See", "danger": True}]
    body = {"title": "Now", "question": TYPESET, "choices": choices, "comment": True}
    asked = swarm.call(handle, "POST", "/v1/worker/questions", body)
    form = swarm.ask("A form?", answer_schema=SCHEMA)
    text = swarm.ask("Words?")
    for queue in ("boxes", "left"):
        swarm.dispatch(swarm.start("Carry it.", agent="carrier"), {"kind": "queue", "queue": queue})
    claim = {"queue": "boxes", "hold": 0, "worker_name": "mule-1"}
    swarm.call(swarm.key("worker"), "POST", "/v1/worker/claim", claim)
    swarm.close()
    return task_id, asked["key"], form["key"], text["key"]


@pytest.mark.parametrize("viewport", [(1440, 900), (390, 844)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(
    open_console: OpenConsole, swarm: Swarm, seeded: tuple[str, str, str, str], theme: str, viewport: tuple[int, int]
) -> None:
    """No page breaks a rule, in either theme, on a desk or in a hand."""
    task_id, choices, form, text = seeded
    console = open_console(theme=theme, viewport=viewport)
    found = {"sign-in": complaints(console)}
    console.sign_in(swarm.root_key)
    console.expect_live()
    shown = {
        f"inbox/{choices}": ".typeset table",
        f"inbox/{form}": ".form input",
        f"inbox/{text}": ".answer textarea",
        "inbox": ".question-row, .question",
        "tasks": ".task-row a",
        f"task/{task_id}": ".timeline svg",
        "overview": ".plot canvas",
        "workers": "tbody tr",
        "events": ".event-row",
        "sessions": "tbody tr",
        "webhooks": ".unlock input",
    }
    for where, sign in shown.items():
        console.go(*where.split("/"))
        expect(console.page.locator(sign).first).to_be_attached()
        found[where] = complaints(console)
    console.go("task", task_id)
    console.button("Overrule…").click()
    expect(console.page.get_by_role("dialog")).to_be_visible()
    found["dialog"] = complaints(console)

    assert {where: list for where, list in found.items() if list} == {}
