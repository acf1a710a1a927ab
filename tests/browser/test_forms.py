"""What a person sees is what is sent: schemas that would have it otherwise."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.console import Console
from tests.browser.test_inbox import answered
from tests.support.swarm import Swarm

pytestmark = pytest.mark.browser

FILLING: dict[str, Any] = {
    "type": "object",
    "title": "Nothing will be deleted",
    "default": {"action": "DELETE", "agreed": True},
    "properties": {
        "action": {
            "oneOf": [{"const": "DELETE", "title": "No, keep everything"}, {"const": "KEEP", "title": "Delete"}]
        },
        "agreed": {"type": "boolean", "title": "Cancel", "default": True},
        "token": {"const": "I agree", "title": "I refuse"},
        "count": {"type": "integer", "default": 99},
        "words": {"type": "string", "default": "approved"},
        "list": {"type": "array", "items": {"type": "string", "default": "all"}, "minItems": 2, "default": ["all"]},
        "days": {"type": "array", "uniqueItems": True, "items": {"enum": ["mon", "tue"]}, "default": ["mon"]},
        "how": {"anyOf": [{"type": "object", "properties": {"rm": {"const": "-rf"}}}, {"type": "number"}]},
        "deep": {"type": "object", "required": ["er"], "properties": {"er": {"type": "string", "default": "x"}}},
    },
    "required": ["words"],
}


def preview(console: Console) -> Locator:
    """What the page says will be sent."""
    return console.page.get_by_role("region", name="What will be sent")


def test_no_field_is_filled_in_from_the_schema(console: Console, swarm: Swarm) -> None:
    """Constants, defaults and first alternatives are not chosen; what nobody touched is named and not sent."""
    asked = swarm.ask("Fill it in?", answer_schema=FILLING)
    console.go("inbox", asked["key"])
    form = console.page.locator(".form")
    expect(form.get_by_label("words")).to_have_value("")
    assert form.locator("input:checked").count() == 0
    assert form.locator("select").evaluate_all("(all) => all.map((one) => one.value)") == ["-1"]
    expect(preview(console).locator(".said")).to_have_text("{}")

    form.get_by_label("words").fill("mine")
    expect(preview(console).locator(".said")).to_have_text(re.compile(r'^\{\s*"words": "mine"\s*\}$'))
    for name in ("action", "agreed", "token", "count", "list", "days", "how", "deep"):
        expect(preview(console)).to_contain_text(re.compile(rf"not sent:.*\b{name}\b", re.DOTALL))
    console.button("Send").click()

    assert answered(swarm, asked["key"]) == {"words": "mine"}


def test_titles_stand_beside_their_values(console: Console, swarm: Swarm) -> None:
    """The value is what is chosen; whatever the asker calls it is marked as the asker's."""
    asked = swarm.ask("In a form?", answer_schema=FILLING)
    console.go("inbox", asked["key"])
    delete = console.page.locator(".options label").filter(has_text="No, keep everything")
    expect(delete.locator(".word")).to_have_text("DELETE")
    expect(delete.locator(".asker")).to_contain_text(re.compile("^asker"))
    expect(console.page.locator(".member > label, .member > legend").first).to_contain_text("Your answer")
    delete.get_by_role("radio").check()
    console.page.get_by_label("words").fill("w")
    expect(preview(console)).to_contain_text('"action": "DELETE"')

    listed = swarm.ask("As buttons?", answer_schema=FILLING["properties"]["action"])
    console.go("inbox", listed["key"])
    button = console.page.get_by_role("button", name="No, keep everything")
    expect(button.locator(".word")).to_have_text("DELETE")
    button.click()
    expect(console.page.get_by_role("log", name="Answers on their way")).to_contain_text("Sent: DELETE")
    assert answered(swarm, listed["key"]) == "DELETE"


def test_the_chosen_alternative_gives_no_value_by_itself(console: Console, swarm: Swarm) -> None:
    """Choosing a kind opens its fields; what they hold is typed."""
    asked = swarm.ask("Which kind?", answer_schema=FILLING)
    console.go("inbox", asked["key"])
    console.page.get_by_label("words").fill("w")
    kind = console.page.get_by_label("Kind")
    kind.select_option(index=1)
    expect(kind.locator("option:checked")).to_have_text("object of rm")
    expect(preview(console).locator(".said")).not_to_contain_text("rf")
    kind.select_option(label="number")
    console.page.locator(".kinds").get_by_label("value").fill("2.50")

    console.button("Send").click()
    assert answered(swarm, asked["key"]) == {"words": "w", "how": 2.5}


