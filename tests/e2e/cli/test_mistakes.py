"""Each mistake on the command line is one line that says what to do, with the status of misuse; never a traceback."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import SWARMHOLD, Command, surroundings
from tests.support.processes import ServerProcess

MISUSED = 2


@pytest.mark.parametrize("agent", ["", "a" * 5_000, b"caf\xe9"], ids=["empty", "huge", "not UTF-8"])
def test_an_agent_that_cannot_be(swarmhold: Command, agent: str) -> None:
    """It is refused before anything is created."""
    assert_one_line(swarmhold("run", agent, "text", "--no-wait", status=MISUSED).stderr)


@pytest.mark.parametrize("data", [b"caf\xe9", b"a\0b"], ids=["Latin-1", "NUL"])
def test_standard_input_that_no_prompt_can_hold(swarmhold: Command, tmp_path: Path, data: bytes) -> None:
    """It says what is wrong with it, and where."""
    file = tmp_path / "prompt"
    file.write_bytes(data)
    with file.open("rb") as prompt:
        done = swarmhold("run", "agent", "-", "--no-wait", status=MISUSED, stdin=prompt)
    assert "Standard input" in assert_one_line(done.stderr)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:99999", "http://127.0.0.1:0", "http://127.0.0.1:x", "http://[::1", "ftp://host", "http://", "é"],
)
def test_a_url_that_no_server_has(swarmhold: Command, url: str) -> None:
    """The message shows how one is written."""
    assert "http://host:port" in assert_one_line(swarmhold("tasks", "list", "--url", url, status=MISUSED).stderr)


@pytest.mark.parametrize("key", ["shk_é", "shk_a b", "shk_\n"])
def test_a_key_that_no_header_can_carry(swarmhold: Command, key: str) -> None:
    """The key itself is not shown."""
    line = assert_one_line(swarmhold("tasks", "list", "--key", key, status=MISUSED).stderr)
    assert key.strip() not in line


@pytest.mark.parametrize("words", [("tasks", "show", ""), ("tasks", "cancel", ".."), ("questions", "show", ".")])
def test_an_id_that_would_make_another_path(swarmhold: Command, words: tuple[str, ...]) -> None:
    """Nothing is asked of the server under a path that was not meant."""
    assert "an id or a name" in assert_one_line(swarmhold(*words, status=MISUSED).stderr)


@pytest.mark.parametrize("arguments", [("--version",), ("tasks", "list"), ("tasks", "list", "--json"), ("doctor",)])
def test_standard_output_without_room(node: ServerProcess, arguments: tuple[str, ...]) -> None:
    """As with a full disk."""
    with Path("/dev/full").open("w") as full:
        done = _run_into(full.fileno(), node, *arguments)
    assert done.returncode == MISUSED
    assert "Standard output cannot be written" in assert_one_line(done.stderr)


def test_standard_output_that_nobody_reads(node: ServerProcess) -> None:
    """As with a pager that was left."""
    reading, writing = os.pipe()
    os.close(reading)
    done = _run_into(writing, node, "tasks", "list")
    os.close(writing)
    assert done.returncode == MISUSED
    assert "Standard output cannot be written" in assert_one_line(done.stderr)


def _run_into(output: int, node: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SWARMHOLD, *arguments],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env=surroundings(node),
        check=False,
    )


def assert_one_line(text: str) -> str:
    """Return the only line of an error message."""
    assert "Traceback" not in text
    (line,) = text.splitlines()
    return line
