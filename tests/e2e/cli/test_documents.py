"""What the documents tell their readers to type works as it stands there."""

import re
import subprocess

from tests.e2e.cli.conftest import surroundings
from tests.support.processes import ServerProcess
from tests.support.sources import ROOT

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(document: str, language: str = "") -> list[str]:
    """The blocks of this language, in order."""
    found = _BLOCK.findall((ROOT / document).read_text())
    return [text for kind, text in found if kind == language]


def test_the_quickstart_runs_as_it_is_pasted(node: ServerProcess) -> None:
    """The README's walk ends with the task passed and the worker's words as its result."""
    (walk,) = [block for block in _blocks("README.md") if block.startswith("KEY=")]
    done = subprocess.run(
        ["bash", "-eu"],
        input=walk.replace("http://127.0.0.1:7777", node.url),
        cwd=node.data_dir.parent,
        env=surroundings(node),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert '"prompt":"Two lines about rain."' in done.stdout
    assert '"status":"pass"' in done.stdout
    assert '"last_result":"Rain on the roof. / Rain in the shoe."' in done.stdout