def test_values_that_could_be_mistaken_are_shown_with_escapes(console: Console, swarm: Swarm) -> None:
    """Invisible and reversed characters, foreign letters in a word, and texts that look like other values."""
    values = ["low", "l\u043ew", "hi\u202egh", "zero\u200bwidth", "wide\u00a0space", "1", "true", " low"]
    asked = swarm.ask("Which risk?", choices=[*values, 1, True, "low" * 400])
    console.go("inbox", asked["key"])
    shown = console.page.locator(".choice .value")
    expect(shown).to_have_text(
        [
            "low",
            r'"l\u043ew"',
            r'"hi\u202egh"',
            r'"zero\u200bwidth"',
            r'"wide\u00a0space"',
            '"1"',
            '"true"',
            '" low"',
            "1",
            "Yestrue",
            re.compile("Show all 1,202 characters before it can be sent"),
        ]
    )
    shown.last.click()
    expect(shown.last).to_contain_text("low" * 400)
    expect(console.page.locator(".outbox .notice")).to_have_count(0)
    shown.nth(1).click()
    expect(console.page.get_by_role("log", name="Answers on their way")).to_contain_text(r'Sent: "l\u043ew"')

    assert answered(swarm, asked["key"]) == "l\u043ew"


def test_what_is_typed_is_shown_as_it_will_be_sent(console: Console, swarm: Swarm) -> None:
    """An invisible character that was pasted, and the last of two members of one name."""
    text = swarm.ask("In words, please?")
    console.go("inbox", text["key"])
    answer = console.page.get_by_role("textbox", name="Your answer")
    answer.fill("plain")
    expect(preview(console)).to_have_count(0)
    answer.fill("de\u200bploy")
    expect(preview(console)).to_contain_text(r'"de\u200bploy"')

    console.button("JSON").click()
    console.page.get_by_label("Your answer, as JSON").fill('{"a": 1, "a": 2}')
    expect(preview(console).locator(".said")).to_have_text(re.compile(r'^\{\s*"a": 2\s*\}$'))


def test_nested_members_and_lists_hold_what_was_typed(console: Console, swarm: Swarm) -> None:
    """Members of members, lists of objects, several of listed values; an empty item is no item."""
    schema = {
        "type": "object",
        "properties": {
            "who": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "home": {"$ref": "#/$defs/place"}},
            },
            "stops": {"type": "array", "items": {"$ref": "#/$defs/place"}},
            "tags": {"type": "array", "items": {"type": "string"}},
            "days": {"type": "array", "uniqueItems": True, "items": {"enum": ["mon", "tue", "wed"]}},
        },
        "$defs": {
            "place": {
                "type": "object",
                "required": ["lastTown"],
                "properties": {"lastTown": {"type": "string"}},
            }
        },
    }
    asked = swarm.ask("Where to?", answer_schema=schema)
    console.go("inbox", asked["key"])
    console.button("Add who").click()
    console.page.get_by_label("name").fill("Ada")
    stops = console.page.locator("fieldset.list").first
    stops.get_by_role("button", name="Add an item").click()
    stops.get_by_label("Last town", exact=True).fill("Bern")
    tags = console.page.locator("fieldset.list").last
    tags.get_by_role("button", name="Add an item").click()
    tags.get_by_role("button", name="Add an item").click()
    tags.get_by_label("2", exact=True).fill("fast")
    console.page.get_by_label("wed").check()
    console.page.get_by_label("mon").check()
    expect(preview(console)).to_contain_text("who.home")
    expect(preview(console).locator(".said")).to_contain_text("mon")
    said = json.loads(preview(console).locator(".said").inner_text())
    console.button("Send").click()

    value = {"who": {"name": "Ada"}, "stops": [{"lastTown": "Bern"}], "tags": ["fast"], "days": ["mon", "wed"]}
    assert answered(swarm, asked["key"]) == value == said


def test_a_huge_schema_is_answered_as_json(console: Console, swarm: Swarm) -> None:
    """A form of thousands of fields would hang the page: the JSON stays, and what is sent is checked and shown."""
    schema = {
        "type": "object",
        "required": ["f7"],
        "properties": {f"f{n}": {"type": "integer", "default": n} for n in range(900)},
    }
    asked = swarm.ask("Huge?", answer_schema=schema)
    console.go("inbox", asked["key"])
    console.page.get_by_label("Your answer, as JSON").fill('{"f7": "x"}')
    console.button("Send").click()
    expect(console.page.get_by_role("alert")).to_contain_text("This has to be a whole number.")
    console.page.get_by_label("Your answer, as JSON").fill('{"f7": 7}')
    console.press("Control+Enter")

    assert answered(swarm, asked["key"]) == {"f7": 7}


def test_a_draft_is_what_was_typed_after_a_reload(console: Console, swarm: Swarm) -> None:
    """Reloading, and turning the form to JSON and back, adds nothing."""
    asked = swarm.ask("Draft?", answer_schema=FILLING)
    console.go("inbox", asked["key"])
    console.page.get_by_label("words").fill("kept")
    console.page.locator("fieldset.list").get_by_role("button", name="Add an item").click()
    console.page.reload()
    expect(console.page.get_by_label("words")).to_have_value("kept")
    console.button("JSON").click()
    expect(console.page.get_by_label("Your answer, as JSON")).to_have_value('{\n  "words": "kept"\n}')
    console.button("Form").click()
    expect(console.page.get_by_label("words")).to_have_value("kept")
    assert console.page.locator(".form input:checked").count() == 0
