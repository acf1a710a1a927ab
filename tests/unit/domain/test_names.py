"""Names: which may be given, and which may not."""

import pytest

from app.domain.errors import InvalidName
from app.domain.names import LABELS_BYTES, check_labels, check_name, check_optional, check_session_label

GOOD = [
    "a",
    "x" * 200,
    "zwei Wörter",
    "名前",
    "a\u200cb",
    "👩\u200d💻",
    "a\u00a0b",
    "\u3000",
    "a:b",
    "/a/b",
    "\U0001fae8",
]
BAD = {
    "empty": "",
    "long": "x" * 201,
    "space in front": " a",
    "space behind": "a ",
    "only a space": " ",
    "Cc": "a\nb",
    "Cc NUL": "a\0b",
    "Cc of Latin 1": "a\u0085b",
    "Cf bidi": "a\u202eb",
    "Cf zero-width space": "a\u200bb",
    "Cf soft hyphen": "a\u00adb",
    "Cf byte order mark": "\ufeffa",
    "Cf tag": "a\U000e0041b",
    "Cs": "a\ud800b",
    "Co": "a\ue000b",
    "Co of a plane": "a\U000f0000b",
    "Zl": "a\u2028b",
    "Zp": "a\u2029b",
}


@pytest.mark.parametrize("text", GOOD)
def test_names_that_people_can_see_are_taken(text: str) -> None:
    """Any script, spaces inside, the joiners that scripts and emoji need."""
    check_name(text, "agent")
    check_optional(text, "agent")
    check_labels({text.replace(":", ""): text})


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_names_that_deceive_are_refused(text: str) -> None:
    """Invisible and unassignable characters, spaces at the ends, nothing at all, too much."""
    for check in (
        lambda: check_name(text, "agent"),
        lambda: check_optional(text, "agent"),
        lambda: check_session_label(text, root=True),
    ):
        with pytest.raises(InvalidName) as raised:
            check()
        assert str(raised.value).isprintable()
    for labels in ({text: "b"}, {"b": text}):
        with pytest.raises(InvalidName, match="labels"):
            check_labels(labels)


def test_labels_are_bounded_in_all() -> None:
    """16 KiB of names and values, in bytes; a label's name has no colon."""
    labels = {f"{number:03}" + "n" * 97: "é" * 50 for number in range(LABELS_BYTES // 200)}
    check_labels(labels)
    for more in ({"n": "v" * 200}, {"a:b": "c"}):
        with pytest.raises(InvalidName):
            check_labels(labels | more)
    check_optional(None, "bridge_id")


@pytest.mark.parametrize("label", ["deadline", "engine", "server", "swarmhold", "Engine", "DEADLINE"])
def test_reserved_labels_are_nobodys(label: str) -> None:
    """Nobody passes for the server itself, in whatever case; `root` is the root key's."""
    for root in (True, False):
        with pytest.raises(InvalidName):
            check_session_label(label, root=root)
    check_session_label("root", root=True)
    for text, root in (("root", False), ("Root", True)):
        with pytest.raises(InvalidName):
            check_session_label(text, root=root)
    check_session_label(f"{label} two", root=False)
