"""The real Claude Code, connected by the lines of docs/connect: it asks, goes away, and its tool runs once.

Its model is scripted, on loopback. It comes in the wheel of the package claude-agent-sdk, which is not among the
dependencies, since it has about 178 MB: `make claude-code` installs it and runs these tests.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from swarmhold import CallRetry, SwarmholdClient
from tests.e2e.cli.conftest import SWARMHOLD
from tests.support.processes import ServerProcess
from tests.support.scripted_models import scripted_model
from tests.support.sources import ROOT
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

SDK = find_spec("claude_agent_sdk")
ASK_HUMAN = "mcp__swarmhold__ask_human"
DEADLINE_S = 200
TWO_DAYS_S = 2 * 86_400

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SDK is None, reason="claude-agent-sdk, which holds Claude Code, is missing: make claude-code"),
]


@dataclass
class Machine:
    """A user's machine: a home, a project, Claude Code, a model on loopback, and nothing else from outside."""

    folder: Path
    node: ServerProcess
    model: str
    running: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    @property
    def ran(self) -> list[str]:
        """What the tool has left, a line for each time that it ran."""
        path = self.folder / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def start(self, script: str, **variables: str) -> subprocess.Popen[str]:
        """A shell that runs a script in the project, which knows where the server's files are."""
        environment = {
            "HOME": str(self.folder / "home"),
            "PATH": f"{self.folder / 'bin'}:{Path(SWARMHOLD).parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "ANTHROPIC_BASE_URL": self.model,
            "ANTHROPIC_API_KEY": "key-of-the-test",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "SWARMHOLD_DATA_DIR": str(self.node.data_dir),
            **variables,
        }
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder / "project",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def run(self, script: str, **variables: str) -> str:
        """What a script prints until its end."""
        out, err = self.start(script, **variables).communicate(timeout=DEADLINE_S)
        return out + err

    def open(self) -> list[dict[str, Any]]:
        """The open questions."""
        with closing(Swarm(self.node.url, self.node.root_key())) as swarm:
            return swarm.call(swarm.senior, "GET", "/v1/senior/questions?status=open")["items"]

    def asked_by(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """The open question of a program that waits for its answer."""

        def asked() -> list[dict[str, Any]]:
            assert process.poll() is None, process.communicate()
            return self.open()

        [question] = wait_until(asked, within=DEADLINE_S)
        return question

    def answer(self, key: str, value: Any) -> dict[str, Any]:
        """The question, answered by a senior."""
        with closing(Swarm(self.node.url, self.node.root_key())) as swarm:
            swarm.answer(key, value)
            return swarm.question(key)

    def session_of(self, question: dict[str, Any]) -> str:
        """The session of Claude Code that asked a question."""
        with closing(Swarm(self.node.url, self.node.root_key())) as swarm:
            return swarm.task(question["task_id"])["labels"]["harness-session"]

    @property
    def key(self) -> str:
        """The key that the printed lines made."""
        return (self.folder / "project" / "key").read_text().strip()


@contextmanager
def running_node(folder: Path) -> Iterator[ServerProcess]:
    """A node that the test may stop and kill."""
    node = ServerProcess(folder / "data")
    node.start()
    try:
        yield node
    finally:
        if node.running:
            node.stop()


def machine_with(folder: Path, model: str) -> Iterator[Machine]:
    """A machine in a folder, until it is no longer used."""
    assert SDK is not None
    assert SDK.origin is not None
    for name in ("bin", "home", "project"):
        (folder / name).mkdir()
    (folder / "bin" / "claude").symlink_to(Path(SDK.origin).with_name("_bundled") / "claude")
    with running_node(folder) as node:
        found = Machine(folder, node, model)
        try:
            yield found
        finally:
            for process in found.running:
                if process.poll() is None:
                    killed(process)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose model wants to use Bash once."""
    command = {"command": f"echo ran >> {tmp_path / 'ran'}", "description": "Make the release"}
    with scripted_model([("Bash", command)]) as model:
        yield from machine_with(tmp_path, model)


def killed(process: subprocess.Popen[str]) -> None:
    """End a program and all that it started, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture
def asking_machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose model asks by the tool of an MCP server, then wants to use Bash."""
    question = {"question": "Which region?", "choices": ["eu", "us"]}
    load = {"query": f"select:{ASK_HUMAN}"}
    command = {"command": f"echo ran >> {tmp_path / 'ran'}", "description": "Make the release"}
    with scripted_model([("ToolSearch", load)], [(ASK_HUMAN, question)], [("Bash", command)]) as model:
        yield from machine_with(tmp_path, model)


def printed_lines(node: ServerProcess) -> tuple[str, str, str]:
    """The lines of the page that connect, the use of Claude Code, and what resumes its sessions."""
    page = (ROOT / "docs" / "connect" / "claude-code.md").read_text()
    [recipe] = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    *connect, use, resume = recipe.strip().replace("http://127.0.0.1:7777", node.url).splitlines()
    assert len(connect) + 2 < 10
    assert (use.split()[0], resume.split()[:2]) == ("claude", ["swarmhold", "resume"])
    return "\n".join([*connect, "printenv SWARMHOLD_KEY > key"]), use, resume


def key_lines(node: ServerProcess) -> str:
    """Those of the lines that make a key, without the hook."""
    *lines, kept = printed_lines(node)[0].splitlines()
    return "\n".join([*(line for line in lines if line.startswith("export")), kept])


def test_two_days_later_the_tool_runs_once(machine: Machine) -> None:
    """Connected by the printed lines, everything is killed; the answer of the third day lets the tool run, once."""
    connect, use, resume = printed_lines(machine.node)
    said = machine.run(f"{connect}\n{use}")
    [asked] = machine.open()
    assert machine.ran == []
    assert asked["action"]["name"] == "Bash", said
    machine.node.kill()
    machine.node.clock_ahead_s = TWO_DAYS_S
    machine.node.start()
    answered = machine.answer(asked["key"], {"decision": "approve"})
    late = datetime.fromisoformat(answered["answered_at"]) - datetime.fromisoformat(asked["asked_at"])
    assert late > timedelta(seconds=TWO_DAYS_S)
    # As an earlier `resume` would have left it, whose feed goes on with what it has not seen.
    state = machine.folder / "home" / ".local" / "state" / "swarmhold" / "resume-claude.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"after": 0}')
    known = {"SWARMHOLD_URL": machine.node.url, "SWARMHOLD_KEY": machine.key}
    following = machine.start(f"exec {resume}", **known)
    wait_until(lambda: json.loads(state.read_text())["after"] > 0, within=DEADLINE_S)
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=DEADLINE_S)
    assert machine.ran == ["ran"], out + err
    again = resume.partition(" -- ")[2].format(session_id=machine.session_of(asked))
    said = machine.run(again, **known)
    assert machine.ran == ["ran"], said
    assert machine.open() == []


def test_without_the_server_nothing_runs(machine: Machine) -> None:
    """The hook denies, and the model learns why."""
    connect, use, _ = printed_lines(machine.node)
    machine.run(connect)
    machine.node.stop()
    said = machine.run(use, SWARMHOLD_URL=machine.node.url, SWARMHOLD_KEY=machine.key)
    assert "swarmhold denied this: the server cannot be reached" in said
    assert machine.ran == []


def test_it_asks_by_mcp(asking_machine: Machine) -> None:
    """With the configuration that is printed, its model asks a person."""
    machine = asking_machine
    connect = key_lines(machine.node)
    tool = f"--mcp-config .mcp.json --allowedTools {ASK_HUMAN}"
    use = machine.start(f"{connect}\nswarmhold mcp config claude > .mcp.json\nclaude -p 'go' {tool}")
    asked = machine.asked_by(use)
    machine.answer(asked["key"], "eu")
    out, err = use.communicate(timeout=DEADLINE_S)
    assert '"answer":"eu"' in out.replace(" ", "").replace("\\", ""), out + err
    assert machine.ran == []


def program_of_sdk(**replaced: str) -> str:
    """The recipe for the SDK as a program, with other options."""
    page = (ROOT / "docs" / "connect" / "claude-agent-sdk.md").read_text()
    [recipe] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in recipe.splitlines() if line]) < 10
    for old, new in replaced.items():
        recipe = recipe.replace(f"{old}={old}(server.asking(KEY))", new)
    address = 'URL, KEY = os.environ["SWARMHOLD_URL"], os.environ["SWARMHOLD_KEY"]'
    return f"import asyncio, os, sys\n{address}\n{recipe}\nasyncio.run(main(*sys.argv[1:]))\n"


def test_a_session_of_the_sdk_resumes(machine: Machine) -> None:
    """Its program ends at the question; with the answer another one runs the tool, as it was edited."""
    connect = key_lines(machine.node)
    (machine.folder / "project" / "agent.py").write_text(program_of_sdk())
    said = machine.run(f"{connect}\n{sys.executable} agent.py 'Make a release.'")
    [asked] = machine.open()
    assert "tool_deferred" in said
    edited = {**asked["action"]["arguments"], "command": f"echo edited >> {machine.folder / 'ran'}"}
    machine.answer(asked["key"], {"decision": "edit", "edited_action": {"name": "Bash", "arguments": edited}})
    known = {"SWARMHOLD_URL": machine.node.url, "SWARMHOLD_KEY": machine.key}
    for _ in range(2):
        said = machine.run(f"{sys.executable} agent.py 'Go on.' {machine.session_of(asked)}", **known)
        assert machine.ran == ["edited"], said


def test_a_program_with_the_sdk_waits(asking_machine: Machine) -> None:
    """Its model asks by `ask_human`, and `can_use_tool` waits for approval; killed meanwhile, nothing ran."""
    machine = asking_machine
    people = """mcp_servers={"swarmhold": create_sdk_mcp_server("swarmhold", tools=[ask_human(hold, "run")])}"""
    options = f"can_use_tool=can_use_tool(hold), allowed_tools=['ToolSearch', '{ASK_HUMAN}'], {people}"
    program = program_of_sdk(hooks=options).replace("options =", "hold = server.asking(KEY)\n        options =")
    imports = "from claude_agent_sdk import create_sdk_mcp_server\n"
    imports += "from swarmhold.adapters.claude import ask_human, can_use_tool"
    (machine.folder / "project" / "agent.py").write_text(f"{imports}\n{program}")
    connect = key_lines(machine.node)
    use = machine.start(f"{connect}\nexec {sys.executable} agent.py 'Make a release.'")
    machine.answer(machine.asked_by(use)["key"], "eu")
    first = machine.asked_by(use)
    assert first["action"]["name"] == "Bash"
    killed(use)
    machine.answer(first["key"], {"decision": "approve"})
    known = {"SWARMHOLD_URL": machine.node.url, "SWARMHOLD_KEY": machine.key}
    again = machine.start(f"exec {sys.executable} agent.py 'Make a release.'", **known)
    # The question of the same run has its answer; the tool use is another one.
    second = machine.asked_by(again)
    assert (second["action"]["name"], machine.ran) == ("Bash", [])
    machine.answer(second["key"], {"decision": "approve"})
    out, err = again.communicate(timeout=DEADLINE_S)
    assert machine.ran == ["ran"], out + err


async def test_the_callbacks_of_the_sdk_answer_and_deny(tmp_path: Path) -> None:
    """What AskUserQuestion asks is answered by its texts; whatever goes wrong denies, in both forms."""
    adapter, sdk = (import_module(name) for name in ("swarmhold.adapters.claude", "claude_agent_sdk"))
    questions = [
        {"question": "Where?", "options": [{"label": "eu"}, {"label": "us"}], "multiSelect": True},
        {"question": "Why?"},
    ]
    asked = {"questions": questions}
    event = {"hook_event_name": "PreToolUse", "session_id": "s-1", "tool_name": "AskUserQuestion", "tool_input": asked}
    with running_node(tmp_path) as node, closing(Swarm(node.url, node.root_key())) as swarm:
        key = swarm.call(node.root_key(), "POST", "/v1/admin/keys", {"name": "agent", "roles": ["operator"]})["key"]
        retry = CallRetry(timeout=timedelta(seconds=1))
        async with SwarmholdClient(node.url, call_retry=retry) as server:
            hold = server.asking(key)
            before = adapter.hooks(hold)["PreToolUse"][0].hooks[0]
            said = await before(event, "toolu_1", None)
            assert said["hookSpecificOutput"]["permissionDecision"] == "defer"
            answers = {"Where?": ["us"], "Why?": "because"}
            for one in swarm.call(swarm.senior, "GET", "/v1/senior/questions?status=open")["items"]:
                swarm.answer(one["key"], answers[one["question"]])
            said = (await before(event, "toolu_1", None))["hookSpecificOutput"]
            assert (said["permissionDecision"], said["updatedInput"]) == ("allow", {**asked, "answers": answers})
            await asyncio.to_thread(node.stop)
            said = (await before({**event, "tool_name": "Bash"}, "toolu_2", None))["hookSpecificOutput"]
            assert said["permissionDecision"] == "deny"
            result = await adapter.can_use_tool(hold)("Bash", {}, sdk.ToolPermissionContext(tool_use_id="toolu_3"))
            assert result.behavior == "deny"
