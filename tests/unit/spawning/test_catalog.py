"""Kinds of spawners, those that ship and those that packages bring."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import DispatchFailed
from app.domain.json import Json
from app.spawning.adapters.http import ACCEPTED
from app.spawning.backends.protocols import OperatorBackend, SpawnHook
from app.spawning.backends.registry import Registry
from app.spawning.catalog import SpawnerCatalog, shipped_catalog
from app.spawning.layers import load_layers, shipped_layers
from app.spawning.outbound.settings import HttpWorkerSettings
from app.spawning.ports import SpawnerAdapter, SpawnFailed
from app.spawning.processes.child import Child
from app.spawning.processes.programs import Program
from tests.support.control import RecordedControl, job
from tests.support.pids import alive

ROOT = Path(__file__).parents[3]
SLEEPER = {"sleeper": Program(path="/bin/sleep", args=("1000",))}


def catalog(*, programs: dict[str, Program] | None = None, allow: tuple[str, ...] = ()) -> SpawnerCatalog:
    """A server's catalog under these settings."""
    http = HttpWorkerSettings(allow=allow, secrets=(b"s" * 32,))
    return shipped_catalog(operators=Registry[OperatorBackend](), programs=programs, http=http)


@pytest.fixture
async def shipped() -> AsyncIterator[SpawnerCatalog]:
    """Everything that can be built, closed after the test."""
    made = catalog(programs=SLEEPER, allow=("http://127.0.0.1:1/",))
    yield made
    await made.aclose()


@pytest.mark.parametrize(
    ("spec", "recorded"),
    [
        ({"kind": "external"}, None),
        ({"kind": "in_process", "function": "identity"}, None),
        ({"kind": "process", "program": "sleeper"}, None),
        ({"kind": "process", "program": "sleeper", "args": []}, {"kind": "process", "program": "sleeper"}),
        ({"kind": "queue", "queue": "q"}, {"kind": "queue", "queue": "q", "priority": 0}),
        ({"kind": "queue", "queue": "q", "priority": -7}, None),
        ({"kind": "operator", "backend_id": "main"}, None),
        ({"kind": "http", "url": "http://127.0.0.1:1/x"}, None),
    ],
)
async def test_each_shipped_kind_is_built_from_its_spec_and_again_from_what_it_records(
    shipped: SpawnerCatalog, spec: dict[str, Any], recorded: dict[str, Any] | None
) -> None:
    """What is recorded with an attempt is enough."""
    spawner = shipped.build(spec)

    assert isinstance(spawner, SpawnerAdapter)
    assert spawner.kind == spec["kind"]
    assert spawner.spec == (recorded or spec)
    assert shipped.build(spawner.spec).spec == spawner.spec


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "shell"}, r"no spawner of kind 'shell'; there are external, in_process, process, queue"),
        ({}, "no spawner of kind None"),
        ({"kind": ["external"]}, "no spawner of kind"),
        ({"kind": "external", "prompt": "x"}, "has no 'prompt'; it takes no fields"),
        ({"kind": "queue"}, "needs 'queue'"),
        ({"kind": "queue", "queue": ""}, "needs 'queue'"),
        ({"kind": "queue", "queue": "q", "priority": "high"}, "whole number"),
        ({"kind": "queue", "queue": "q", "priority": True}, "whole number"),
        ({"kind": "queue", "queue": "q", "priority": 2**31}, "whole number"),
    ],
)
async def test_a_spec_that_cannot_be_built_says_what_is_allowed(
    shipped: SpawnerCatalog, spec: dict[str, Any], words: str
) -> None:
    """The words are for whoever wrote the spec."""
    with pytest.raises(DispatchFailed, match=words):
        shipped.build(spec)


async def test_a_builder_that_breaks_refuses_the_dispatch() -> None:
    """A package's mistake does not become the server's."""

    def build(spec: dict[str, Any]) -> SpawnerAdapter:
        raise KeyError(spec["missing"])

    kinds = SpawnerCatalog({"odd": build})
    with pytest.raises(DispatchFailed, match="KeyError"):
        kinds.build({"kind": "odd"})


async def test_queue_and_external_workers_end_with_their_attempt(shipped: SpawnerCatalog) -> None:
    """The server starts nothing; under driving layers it waits for the end."""
    for spec in ({"kind": "external"}, {"kind": "queue", "queue": "q"}):
        spawner, control = shipped.build(spec), RecordedControl()
        workers = [await spawner.spawn(job(), control), await spawner.rejoin(job(), control)]
        joining = [asyncio.create_task(worker.join()) for worker in workers]
        await asyncio.sleep(0)
        assert not any(task.done() for task in joining)
        await control.end()

        assert [exit.final for exit in await asyncio.gather(*joining)] == [None, None]


async def test_a_program_that_was_taken_from_the_settings_is_still_reaped(shipped: SpawnerCatalog) -> None:
    """What started under the old settings can be ended under the new ones, but not started."""
    child = await shipped.build({"kind": "process", "program": "sleeper"}).spawn(job(), RecordedControl())
    assert isinstance(child, Child)
    withdrawn = catalog().rebuild({"kind": "process", "program": "sleeper"})

    assert isinstance(withdrawn, SpawnerAdapter)
    with pytest.raises(SpawnFailed, match="allow no program 'sleeper'"):
        await withdrawn.spawn(job(), RecordedControl())
    with pytest.raises(SpawnFailed):
        await withdrawn.rejoin(job(process=Json.of(child.record)), RecordedControl())
    assert alive(child.record["pid"])
    await withdrawn.reap(job(process=Json.of(child.record)), 1)
    assert not alive(child.record["pid"])


