"""The files that build, run and check the project agree with each other."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.support.sources import ROOT


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def _last_stage() -> list[tuple[str, str]]:
    """The instructions of the image that is shipped."""
    instructions = _instructions()
    start = max(index for index, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[start:]


def _copied_from_the_context() -> Iterator[str]:
    """What the image takes from the repository."""
    for word, rest in _instructions():
        if word == "COPY" and not rest.startswith("--from="):
            yield from shlex.split(rest)[:-1]


def _compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_image_is_small_and_does_not_run_as_root() -> None:
    """Two stages, and the last one names a user by number, so that a cluster can check it."""
    stages = [rest for word, rest in _instructions() if word == "FROM"]
    users = [rest for word, rest in _last_stage() if word == "USER"]

    assert len(stages) == 2
    assert all(stage.split()[0] == "${PYTHON_IMAGE}" for stage in stages)
    assert [re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) is not None for user in users] == [True]


def _base_image() -> str:
    """The image that both stages are built from."""
    (argument,) = [rest for word, rest in _instructions() if word == "ARG"]
    return argument.removeprefix("PYTHON_IMAGE=")


def test_the_base_image_is_named_in_one_place() -> None:
    """A slim image with its tag and a whole digest; compose passes another one on."""
    assert re.fullmatch(r"python:3\.\d+-slim@sha256:[0-9a-f]{64}", _base_image())
    assert _compose()["services"]["swarmhold"]["build"]["args"] == ["PYTHON_IMAGE"]


def test_the_base_image_is_pinned_by_one_command(tmp_path: Path) -> None:
    """`make pin-image` writes the digest that docker tells behind the tag, each time anew, and nothing without one."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    for name in ("Makefile", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    environment = {**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}"}
    tag = _base_image().partition("@")[0]

    def pin(said: str) -> int:
        docker.write_text(f'#!/bin/sh\n[ "$4" = "{tag}" ] && echo "{said}"\n')
        docker.chmod(0o755)
        command = ["make", "--no-print-directory", "pin-image"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode

    for digit in "0a":
        assert pin(f"sha256:{digit * 64}") == 0
        assert f"ARG PYTHON_IMAGE={tag}@sha256:{digit * 64}\n" in (tmp_path / "Dockerfile").read_text()
    pinned = (tmp_path / "Dockerfile").read_text()
    assert pin("no such image") != 0
    assert (tmp_path / "Dockerfile").read_text() == pinned


def test_the_image_says_where_it_listens_what_it_keeps_and_how_it_feels() -> None:
    """Port, volume, settings and health check name the same things."""
    stage = dict(_last_stage())
    settings = dict(re.findall(r"(SWARMHOLD_\w+)=(\S+)", stage["ENV"]))

    assert (stage["EXPOSE"], settings["SWARMHOLD_PORT"], settings["SWARMHOLD_HOST"]) == ("7777", "7777", "0.0.0.0")
    assert stage["VOLUME"] == settings["SWARMHOLD_DATA_DIR"] == "/data"
    assert "/readyz" in stage["HEALTHCHECK"]
    assert (stage["ENTRYPOINT"], stage["CMD"]) == ('["swarmhold"]', '["serve"]')


def test_every_install_of_the_image_is_locked() -> None:
    """Dependencies come with their digests, the package itself comes without dependencies."""
    runs = [rest for word, rest in _instructions() if word == "RUN"]
    installs = [step for run in runs for step in re.findall(r"pip (?:install|wheel) [^&]+", run)]

    assert len(installs) == 4
    assert [step for step in installs if "--require-hashes" not in step and "--no-deps" not in step] == []


def test_the_build_context_holds_what_the_image_copies_and_no_more() -> None:
    """Each copied file exists and is let through, and nothing else is."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert lines[0] == "*"
    assert set(_copied_from_the_context()) == let_through
    assert [name for name in let_through if not (ROOT / name).exists()] == []


def test_compose_runs_one_confined_node() -> None:
    """One service with a volume for its data, read-only otherwise, reachable from this machine alone."""
    compose = _compose()
    node = compose["services"]["swarmhold"]

    assert list(compose["services"]) == ["swarmhold"]
    assert node["volumes"] == ["data:/data"]
    assert "data" in compose["volumes"]
    assert (node["read_only"], node["cap_drop"]) == (True, ["ALL"])
    assert node["security_opt"] == ["no-new-privileges:true"]
    assert [fnmatch(port, "${SWARMHOLD_PUBLISH:-127.0.0.1:*}:7777") for port in node["ports"]] == [True]


def test_compose_bounds_memory_and_processes() -> None:
    """Memory has a bound that no swapping widens, and so have processes; whoever has more names it."""
    node = _compose()["services"]["swarmhold"]

    assert node["mem_limit"] == node["memswap_limit"]
    assert re.fullmatch(r"\$\{SWARMHOLD_MEMORY:-\d+[mg]\}", node["mem_limit"])
    assert 0 < node["pids_limit"] <= 4096


def test_compose_needs_nothing_first() -> None:
    """No file has to be made before the first start; the root key is made in the volume and is in no variable."""
    compose = _compose()
    node = compose["services"]["swarmhold"]

    assert "secrets" not in compose
    assert not [name for name in node["environment"] if "KEY" in name]


def test_compose_takes_a_root_key_as_a_secret() -> None:
    """What the manual says to put beside the file goes with it, and its folder is never committed."""
    manual = (ROOT / "docs" / "operations.md").read_text()
    (override,) = [block for block in re.findall(r"```yaml\n(.*?)```", manual, flags=re.DOTALL) if "secrets:" in block]
    given = yaml.safe_load(override)
    node = given["services"]["swarmhold"]

    assert set(given["services"]) == set(_compose()["services"])
    assert node["environment"] == {"SWARMHOLD_ROOT_KEY_FILE": f"/run/secrets/{node['secrets'][0]}"}
    assert set(node["secrets"]) == set(given["secrets"])
    folder = Path(given["secrets"]["root_key"]["file"]).parts[0]
    assert f"/{folder}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_compose_is_accepted_by_its_client() -> None:
    """`docker compose config` reads the file, where there is such a client."""
    docker = shutil.which("docker")
    client = docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0
    if not client:
        pytest.skip("there is no docker compose client here")
    command = [docker, "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    read = subprocess.run(command, capture_output=True, text=True)

    assert (read.returncode, read.stderr) == (0, "")


def _targets() -> dict[str, list[str]]:
    """The Makefile's targets and what each needs."""
    found = re.findall(r"^([a-z-]+):([^=#\n]*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    return {name: needs.split() for name, needs in found}


def test_before_a_commit_runs_what_is_checked_later() -> None:
    """The hooks are the parts of `make check`, and none is fetched from elsewhere."""
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]

    assert [repository["repo"] for repository in repositories] == ["local"]
    assert [hook["entry"].removeprefix("make ") for hook in hooks] == _targets()["check"]


def test_every_target_is_phony_or_a_file() -> None:
    """A folder that is called like a target must not switch it off."""
    phony = re.search(r"^\.PHONY:((?:[^\n]|\\\n)*)", (ROOT / "Makefile").read_text().replace("\\\n", " "), re.MULTILINE)

    assert phony is not None
    assert set(_targets()) - set(phony[1].split()) == set()


def test_the_last_thing_that_is_run_is_the_tests() -> None:
    """`.ci/run` can be executed and ends with `make test`, whose summary is its last line."""
    script = ROOT / ".ci" / "run"
    lines = [line for line in script.read_text().splitlines() if line.strip()]

    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in lines
    assert lines[-2:] == ["make check", "make test"]
