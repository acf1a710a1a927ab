"""Ten thousand tasks and a thousand open questions: the page stays small and quick."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.support.ports import LOOPBACK
from tests.support.processes import ServerProcess
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TASKS = 10_000
QUESTIONS = 1_000
AT_ONCE = 40
MOST_ELEMENTS = 1_500


@dataclass(slots=True)
class Line:
    """One connection, on which requests follow each other: thousands of them in seconds."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, port: int) -> "Line":
        """A connection to a node on this machine."""
        return cls(*await asyncio.open_connection(LOOPBACK, port))

    async def post(self, path: str, body: Any, credential: str) -> Any:
        """The decoded reply, which must be a good one."""
        content = orjson.dumps(body)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nAuthorization: Bearer {credential}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self.writer.write(head.encode() + content)
        reply = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(reply.split("content-length: ")[1].split("\r\n")[0])
        answer = await self.reader.readexactly(length)
        assert reply.startswith("http/1.1 20"), f"{path}: {reply} {answer!r}"
        return orjson.loads(answer)

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


async def _seed(port: int, token: str) -> None:
    numbers = iter(range(TASKS))

    async def one_after_the_other() -> None:
        line = await Line.to(port)
        for number in numbers:
            task = {"agent": f"agent-{number % 7}", "initial_directive": f"Item {number}"}
            task_id = (await line.post("/v1/operator/tasks", task, token))["id"]
            if number < QUESTIONS:
                spawner = {"spawner": {"kind": "external"}}
                attempt = await line.post(f"/v1/operator/tasks/{task_id}/dispatch", spawner, token)
                question = {"question": f"Question {number}?", "choices": ["yes", "no"]}
                await line.post("/v1/worker/questions", question, attempt["worker_handle"])
        line.close()

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))


def elements(console: Console) -> int:
    """How many elements the document has."""
    return console.page.evaluate("() => document.querySelectorAll('*').length")


@pytest.mark.timeout(600)
def test_large_lists_stay_small_and_quick(open_console: OpenConsole, node: ServerProcess, swarm: Swarm) -> None:
    """What is in sight is in the document and nothing else; typing, scrolling and answering do not wait."""
    # Playwright has an event loop in this thread already.
    with ThreadPoolExecutor(1) as other:
        other.submit(asyncio.run, _seed(node.port, swarm.operator)).result()
    console = open_console()
    console.sign_in(swarm.root_key)
    expect(console.page.locator(".modes .number")).to_have_text(str(QUESTIONS))
    assert elements(console) < MOST_ELEMENTS

    for _ in range(30):
        console.press("j")
    expect(console.page.locator(".listing li.selected")).to_be_visible()
    console.page.locator(".side .listing").evaluate("(box) => box.scrollTo(0, box.scrollHeight)")
    expect(console.page.locator(f'.listing li[aria-posinset="{QUESTIONS}"]')).to_be_visible()
    assert elements(console) < MOST_ELEMENTS
    console.page.get_by_label("Filter by agent or text").fill("question 777?")
    expect(console.page.locator(".question-row")).to_have_count(1)
    console.page.locator(".question-row").click()
    console.page.get_by_role("button", name="yes").click()
    expect(console.page.locator(".modes .number")).to_have_text(str(QUESTIONS - 1))

    console.go("tasks")
    listing = console.page.locator(".listing")
    for _ in range(12):
        listing.evaluate("(box) => box.scrollTo(0, box.scrollHeight)")
        expect(console.page.get_by_text("Reading…")).to_have_count(0)
    assert elements(console) < MOST_ELEMENTS
    # Whoever else works on the machine may stop the page once, its own work would every time.
    wait_until(lambda: console.page.evaluate(LONGEST_PAUSE) < 500, awaited="a scroll without a long pause")


LONGEST_PAUSE = """
() => new Promise((resolve) => {
  const box = document.querySelector(".listing");
  let [longest, last, frames] = [0, performance.now(), 0];
  const step = (now) => {
    longest = Math.max(longest, now - last);
    last = now;
    box.scrollTop = (frames * 997) % box.scrollHeight;
    frames += 1;
    if (frames < 60) requestAnimationFrame(step);
    else resolve(longest);
  };
  requestAnimationFrame(step);
})
"""
