"""One running node for the tests of a module, and commands and programs that know where it is."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import forking
from tests.support.processes import ServerProcess, own_variables
from tests.support.sources import ROOT
from tests.support.spreading import server_process, several

SWARMHOLD = str(Path(sys.executable).with_name("swarmhold"))

Command = Callable[..., subprocess.CompletedProcess[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[[Mapping[str, str]], ServerProcess]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A node with an empty data directory, shared by a module's tests."""
    with server_process(tmp_path_factory.mktemp("node") / "data") as server:
        server.start()
        yield server
        server.stop()


def surroundings(node: ServerProcess, **more: str) -> dict[str, str]:
    """The environment in which commands and examples find the node."""
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("SWARMHOLD_", "OPENAI", "ANTHROPIC"))
    }
    return {**own, **place(node), "PYTHONUNBUFFERED": "1", **more}


def place(node: ServerProcess) -> dict[str, str]:
    """The variables that say where the node is, and by which key."""
    # The key of the data directory is for the process whose directory it is, and several nodes have several.
    key = {} if several() is None else {"SWARMHOLD_KEY": node.root_key()}
    return {"SWARMHOLD_URL": node.url, "SWARMHOLD_DATA_DIR": str(node.data_dir), **key}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a node with these settings; ended after the test."""
    with ExitStack() as started:

        def start(settings: Mapping[str, str]) -> ServerProcess:
            node = started.enter_context(server_process(tmp_path / "node" / "data", settings))
            node.start()
            return node

        yield start


@pytest.fixture
def swarmhold(node: ServerProcess) -> Command:
    """Runs `swarmhold …` beside the node to its end."""

    def run(*arguments: str, status: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
        done = forking.run(*arguments, **{"env": surroundings(node), **options})
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def run() -> Run:
    """`swarmhold …` with nothing set but what is given; its status is checked."""

    def run(
        *arguments: str | Path, status: int = 0, stdin: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        own = own_variables()
        done = forking.run(*map(str, arguments), env={**own, **variables}, input=stdin)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


class Background:
    """A program that runs beside the test; what it prints is in a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def printed(self) -> str:
        """Everything it printed so far."""
        return self._log.read_text(errors="replace")


@pytest.fixture
def example(node: ServerProcess, tmp_path: Path) -> Iterator[Callable[..., Background]]:
    """Starts `examples/NAME` in the background, with further variables; ended after the test."""
    with ExitStack() as started:

        def start(name: str, **variables: str) -> Background:
            log = tmp_path / f"{name}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, str(ROOT / "examples" / name)],
                    stdout=output,
                    stderr=output,
                    env=surroundings(node, **variables),
                )
            started.callback(process.wait)
            started.callback(process.kill)
            return Background(process, log)

        yield start
