"""The page about the API: each call in a sentence, and tried from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.processes import ServerProcess

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe.min.js"


@pytest.fixture(params=["light", "dark"])
def docs(request: pytest.FixtureRequest, browser: Browser, node: ServerProcess) -> Iterator[Page]:
    """The page on a phone, in a theme; nothing may be refused or fail behind its back."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 390, "height": 844})
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
    page.goto(f"{node.url}/docs")
    yield page
    context.close()
    assert wrong == []


def _call(page: Page, method: str, path: str) -> Any:
    """Open a call's form."""
    box = page.locator("main > details").filter(has=page.locator(".method", has_text=method))
    box = box.filter(has=page.get_by_text(path, exact=True))
    box.locator("summary").first.click()
    box.get_by_text("Try it", exact=True).click()
    return box


def test_a_call_is_described_and_tried(docs: Page, node: ServerProcess) -> None:
    """With the root key a session is attached, and with its token a task is made, read, and not found."""
    expect(docs.get_by_text("Create a task; a worker's new task is a child of its own.").first).to_be_visible()
    docs.get_by_label("Credential").fill(node.root_key())
    attach = _call(docs, "POST", "/v1/operator/sessions")
    attach.get_by_label("Body").fill('{"operator_id": "me", "role": "operator", "ttl": 3600}')
    attach.get_by_role("button", name="Send").click()
    expect(attach.get_by_role("status")).to_contain_text("Reply: 201")
    attach.get_by_role("button", name="Use its token").click()

    create = _call(docs, "POST", "/v1/operator/tasks")
    create.get_by_role("button", name="Send").click()
    expect(create.get_by_role("status")).to_contain_text("Reply: 201")
    expect(create.locator("pre").last).to_contain_text('"status": "pending"')

    show = _call(docs, "GET", "/v1/operator/tasks/{task_id}")
    show.get_by_label("task_id").fill("T-nothing/..")
    show.get_by_role("button", name="Send").click()
    expect(show.get_by_role("status")).to_contain_text("Reply: 4")
    docs.evaluate(AXE.read_text())
    found = docs.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]] == []
    assert docs.evaluate("document.documentElement.scrollWidth") <= 390
