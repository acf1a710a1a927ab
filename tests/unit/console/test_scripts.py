"""What the console's scripts compute, asked of node."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from app.console.files import STATIC
from app.domain.attempts import Reason

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node is installed")


def of(module: str, expression: str, before: str = "") -> Any:
    """The value of an expression over a module's exports, named `m`."""
    where = json.dumps((STATIC / "js" / module).as_uri())
    script = f"{before}import * as m from {where};\nconsole.log(JSON.stringify({expression}));"
    done = subprocess.run(
        ["node", "--input-type=module", "-"], input=script, capture_output=True, text=True, check=True, timeout=100
    )
    return json.loads(done.stdout)


def test_what_cannot_be_seen_is_named() -> None:
    """Controls, direction marks, invisible characters and tags have signs; letters of every script stay."""
    texts = [
        "plain\ttext\nof two lines\r\nand three",
        "\x1b[31mred\x07\x00\x7f\x9b",
        "\u202eabc\u2066\u200b\ufeff\u00ad",
        "\U000e0041\ue000",
        "שלום नमस्ते 你好 é 👩‍🚀 ❤️",
    ]
    shown = of("text/visible.js", f"{json.dumps(texts)}.map(m.visible)")

    assert shown == [
        "plain\ttext\nof two lines\nand three",
        "⟨ESC⟩[31mred⟨BEL⟩⟨NUL⟩⟨U+007F⟩⟨U+009B⟩",
        "⟨U+202E⟩abc⟨U+2066⟩⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩",
        "⟨U+E0041⟩⟨U+E000⟩",
        texts[4],
    ]


def test_a_line_is_one_line() -> None:
    """However long and broken the text is."""
    assert of("text/visible.js", 'm.line("a\\n\\n b " + "c".repeat(1e6), 10)') == "a b cccccc…"


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ({"title": "T", "more": 1}, "T"),
        ([1, None], "1, null"),
        ([{}, {}], "2 items"),
        ("# Deploy **api**?\n\n> See [the run](https://ci.example/1)", "Deploy api? See the run"),
        ({"tool": "bash", "arguments": {"command": "rm -rf x"}}, "bash: rm -rf x"),
        ({"kind": "deploy", "to": {"env": "prod", "n": 2}}, "kind: deploy · to.env: prod · to.n: 2"),
        ("snake_case_name stays * 2", "snake_case_name stays * 2"),
        (9007199254740993, "9007199254740993"),
    ],
)
def test_a_question_is_called_by_its_own_words(question: Any, title: str) -> None:
    """Neither JSON nor the marks of Markdown stand in a list."""
    script = f"import {{ parse }} from {json.dumps((STATIC / 'js/text/json.js').as_uri())};"
    read = f"parse({json.dumps(json.dumps(question))})"
    assert of("text/title.js", f"m.lineOf({read}, 200)", script) == title


def test_schemas_are_bounded_before_a_form_is_made() -> None:
    """What could hang the browser is left out or refused; what can be said in buttons needs no form."""
    assert of("form/schema.js", 'm.formable({ type: "string", pattern: "^(a+)+$" })') is True
    assert of("form/schema.js", 'm.formable({ $ref: "https://example.org/x" })') is False
    nested = "let s = {}; for (let n = 0; n < 40; n += 1) s = { properties: { a: s } };"
    assert of("form/schema.js", f"(() => {{ {nested} return m.formable(s) }})()") is False
    assert of("form/schema.js", "m.optionsOf({ type: 'boolean' })") == [{"value": True}, {"value": False}]
    assert of("form/schema.js", "m.optionsOf({ type: 'object' })") is None


def test_what_is_shown_before_it_is_sent_is_the_json_itself() -> None:
    """What cannot be seen, and letters of other alphabets among Latin ones, are escapes; it parses to the value."""
    values = [
        "p\u0430y",
        "a\u200bb",
        "\u202eexe",
        "\u00a0",
        "\U000e0041",
        "\uff41",
        "\U0001d41a",
        "слово",
        "zwölf",
        "{}",
    ]
    shown = of("text/literal.js", f"{json.dumps(values)}.map((value) => m.literal(value))")

    assert [json.loads(text) for text in shown] == values
    assert shown == [
        '"p\\u0430y"',
        '"a\\u200bb"',
        '"\\u202eexe"',
        '"\\u00a0"',
        '"\\udb40\\udc41"',
        '"\\uff41"',
        '"\\ud835\\udc1a"',
        '"слово"',
        '"zwölf"',
        '"{}"',
    ]


