"""The console as a person uses it, and a record of everything that should not have happened meanwhile."""

import json
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Dialog, Error, Locator, Page, Request, expect

WATCH = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile ?? ""}`));
"""


class Console:
    """One page. `faults` lists the errors so far."""

    def __init__(self, page: Page, url: str, *, offline_is_fine: bool = False) -> None:
        self.page = page
        self.url = url
        self._offline_is_fine = offline_is_fine
        self._faults: list[str] = []
        page.add_init_script(WATCH)
        page.on("console", self._said)
        page.on("pageerror", self._raised)
        page.on("dialog", self._dialog)
        page.on("request", self._requested)

    def _said(self, message: ConsoleMessage) -> None:
        # What the browser says about refused and failed requests; the page itself shows them to its reader.
        network = "Failed to load resource" in message.text or "WebSocket connection" in message.text
        if message.type == "error" and not network:
            self._faults.append(f"console: {message.text}")

    def _raised(self, error: Error) -> None:
        self._faults.append(f"uncaught: {error}")

    def _dialog(self, dialog: Dialog) -> None:
        self._faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Request) -> None:
        host = urlsplit(request.url)
        if host.scheme not in ("data", "blob") and host.netloc != urlsplit(self.url).netloc:
            self._faults.append(f"request to {request.url}")
        if "shk_" in request.url or "eyJ" in request.url:
            self._faults.append(f"a credential in {request.url}")

    def faults(self) -> list[str]:
        """Violated policies, uncaught errors, dialogs, requests to elsewhere, credentials in addresses."""
        violations: list[str] = self.page.evaluate("() => window.__violations ?? []")
        return [*self._faults, *violations]

    # Going about

    def open(self, where: str = "") -> None:
        """Reload the page of the console."""
        self.page.goto(f"{self.url}/console{where}")

    def sign_in(self, key: str, *, name: str = "dana", bridge: str | None = None) -> None:
        """Paste a key."""
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_label("Your name").fill(name)
        if bridge is not None:
            self.page.get_by_text("Questions addressed to a name").click()
            self.page.get_by_label("Inbox id").fill(bridge)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("navigation", name="Pages")).to_be_visible()

    def go(self, page: str, id: str = "") -> None:
        """Go to a page by its address."""
        self.page.evaluate("(hash) => { location.hash = hash }", f"#/{page}/{id}" if id else f"#/{page}")

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def main(self) -> Locator:
        """The page's own content."""
        return self.page.get_by_role("main")

    def row(self, text: str) -> Locator:
        """The row of a list that holds the text."""
        return self.page.locator(".listing li").filter(has_text=text)

    def button(self, name: str) -> Locator:
        """A button of the content."""
        return self.page.get_by_role("button", name=name, exact=True)

    def expect_live(self) -> None:
        """Wait until both connections stand."""
        expect(self.page.locator(".standing")).to_have_text("live")

    def stored(self) -> dict[str, Any]:
        """Everything that the browser keeps: both storages and the cookies."""
        kept = self.page.evaluate("() => JSON.stringify({session: {...sessionStorage}, local: {...localStorage}})")
        return {**json.loads(kept), "cookies": self.page.context.cookies()}
