"""The files that build, run and check the project agree with each other."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from app.bootstrap import server
from app.config import Settings, load
from tests.support.compose import compose, default_profile, manual_lines, services
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


def test_the_image_is_small_and_does_not_run_as_root() -> None:
    """Two stages, and the last one names a user by number, so that a cluster can check it."""
    stages = [rest for word, rest in _instructions() if word == "FROM"]
    users = [rest for word, rest in _last_stage() if word == "USER"]

    assert len(stages) == 2
    assert all(stage.split()[0] == "${PYTHON_IMAGE}" for stage in stages)
    assert [re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) is not None for user in users] == [True]


def test_the_dockerfile_has_no_known_faults() -> None:
    """As its linter knows them."""
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def _base_image() -> str:
    """The image that both stages are built from."""
    (argument,) = [rest for word, rest in _instructions() if word == "ARG"]
    return argument.removeprefix("PYTHON_IMAGE=")


def test_the_base_image_is_named_in_one_place() -> None:
    """A slim image with its tag and a whole digest; compose passes another one on."""
    assert re.fullmatch(r"python:3\.\d+-slim@sha256:[0-9a-f]{64}", _base_image())
    built = [service["build"]["args"] for service in compose()["services"].values() if "build" in service]
    assert built == 4 * [["PYTHON_IMAGE"]]


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
    """Without a profile: one service with a volume for its data, which needs nothing first."""
    found = services(default_profile())
    [(name, node)] = found.items()

    assert name == "swarmhold"
    assert node["volumes"] == ["data:/data"]
    assert "data" in compose()["volumes"]
    assert "secrets" not in node
    assert not [name for name in node["environment"] if "KEY" in name]


def test_compose_runs_a_cluster_by_its_profile() -> None:
    """Three nodes that differ by their URL alone, PostgreSQL, NATS, and a proxy, which alone can be reached."""
    found = services("cluster")
    nodes = {name: service for name, service in found.items() if name.startswith("node-")}

    assert set(found) == {"node-1", "node-2", "node-3", "proxy", "postgres", "nats"}
    assert [name for name, service in found.items() if "ports" in service] == ["proxy"]
    for name, node in nodes.items():
        assert node["environment"].pop("SWARMHOLD_CLUSTER__NODE_URL") == f"http://{name}:7777"
        assert node == nodes["node-1"]
        assert set(node["depends_on"]) == {"postgres", "nats"}
    assert compose()["networks"]["back"] == {"internal": True}
    assert {name for name, service in found.items() if "back" in service["networks"]} == {*nodes, "postgres", "nats"}
    assert set(found["proxy"]["depends_on"]) == set(nodes)


@pytest.mark.parametrize("profile", ["single", "cluster"])
def test_every_container_is_confined_and_bounded(profile: str) -> None:
    """A root file system that cannot be written, no rights, bounds of memory and processes, a health check."""
    for name, service in services(profile).items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"] == service["memswap_limit"]
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
        assert 0 < service["pids_limit"] <= 4096
        assert "healthcheck" in service or service["image"] == "swarmhold:local"
        assert [fnmatch(port, "127.0.0.1:*:7777") for port in service.get("ports", [])] in ([], [True])
        dependencies = service.get("depends_on", {}).values()
        assert all(one == {"condition": "service_healthy"} for one in dependencies)


def test_every_container_has_time_to_stop() -> None:
    """More than the settings allow a node to take: to drain where there are others, and to end."""
    settings = Settings()
    grace_s = settings.shutdown_grace.total_seconds()
    drain_s = settings.cluster.drain_ms / 1000 + server._MARK_S

    for profile, least in (("single", grace_s), ("cluster", grace_s + drain_s)):
        for service in services(profile).values():
            if service["image"] == "swarmhold:local":
                assert float(service["stop_grace_period"].removesuffix("s")) > least


def test_secrets_of_the_cluster_are_files() -> None:
    """No value of a secret is in a variable; the manual makes each file, in a folder that is not committed."""
    file = compose()
    lines = manual_lines("secrets/database.url")

    for service in services("cluster").values():
        environment = service.get("environment", {})
        given = {name for name in environment if name.endswith("_FILE")}
        assert {environment[name] for name in given} == {f"/run/secrets/{name}" for name in service.get("secrets", [])}
        assert not [name for name in environment.keys() - given if re.search("KEY|PASSWORD|DATABASE_URL", name)]
    for secret in file["secrets"].values():
        assert f"> {secret['file']}\n" in lines
        assert f"/{Path(secret['file']).parts[0]}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_settings_of_a_node_in_the_compose_file_are_understood(tmp_path: Path) -> None:
    """None is unknown or contradicts another; the secrets are read from their files."""
    node = services("cluster")["node-1"]
    given = dict(node["environment"])
    for name in node["secrets"]:
        (tmp_path / name).write_text("postgresql://swarmhold@postgres/swarmhold\n")
    given = {name: value.replace("/run/secrets", str(tmp_path)) for name, value in given.items()}
    settings = load(environ=given).settings

    assert settings.store_url.startswith("postgresql://")
    assert settings.cluster.node_url == "http://node-1:7777"
    assert len(settings.http.trusted_proxies) == 4


def test_compose_takes_a_root_key_as_a_secret() -> None:
    """What the manual says to put beside the file goes with it, and its folder is never committed."""
    manual = (ROOT / "docs" / "operations.md").read_text()
    (override,) = [block for block in re.findall(r"```yaml\n(.*?)```", manual, flags=re.DOTALL) if "secrets:" in block]
    given = yaml.safe_load(override)
    node = given["services"]["swarmhold"]

    assert set(given["services"]) == set(services(default_profile()))
    assert node["environment"] == {"SWARMHOLD_ROOT_KEY_FILE": f"/run/secrets/{node['secrets'][0]}"}
    assert given["secrets"].items() <= compose()["secrets"].items()


def test_compose_is_accepted_by_its_client(tmp_path: Path) -> None:
    """`docker compose config` reads the file, and selects the services by profile, where there is such a client."""
    client = _compose_client()
    if client is None:
        pytest.skip("there is no compose client here; `make proxy-deps` as root installs one")
    for name in ("docker-compose.yml", ".env", "deploy/compose/Caddyfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        # Debian's program is of before files had a name of their own.
        (tmp_path / name).write_text((ROOT / name).read_text().replace("\nname: swarmhold\n", "\n"))
    for options, profile in (([], default_profile()), (["--profile", "cluster"], "cluster")):
        read = subprocess.run([*client, *options, "config"], capture_output=True, text=True, cwd=tmp_path)
        assert read.returncode == 0, read.stderr
        # Debian's program shows those of other profiles too.
        shown = yaml.safe_load(read.stdout)["services"]
        assert {name for name, one in shown.items() if profile in one["profiles"]} == set(services(profile))
        for name, service in services(profile).items():
            assert (shown[name].get("environment") or {}) == service.get("environment", {})


def _compose_client() -> list[str] | None:
    """The command of a compose client: docker's plug-in, or the program of its own."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


def test_every_alert_says_what_it_means() -> None:
    """By a summary, of the cluster's also with what to do; each metric of the cluster has one."""
    [group] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "swarmhold.rules.yml").read_text())["groups"]
    explained = " ".join(rule["expr"] for rule in group["rules"] if "description" in rule["annotations"])

    assert [rule["alert"] for rule in group["rules"] if not {"summary"} <= set(rule["annotations"])] == []
    assert {rule["labels"]["severity"] for rule in group["rules"]} == {"page", "ticket"}
    for name in (
        *("hints_sent_total", "hints_received_total", "hints_lost_total", "hints_failing", "nodes"),
        *("takeovers_total", "node_fenced_total", "fenced_writes_total", "database_pool_wait_seconds_total"),
        "feed_unread_seconds",
    ):
        assert f"swarmhold_{name}" in explained


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