def test_values_that_read_alike_are_distinguished() -> None:
    """A text stands without quotation marks only where nothing else would look so."""
    values = ["yes", True, "true", "Yes", 1, "1", None, "null", "", " a", "a\tb", '"a"', {"a": 1}]
    shown = of("text/literal.js", f"{json.dumps(values)}.map(m.wordsOf)")

    assert of("text/literal.js", '["a  b", "a\\nb"].map(m.wordsOf)') == [r'"a \u0020b"', r'"a\nb"']
    assert len(set(shown)) == len(values)
    assert shown[:4] == ["yes", "Yes (true)", '"true"', "Yes"]


def test_a_value_is_checked_before_it_is_sent() -> None:
    """In words, once for each fault; what could take for ever is left to the server, and never turned around."""

    def complaints(schema: Any, value: Any) -> Any:
        return of("form/validator.js", f"m.complaints({json.dumps(schema)}, {json.dumps(value)})")

    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "maximum": 3}}}
    assert complaints(schema, {"a": 4}) == [{"path": ["a"], "message": "This has to be at most 3."}]
    assert complaints(schema, {}) == [{"path": ["a"], "message": "This is required."}]
    assert complaints({"pattern": "^[A-Z]+$"}, "a") == [{"path": [], "message": "This has to match ^[A-Z]+$."}]
    assert complaints({"pattern": "^(a+)+$"}, "a" * 60 + "!") == []
    assert complaints({"not": {"pattern": "^(a+)+$"}}, "b") == []
    assert complaints({"$defs": {"x": {"maxLength": 1}}, "$ref": "#/$defs/x"}, "bb")


def test_every_ending_of_an_attempt_has_words() -> None:
    """The server's names for why it ended are those that the console words."""
    assert set(of("text/reasons.js", "Object.keys(m.REASONS)")) == {reason.value for reason in Reason}


def test_usage_reads_well() -> None:
    """Three digits and a unit; what was not reported is not shown as nothing."""
    shown = of("text/usage.js", "[0, 999, 12340, 999999, 4567890].map(m.count)")
    assert shown == ["0", "999", "12.3k", "1000k", "4.57M"]
    assert of("text/usage.js", "m.usedText({ input_tokens: 1200, cost: 0.30000000000000004 })") == "1.2k in, cost 0.3"
    assert of("text/usage.js", "m.usedText({})") == ""


def test_durations_read_well() -> None:
    """One unit, and a second one where it matters."""
    shown = of("text/times.js", "[0, 59e3, 61e3, 3600e3, 5000e3, 90000e3, 20 * 86400e3].map(m.duration)")

    assert shown == ["0 s", "59 s", "1 min", "1 h", "1 h 23 min", "1 d 1 h", "20 d"]
    assert of("text/times.js", "[247e3, 3847e3].map(m.countdown)") == ["4:07", "1:04:07"]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[1,2.50,-0,1e5,1E+2,0.30000000000000004,20000000000000000001],'
        '"b":{"c":9007199254740993,"d":"1.10 \\" \\\\"}}',
        "1e400",
        ' [ 9007199254740993 , true , null , "é\\u0000" , {} , [ ] , { "__proto__" : 1.0 } ] ',
        "[1,0.5,-3,1000]",
    ],
)
def test_numbers_are_read_and_written_as_they_stand(text: str) -> None:
    """Whatever JavaScript would make of them; everything else is as JSON.parse has it."""
    written = of("text/json.js", f"m.stringify(m.parse({json.dumps(text)}))")
    assert written == json.dumps(
        json.loads(text, parse_float=lambda one: f"<{one}>", parse_int=lambda one: f"<{one}>"),
        separators=(",", ":"),
        ensure_ascii=False,
    ).replace('"<', "").replace('>"', "")
    assert of("text/json.js", f"m.stringify(m.parse({json.dumps(text)}), 2).replace(/\\s/g, '')") == "".join(
        written.split()
    )


@pytest.mark.parametrize("text", ["[1.10,]", "[01]", "1.", '{"a":1.0', "NaN", '"1.10', "[1.10 2]", ""])
def test_what_is_no_json_is_refused(text: str) -> None:
    """As JSON.parse refuses it."""
    refused = f"(() => {{ try {{ m.parse({json.dumps(text)}); return false }} catch {{ return true }} }})()"
    assert of("text/json.js", refused) is True


def test_a_typed_number_keeps_its_digits() -> None:
    """What is no number of JSON is none."""
    assert of("text/json.js", '["1.50", "9007199254740993", "12"].map((one) => m.stringify(m.numberOf(one)))') == [
        "1.50",
        "9007199254740993",
        "12",
    ]
    assert of("text/json.js", '["1.", "", "07", "a"].every((one) => m.numberOf(one) === undefined)') is True
