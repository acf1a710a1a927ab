"""What the repository as a whole must hold: exact dependencies, and nothing of the machine it was written on."""

import re

import pytest

from tests.support.sources import ROOT, repository_texts

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")

REQUIREMENT = re.compile(r"[a-z0-9][a-z0-9-]*(\[[a-z0-9,-]+\])?==[0-9][^\s;]*( ; [^\\]+?)? \\")
DIGEST = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

# Written apart, so that this file passes its own test.
MACHINE_PATHS = re.compile("/wor" + "k/|/tmp/br" + "ief")
REGISTRIES = re.compile("|".join(("py" r"pi\.org", "pythonho" r"sted\.org", "npm" r"js\.(org|com)", "crat" r"es\.io")))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_versions_and_digests_and_nothing_else(lock: str) -> None:
    """No line names an index, a host or a file: a lock says what, not where from."""
    lines = (ROOT / lock).read_text().splitlines()

    assert [line for line in lines if not REQUIREMENT.fullmatch(line) and not DIGEST.fullmatch(line)] == []


def _pins(lock: str) -> dict[str, str]:
    """The version of each package of a lock."""
    lines = (ROOT / lock).read_text().splitlines()
    return dict(line.split(" ")[0].split("==", 1) for line in lines if REQUIREMENT.fullmatch(line))


def test_development_uses_the_versions_that_are_served() -> None:
    """The development lock holds every pin of the runtime lock."""
    development = _pins("requirements-dev.lock")

    assert {name: pin for name, pin in _pins("requirements.lock").items() if development.get(name) != pin} == {}


@pytest.mark.parametrize(("what", "pattern"), [("path", MACHINE_PATHS), ("registry", REGISTRIES)])
def test_no_file_names_where_it_was_made(what: str, pattern: re.Pattern[str]) -> None:
    """Neither the paths of one machine nor the hosts of a registry are in any file."""
    assert [f"{what} in {name}" for name, text in repository_texts() if pattern.search(text)] == []
