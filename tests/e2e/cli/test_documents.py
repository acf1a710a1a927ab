"""What the documents tell their readers to type works as it stands there."""

import re
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from app.config.loading import names
from tests.e2e.cli.conftest import surroundings
from tests.support.processes import ServerProcess
from tests.support.sources import ROOT

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(document: str, language: str = "") -> list[str]:
    """The blocks of this language, in order."""
    found = _BLOCK.findall((ROOT / document).read_text())
    return [text for kind, text in found if kind == language]


def test_the_quickstart_runs_as_it_is_pasted(node: ServerProcess) -> None:
    """The README's quickstart ends with the task passed and the worker's words as its result."""
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


def test_operations_lists_every_metric_and_limit(node: ServerProcess) -> None:
    """Under the names that they have; and no document has a metric that there is not."""
    reply = httpx.get(f"{node.url}/metrics", headers={"Authorization": f"Bearer {node.root_key()}"})
    there = {name for name in re.findall(r"^# TYPE (\w+)", reply.text, re.MULTILINE) if not name.endswith("_created")}
    text = (ROOT / "docs/operations.md").read_text()
    hints = (ROOT / "docs/scaling.md").read_text()
    assert there
    assert [name for name in there if f"`{name}`" not in text + hints] == []
    assert [name for name in names() if name.startswith("limits.") and name.removeprefix("limits.") not in text] == []
    for document in (ROOT / "docs").rglob("*.md"):
        named = set(re.findall(r"`(swarmhold_[a-z]\w*)", document.read_text()))
        assert [name for name in named if not any(one.startswith(name) for one in there)] == [], document


def _programs(document: str) -> dict[str, str]:
    """The programs of a document that name their file in the first line."""
    named = [(re.match(r"# (\w+\.py)\n", block), block) for block in _blocks(document, "python")]
    return {match[1]: block for match, block in named if match is not None}


def test_the_guides_programs_do_their_jobs_together(node: ServerProcess, tmp_path: Path) -> None:
    """Worker, main AI and senior run as they stand there until the newsroom's tasks have passed."""
    for name, text in _programs("docs/guide.md").items():
        (tmp_path / name).write_text(text.replace("http://127.0.0.1:7777", node.url))
    variables = surroundings(node, SWARMHOLD_KEY=node.root_key())
    with ExitStack() as running:
        for name in ("worker.py", "main_ai.py", "senior.py"):
            process = subprocess.Popen([sys.executable, str(tmp_path / name)], env=variables)
            running.callback(process.wait)
            running.callback(process.kill)
        done = subprocess.run(
            [sys.executable, str(tmp_path / "newsroom.py")], env=variables, capture_output=True, text=True, timeout=100
        )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "writer pass {'headline': 'Rain again', 'tone': 'warm'}",
        "editor pass editor is done",
        "invalid-transition",
    ]


async def test_an_engine_runs_inside_a_program() -> None:
    """The block that embeds the engine comes to the outcome of the function that it names."""
    (block,) = [text for text in _blocks("docs/extending.md", "python") if "Engine.new()" in text]
    at = block.index("async with")
    source = f"{block[:at]}async def main():\n{textwrap.indent(block[at:], '    ')}    return outcome\n"
    names: dict[str, Any] = {}
    exec(compile(source, "docs/extending.md", "exec"), names)  # noqa: S102 - the repository's own document

    outcome = await names["main"]()

    assert (str(outcome.outcome), outcome.value.value) == ("pass", "hello")
