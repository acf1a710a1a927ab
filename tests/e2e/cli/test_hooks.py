"""`swarmhold hook` and `swarmhold resume`: what an agent's hook runs, and what starts the agent again."""

import asyncio
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from swarmhold import SwarmholdClient
from swarmhold.models.enums import Role
from tests.e2e.cli.conftest import SWARMHOLD, Run
from tests.support import forking
from tests.support.processes import ServerProcess, own_variables
from tests.support.waiting import eventually

DENIED = 2
EVENT = {
    "hook_event_name": "PreToolUse",
    "session_id": "s-1",
    "tool_name": "Bash",
    "tool_input": {"command": "make"},
    "tool_use_id": "toolu_1",
}


def own() -> dict[str, str]:
    """This process's environment without what names a server or a key."""
    return own_variables()


def fire(event: Any, *options: str, agent: str = "claude", **variables: str) -> subprocess.CompletedProcess[str]:
    """`swarmhold hook` with an event on standard input, and no server or key in its environment but what is given."""
    text = event if isinstance(event, str) else json.dumps(event)
    return forking.run("hook", agent, *options, input=text, env={**own(), **variables})


def test_whatever_goes_wrong_denies(node: ServerProcess, tmp_path: Path) -> None:
    """No server, no key, another's key, no event, a root key of the directory alone: status 2 and the reason."""
    away = {"SWARMHOLD_URL": "http://127.0.0.1:1", "SWARMHOLD_KEY": "shk_x"}
    here = {"SWARMHOLD_URL": node.url, "SWARMHOLD_KEY": node.root_key()}
    root_alone = {"SWARMHOLD_URL": node.url, "SWARMHOLD_DATA_DIR": str(node.data_dir)}
    for event, options, variables in (
        (EVENT, (), away),
        (EVENT, (), root_alone),
        ("{", (), here),
        ("", (), here),
        ("[]", (), here),
        ({"hook_event_name": "Stop"}, (), here),
        (EVENT, (), here | {"SWARMHOLD_URL": "no url"}),
        ({**EVENT, "hook_event_name": "PermissionRequest"}, ("--timeout", "1"), here),
    ):
        done = fire(event, *options, **variables)
        assert (done.returncode, done.stdout) == (DENIED, ""), (event, done.stderr)
        assert "denied" in done.stderr
        assert "Traceback" not in done.stderr
    unknown = fire(EVENT, SWARMHOLD_URL=node.url, SWARMHOLD_KEY="shk_" + "z" * 40)
    assert json.loads(unknown.stdout)["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_the_hook_is_merged_into_the_settings_once(run: Run, tmp_path: Path) -> None:
    """What stands there stays; again changes nothing; what cannot be read is left as it is."""
    for agent, file in (("claude", ".claude/settings.json"), ("codex", ".codex/hooks.json")):
        path = tmp_path / file
        path.parent.mkdir()
        path.write_text('{"model": "m", "hooks": {"PreToolUse": [{"matcher": "X", "hooks": []}]}}')
        assert "now runs" in run("hook", "install", agent, HOME=str(tmp_path)).stdout
        text = path.read_text()
        assert "already" in run("hook", "install", agent, HOME=str(tmp_path)).stdout
        assert path.read_text() == text
        settings = json.loads(text)
        assert settings["model"] == "m"
        assert settings["hooks"]["PreToolUse"][0] == {"matcher": "X", "hooks": []}
        assert f"swarmhold hook {agent} || exit 2" in text
        path.write_text("{ no json")
        assert "nothing was changed" in run("hook", "install", agent, HOME=str(tmp_path), status=1).stderr
        assert path.read_text() == "{ no json"
    run("hook", "install", "other", HOME=str(tmp_path), status=2)


async def test_an_answer_starts_the_agent_again(node: ServerProcess, tmp_path: Path) -> None:
    """The command runs for each answer with the session's id; where it was killed it goes on, and misses none."""
    async with SwarmholdClient(node.url) as server:
        made = await server.admin(node.root_key()).create_key("resumed", [Role.OPERATOR])
        senior = await server.attach_senior(node.root_key(), "anna")
        variables = {"SWARMHOLD_URL": node.url, "SWARMHOLD_KEY": made.key}
        log, state = tmp_path / "log", tmp_path / "state" / "cursor.json"
        state.parent.mkdir()
        state.write_text('{"after": 0}')
        script = f"import sys; open({str(log)!r}, 'a').write(sys.argv[1] + '\\n')"
        command = [SWARMHOLD, "resume", "--state", str(state), "--", sys.executable, "-c", script, "{session_id}"]

        async def decided(session: str) -> None:
            event = {**EVENT, "session_id": session}
            assert json.loads(fire(event, **variables).stdout)["hookSpecificOutput"]["permissionDecision"] == "defer"
            question = (await senior.open_questions())[-1]
            await senior.answer(question.key, {"decision": "approve"})

        await decided("first")
        await decided("--version")
        for more in ((), ("second",)):
            program = await asyncio.create_subprocess_exec(*command, env={**own(), **variables})
            try:
                for session in more:
                    await decided(session)
                await eventually(partial(_ran, log, state, ["first", *more]), awaited="the command to run")
            finally:
                program.terminate()
                await program.wait()


def _ran(log: Path, state: Path, sessions: list[str]) -> bool:
    """Whether the command ran for these sessions alone, and the cursor of it all is kept."""
    return _lines(log) == sessions and json.loads(state.read_text())["after"] != 0


def _lines(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []
