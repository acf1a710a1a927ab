"""A real node, a real Chromium, and pages that fail their test when anything goes wrong behind its back."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.console import Console
from tests.support.processes import ServerProcess
from tests.support.swarm import Swarm

OpenConsole = Callable[..., Console]

NOWHERE = "http://127.0.0.1:1/"
"""Where webhooks may send something, and nobody listens."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ACTION_MS = 60_000
"""How long a machine that is busy may take for one of its steps."""
expect.set_options(timeout=ACTION_MS)


# For a module, not a session: while the synchronous driver lives, its event loop is in the way of every other test's.
@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """One Chromium for this process's tests; each test has a context of its own."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(chromium), args=FLAGS, headless=True)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A node for the tests of one file."""
    large = {f"SWARMHOLD_LIMITS__{name}": "4194304" for name in ("QUESTION", "DIRECTIVE", "WORKER_BODY")}
    settings = {**large, "SWARMHOLD_WEBHOOKS__ALLOW": NOWHERE}
    with ServerProcess(tmp_path_factory.mktemp("node") / "data", settings=settings) as server:
        yield server


@pytest.fixture
def swarm(node: ServerProcess) -> Iterator[Swarm]:
    """What happens on the node."""
    with contextlib.closing(Swarm(node.url, node.root_key())) as found:
        yield found


@pytest.fixture
def open_console(browser: Browser, node: ServerProcess) -> Iterator[OpenConsole]:
    """A function that opens the console in a new context; afterwards nothing may have gone wrong in any of them.

    It takes `url`, `viewport`, `theme` and `offline_is_fine` (for tests that kill the node).
    """
    opened: list[Console] = []

    def open(
        *, url: str = "", viewport: tuple[int, int] = (1440, 900), theme: str = "light", offline_is_fine: bool = False
    ) -> Console:
        width, height = viewport
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # pyright: ignore[reportArgumentType] - one of Playwright's names
        context.set_default_timeout(ACTION_MS)
        page: Page = context.new_page()
        console = Console(page, url or node.url, offline_is_fine=offline_is_fine)
        opened.append(console)
        console.open()
        return console

    yield open
    faults = [fault for console in opened for fault in console.faults()]
    for console in opened:
        console.page.context.close()
    assert faults == []


@pytest.fixture
def console(open_console: OpenConsole, swarm: Swarm) -> Console:
    """A console in which somebody with all roles is signed in."""
    console = open_console()
    console.sign_in(swarm.root_key)
    return console