async def test_a_url_that_was_taken_from_the_settings_is_still_watched() -> None:
    """A worker that had accepted may finish."""
    withdrawn = catalog().rebuild({"kind": "http", "url": "http://127.0.0.1:1/x"})
    control = RecordedControl()
    worker = await withdrawn.rejoin(job(process=Json.of(ACCEPTED)), control)
    joining = asyncio.create_task(worker.join())
    await asyncio.sleep(0)
    assert not joining.done()
    await control.end()
    await joining

    with pytest.raises(SpawnFailed):
        await withdrawn.rejoin(job(), control)
    await withdrawn.reap(job(), 0)


async def test_what_is_allowed_is_rebuilt_as_it_was(shipped: SpawnerCatalog) -> None:
    """Rebuilding is building, while the settings stay."""
    assert shipped.rebuild({"kind": "queue", "queue": "q"}).kind == "queue"


# --- packages --------------------------------------------------------------------------------------------------------

PACKAGE = """
from app.spawning.adapters.external import build_external
from app.spawning.ports import Layer

class Polite(Layer):
    key = "polite"

class Misnamed(Layer):
    key = "somebody else"

class Audit(Layer):
    key = "audit"

def breaks():
    raise RuntimeError("no layer today")

def number():
    return 5

constant = 5
build = build_external
"""

ENTRY_POINTS = """
[swarmhold.spawners]
mine = fresh_package:build
external = fresh_package:build
absent = fresh_package:nothing
gone = no_such_package:build
constant = fresh_package:constant

[swarmhold.layers]
polite = fresh_package:Polite
misnamed = fresh_package:Misnamed
audit = fresh_package:Audit
breaks = fresh_package:breaks
number = fresh_package:number
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that offers good and bad things."""
    (tmp_path / "fresh_package.py").write_text(PACKAGE)
    metadata = tmp_path / "fresh_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fresh-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("package")
async def test_packages_add_spawners_and_bad_ones_are_reported(shipped: SpawnerCatalog) -> None:
    """The good one can be built; each bad one is named with its reason and harms nobody."""
    problems = {problem.name: problem.reason for problem in shipped.load_entry_points()}

    assert shipped.kinds()[-1] == "mine"
    assert shipped.build({"kind": "mine"}).first_phase
    assert problems.keys() == {"external", "absent", "gone", "constant"}
    assert "already" in problems["external"]
    assert "no_such_package" in problems["gone"]


@pytest.mark.usefixtures("package")
def test_packages_add_layers_and_bad_ones_are_reported() -> None:
    """A layer goes by the name of its entry point, and none takes the place of one that ships."""
    layers, problems = load_layers()
    registry = shipped_layers(
        hooks=Registry[SpawnHook](), operators=Registry[OperatorBackend](), extra=layers, long_hold_s=1.0
    )

    assert [layer.key for layer in layers] == ["polite"]
    assert "polite" in registry.keys()  # noqa: SIM118 - a method of the registry, not of a mapping
    assert {problem.name: problem.reason.partition(":")[0] for problem in problems} == {
        "misnamed": "ValueError",
        "audit": "ValueError",
        "breaks": "RuntimeError",
        "number": "TypeError",
    }


USE_EXAMPLE = """
import asyncio
from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.catalog import SpawnerCatalog
from app.spawning.layers import load_layers
from app.spawning.ports import Draft, LayerRegistry
from app.spawning.stack import SpawnerStack
from tests.support.control import RecordedControl, facts, job

async def main():
    catalog = SpawnerCatalog({})
    assert catalog.load_entry_points() == []
    layers, problems = load_layers()
    assert problems == []
    registry = LayerRegistry(hints=layers)
    spawner = catalog.build({"kind": "form_letter", "text": "Dear {agent}: {prompt}"})
    stack = SpawnerStack(spawner, registry.stack(["house_rules"]), ("house_rules",))
    known = {"house-rules": Json.of("Be kind.")}
    active = stack.resolve(facts())
    draft = active.prepare(Draft(facts=facts(), prompt="hello"), known.get)
    exit = await (await active.spawn(job(draft.prompt), RecordedControl())).join()
    assert exit.final == Final(value=Json.of("Dear coder: Be kind.\\n\\nhello"), ok=True), exit
    empty = active.settle(Final(value=Json.of(""), ok=True))
    assert not empty.ok

asyncio.run(main())
"""


def test_the_example_package_installs_and_works(tmp_path: Path) -> None:
    """Installed from its folder, without an index, its spawner and layer are found and do what it says."""
    source = tmp_path / "plugin"
    subprocess.run(["cp", "-r", str(ROOT / "examples/plugin"), str(source)], check=True)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=100)
    used = subprocess.run(
        [sys.executable, "-c", USE_EXAMPLE],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert used.returncode == 0, used.stderr
