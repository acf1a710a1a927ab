import json

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenConsole
from tests.browser.console import Console
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser


def test_a_wrong_key_is_refused_in_words(open_console: OpenConsole) -> None:
    """The sign-in page stays, with an error message."""
    console = open_console()
    console.page.get_by_label("API key").fill("shk_" + "0" * 40)
    console.button("Sign in").click()

    expect(console.page.get_by_role("alert")).to_contain_text("The server does not know this key")
    expect(console.page.get_by_role("alert")).to_contain_text("unauthenticated")
    expect(console.page.get_by_label("API key")).to_be_visible()


def test_the_key_is_forgotten_and_tokens_stay_in_the_tab(console: Console, swarm: Swarm) -> None:
    """The tab's own storage holds the tokens; no other storage, cookie or address holds any credential."""
    stored = console.stored()

    assert swarm.root_key not in json.dumps(stored)
    assert json.loads(stored["session"]["swarmhold.session"])["tokens"].keys() == {"senior", "operator"}
    assert "eyJ" not in json.dumps(stored["local"])
    assert stored["cookies"] == []
    assert "eyJ" not in console.page.url


def test_a_reload_keeps_the_session_and_leaving_ends_it(console: Console) -> None:
    """Nothing has to be pasted again until the reader leaves."""
    console.page.reload()
    expect(console.page.get_by_role("heading", name="Inbox")).to_be_visible()

    console.button("Sign out").click()
    expect(console.page.get_by_label("API key")).to_be_visible()
    assert "swarmhold.session" not in console.stored()["session"]


def test_an_observer_sees_and_cannot_act(open_console: OpenConsole, swarm: Swarm) -> None:
    """Pages that only look work; nothing offers what the server would refuse."""
    task_id, _ = swarm.worker("Look at me.")
    console = open_console()
    console.sign_in(swarm.key("observer"))

    expect(console.page.get_by_role("heading", name="Tasks")).to_be_visible()
    console.go("inbox")
    expect(console.main).to_contain_text("Questions are answered by seniors, and your key has not that role.")
    console.page.get_by_role("link", name="look at the tasks").click()
    expect(console.row("Look at me.")).to_be_visible()
    expect(console.button("New task")).to_have_count(0)
    console.go("task", task_id)
    expect(console.page.get_by_role("heading", name="Look at me.", level=1)).to_be_visible()
    expect(console.page.get_by_role("group", name="Actions")).to_have_count(0)


def test_a_session_that_ends_asks_for_a_key_again(open_console: OpenConsole, swarm: Swarm) -> None:
    """A revoked key closes the console on the next call, and says why."""
    made = swarm.call(swarm.root_key, "POST", "/v1/admin/keys", {"name": "brief", "roles": ["senior"]})
    console = open_console()
    console.sign_in(made["key"])
    console.expect_live()
    swarm.call(swarm.root_key, "DELETE", f"/v1/admin/keys/{made['id']}")
    console.go("overview")

    expect(console.page.get_by_text("The session ended")).to_be_visible()


def test_who_gives_no_name_goes_by_the_keys(open_console: OpenConsole, swarm: Swarm) -> None:
    """The page shows the name under which answers will be recorded."""
    made = swarm.call(swarm.root_key, "POST", "/v1/admin/keys", {"name": "release desk", "roles": ["senior"]})
    asked = swarm.ask("By whom?", choices=["x"])
    console = open_console()
    console.sign_in(made["key"], name="")
    expect(console.page.locator(".who .name")).to_have_text("release desk")
    console.row("By whom?").click()
    console.button("x").click()

    wait_until(lambda: swarm.question(asked["key"])["status"] == "answered")
    assert swarm.question(asked["key"])["answered_by"] == "release desk"
