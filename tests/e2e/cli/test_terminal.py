"""The terminal console, under a pseudo-terminal as a person has it, and in pipes as scripts have it."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from swarmhold import Operator, SwarmholdClient, Worker
from swarmhold.models.spawners import ExternalSpawner
from tests.e2e.cli.conftest import SWARMHOLD, Command, surroundings
from tests.support.processes import ServerProcess
from tests.support.terminal import Terminal

EVIL = "\x1b]0;owned\x07\x1b[2J\u202eevil\x9b31m\r\x08"


@pytest_asyncio.fixture
async def operator(node: ServerProcess) -> AsyncIterator[Operator]:
    """An operator on the node."""
    async with SwarmholdClient(node.url) as server:
        yield await server.attach_operator(node.root_key(), "test")


async def _asker(node: ServerProcess, operator: Operator, agent: str = "asker") -> Worker:
    """A worker with a task of its own, to ask as."""
    task = await operator.start_task(agent, "Ask.")
    attempt = await operator.dispatch(task.id, ExternalSpawner())
    return SwarmholdClient(node.url).worker(attempt.worker_handle or "")


def _senior(node: ServerProcess, *arguments: str) -> Terminal:
    terminal = Terminal([SWARMHOLD, "senior", *arguments], env=surroundings(node))
    terminal.see("Sitting at")
    return terminal


async def _confirmed(terminal: Terminal, sent: str) -> None:
    """See the JSON, and send it."""
    for text in ("This will be sent:", sent, "Enter sends it"):
        await asyncio.to_thread(terminal.see, text)
    terminal.press("\n")
    await asyncio.to_thread(terminal.see, "Answered.")


async def test_a_choice_is_answered_by_its_number(node: ServerProcess, operator: Operator) -> None:
    """The question appears as it is asked; a wrong number is refused with a message, the right one is sent."""
    worker = await _asker(node, operator)
    with await asyncio.to_thread(_senior, node, "--bridge", "choices") as terminal:
        question = await worker.ask("Which one?", choices=["red", {"colour": "green"}], bridge_id="choices")
        await asyncio.to_thread(terminal.see, "Which one?")
        await asyncio.to_thread(terminal.see, " > ")
        terminal.press("7\n")
        await asyncio.to_thread(terminal.see, "type a number from 1 to 2")
        terminal.press("2\n")
        await _confirmed(terminal, '"colour": "green"')
        assert await worker.await_answer(question.key) == {"colour": "green"}
        terminal.press(":q\n")
        assert await asyncio.to_thread(terminal.wait) == 0


async def test_words_stand_beside_a_choice_and_a_dangerous_one_is_asked_once(
    node: ServerProcess, operator: Operator
) -> None:
    """What is sent is the value; only yes sends what the asker calls dangerous, and a comment goes with it."""
    worker = await _asker(node, operator)
    drop = {"value": "drop", "label": "No, keep it", "danger": True}
    with await asyncio.to_thread(_senior, node, "--bridge", "danger") as terminal:
        question = await worker.ask(
            "Drop it?", title="The table", choices=["keep", drop], comment=True, bridge_id="danger"
        )
        for text in ("The table", "Drop it?", "No, keep it", "calls this dangerous", " > "):
            await asyncio.to_thread(terminal.see, text)
        for line, seen in (
            ("2", "yes sends it"),
            ("", "a number from 1 to 2"),
            ("2", "yes sends it"),
            ("yes", "comment"),
        ):
            terminal.press(f"{line}\n")
            await asyncio.to_thread(terminal.see, seen)
        terminal.press("backed up\n")
        await asyncio.to_thread(terminal.see, "Answered.")
        found = await worker.question(question.key)
        assert (found.answer, found.answer_comment) == ("drop", "backed up")
        terminal.press(":q\n")
        assert await asyncio.to_thread(terminal.wait) == 0


async def test_a_schema_is_asked_for_field_by_field(node: ServerProcess, operator: Operator) -> None:
    """Truth, numbers and texts are read as such; what may be left out is; the server has the last word."""
    schema = {
        "type": "object",
        "properties": {
            "go": {"type": "boolean", "description": "May it go on?"},
            "budget": {"type": "integer", "minimum": 10},
            "note": {"type": "string"},
        },
        "required": ["go", "budget"],
    }
    worker = await _asker(node, operator)
    with await asyncio.to_thread(_senior, node, "--bridge", "fields") as terminal:
        question = await worker.ask({"why": "it is dear"}, answer_schema=schema, bridge_id="fields")
        await asyncio.to_thread(terminal.see, "it is dear")
        for prompt, line in (("May it go on?", "yes"), ("budget", "3"), ("note", "")):
            await asyncio.to_thread(terminal.see, prompt)
            terminal.press(f"{line}\n")
        await asyncio.to_thread(terminal.see, "not sent: note")
        await asyncio.to_thread(terminal.see, "Enter sends it")
        terminal.press("\n")
        await asyncio.to_thread(terminal.see, "less than the minimum")
        for prompt, line in (("May it go on?", "y"), ("budget", "30"), ("note", "do it")):
            await asyncio.to_thread(terminal.see, prompt)
            terminal.press(f"{line}\n")
        await _confirmed(terminal, '"note": "do it"')

    assert await worker.await_answer(question.key) == {"go": True, "budget": 30, "note": "do it"}


async def test_free_answers_are_text_or_json(node: ServerProcess, operator: Operator) -> None:
    """What is typed is text; behind an equals sign it is JSON; one may put off and come back."""
    worker, other = await _asker(node, operator), await _asker(node, operator)
    with await asyncio.to_thread(_senior, node, "--bridge", "free") as terminal:
        first = await worker.ask("First?", bridge_id="free")
        await asyncio.to_thread(terminal.see, "First?")
        terminal.press(":w\n")
        await asyncio.to_thread(terminal.see, "It waits for 1 answer.")
        terminal.press(":s\n")
        second = await other.ask("Second?", bridge_id="free")
        await asyncio.to_thread(terminal.see, "Second?")
        await asyncio.to_thread(terminal.see, "1 more wait")
        terminal.press('= {"a": [1]}\n')
        await _confirmed(terminal, '"a": [')
        terminal.press("\n")
        await asyncio.to_thread(terminal.see, "First?")
        terminal.press("as it is\n")
        await _confirmed(terminal, '"as it is"')

    assert await other.await_answer(second.key) == {"a": [1]}
    assert await worker.await_answer(first.key) == "as it is"


async def test_what_is_shown_is_what_is_sent(node: ServerProcess, operator: Operator) -> None:
    """Titles stand beside their values, nothing is filled in, and `n` goes back before anything is sent."""
    schema = {
        "type": "object",
        "required": ["action"],
        "properties": {
            "action": {"oneOf": [{"const": "DELETE", "title": "No, keep everything"}, {"const": "k\u0435ep"}]},
            "agreed": {"const": True, "title": "Cancel", "default": True},
            "count": {"type": "integer", "title": "Nothing", "default": 99},
        },
    }
    worker = await _asker(node, operator)
    with await asyncio.to_thread(_senior, node, "--bridge", "shown") as terminal:
        question = await worker.ask("Which?", answer_schema=schema, bridge_id="shown")
        await asyncio.to_thread(terminal.see, "1  DELETE (asker: “No, keep everything”)")
        await asyncio.to_thread(terminal.see, r'2  "k\u0435ep"')
        for prompt, line in (("action [", "1"), ("agreed (asker: “Cancel”)", ""), ("count (asker: “Nothing”)", "")):
            await asyncio.to_thread(terminal.see, prompt)
            terminal.press(f"{line}\n")
        await asyncio.to_thread(terminal.see, '"action": "DELETE"')
        await asyncio.to_thread(terminal.see, "not sent: agreed, count")
        await asyncio.to_thread(terminal.see, "n changes it")
        terminal.press("n\n")
        for prompt, line in (("action [", "2"), ("agreed", "1"), ("count", "")):
            await asyncio.to_thread(terminal.see, prompt)
            terminal.press(f"{line}\n")
        await _confirmed(terminal, '"agreed": true')

    assert await worker.await_answer(question.key) == {"action": "k\u0435ep", "agreed": True}


async def test_what_was_asked_before_is_there_and_what_others_answer_goes(
    node: ServerProcess, operator: Operator
) -> None:
    """A question from before is delivered on connecting; when somebody else answers it, the prompt ends."""
    worker = await _asker(node, operator)
    question = await worker.ask("Early?", bridge_id="late")
    async with SwarmholdClient(node.url) as server:
        senior = await server.attach_senior(node.root_key(), "faster")
        with await asyncio.to_thread(_senior, node, "--bridge", "late") as terminal:
            await asyncio.to_thread(terminal.see, "Early?")
            await senior.answer(question.key, "first")
            await asyncio.to_thread(terminal.see, "faster answered it, through rest with the key root.")


async def test_agents_text_does_nothing_to_the_terminal(node: ServerProcess, operator: Operator) -> None:
    """Escape sequences, bells and reversed writing are shown as what they are, in every command."""
    worker = await _asker(node, operator, agent=f"agent {EVIL[1:3]}")
    with await asyncio.to_thread(_senior, node, "--bridge", "evil") as terminal:
        await worker.ask(EVIL, choices=[EVIL, "b"], bridge_id="evil")
        await asyncio.to_thread(terminal.see, "owned")
        await asyncio.to_thread(terminal.see, " > ")
        shown = terminal.raw.decode()

    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown
    assert not {"\x07", "\x08", "\u202e", "\x9b"} & set(shown)


async def test_a_script_answers_through_pipes(node: ServerProcess, operator: Operator) -> None:
    """With --json, questions and answers are lines."""
    worker = await _asker(node, operator)
    question = await worker.ask("Piped?", bridge_id="pipe")
    process = await asyncio.create_subprocess_exec(
        SWARMHOLD,
        *("senior", "--json", "--bridge", "pipe"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=surroundings(node),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ask = json.loads(await process.stdout.readline())
    process.stdin.write(json.dumps({"key": ask["key"], "value": 5}).encode() + b"\n")
    accepted = json.loads(await process.stdout.readline())
    process.stdin.close()

    assert (ask["question"], ask["key"], accepted) == ("Piped?", question.key, {"accepted": question.key})
    assert await process.wait() == 0
    assert await worker.await_answer(question.key) == 5


def test_run_waits_and_ends_as_the_task_does(swarmhold: Command) -> None:
    """Pass exits with 0 and shows the result; a task that cannot be dispatched is cancelled, with a message."""
    done = swarmhold("run", "echo", "hello there", "--function", "identity", "--label", "of=run")
    assert "task_pass" in done.stdout
    assert done.stdout.endswith("hello there\n")

    piped = swarmhold("run", "echo", "-", "--function", "identity", "--json", input='{"a": 1}')
    assert json.loads(piped.stdout)["last_result"] == '{"a": 1}'

    refused = swarmhold("run", "echo", "x", "--program", "none", "--label", "of=run", status=1)
    assert "allow no program 'none'" in refused.stderr
    listed = json.loads(swarmhold("tasks", "ls", "--label", "of=run", "--json").stdout)
    assert [task["status"] for task in listed] == ["cancelled", "pass"]


def test_run_says_when_nobody_does_the_work(swarmhold: Command, node: ServerProcess) -> None:
    """A wait for a worker that does not exist says what is missing."""
    with Terminal([SWARMHOLD, "run", "lonely", "Wait.", "--queue", "nobody"], env=surroundings(node)) as terminal:
        terminal.see("no worker has claimed it yet")
        (task,) = json.loads(swarmhold("tasks", "ls", "--agent", "lonely", "--json").stdout)
        swarmhold("tasks", "cancel", task["id"])
        assert terminal.wait() == 3


def test_tasks_are_listed_shown_explained_and_cancelled(swarmhold: Command) -> None:
    """Each command says the same to people and, with --json, to scripts."""
    made = json.loads(swarmhold("run", "idle", "Wait.", "--external", "--no-wait", "--json").stdout)
    task_id = made["task_id"]

    assert made["worker_handle"].startswith("wh-")
    assert task_id in swarmhold("tasks", "ls", "--status", "running").stdout
    assert "a worker is working on it" in swarmhold("tasks", "why", task_id).stdout
    assert json.loads(swarmhold("tasks", "why", task_id, "--json").stdout)["status"] == "running"
    assert "Wait." in swarmhold("tasks", "show", task_id).stdout
    assert swarmhold("tasks", "cancel", task_id, "--reason", "enough").stdout == f"{task_id} is cancelled.\n"
    shown = json.loads(swarmhold("tasks", "show", task_id, "--json").stdout)
    assert (shown["task"]["status"], len(shown["attempts"])) == ("cancelled", 1)
    assert "no task" in swarmhold("tasks", "show", "T-" + "0" * 26, status=1).stderr


def test_watching_one_task_ends_with_it(swarmhold: Command, node: ServerProcess) -> None:
    """Past and new events are printed until the task is done; its status decides the exit status."""
    made = json.loads(swarmhold("run", "idle", "Wait.", "--external", "--no-wait", "--json").stdout)
    with Terminal([SWARMHOLD, "tasks", "watch", made["task_id"]], env=surroundings(node)) as terminal:
        terminal.see("task_attempt_started")
        swarmhold("tasks", "cancel", made["task_id"])
        terminal.see("task_cancelled")
        terminal.see("is cancelled")
        assert terminal.wait() == 1


def test_watching_all_shows_what_changes(swarmhold: Command, node: ServerProcess) -> None:
    """The list is drawn anew as tasks come and change, until Ctrl-C."""
    with Terminal([SWARMHOLD, "tasks", "watch", "--agent", "watched"], env=surroundings(node)) as terminal:
        terminal.see("directive")
        made = json.loads(swarmhold("run", "watched", "Wait.", "--external", "--no-wait", "--json").stdout)
        terminal.see(made["task_id"])
        terminal.see("running")
        swarmhold("tasks", "cancel", made["task_id"])
        terminal.see("cancelled")
        terminal.press("\x03")
        assert terminal.wait() == 130


def test_events_are_shown_and_followed(swarmhold: Command, node: ServerProcess) -> None:
    """The latest few end by themselves; with -f they go on until Ctrl-C."""
    swarmhold("run", "echo", "once", "--function", "identity")
    lines = swarmhold("events", "-n", "50", "--types", "task_pass", "--json").stdout.splitlines()
    assert lines
    assert {json.loads(line)["kind"] for line in lines} == {"task_pass"}

    with Terminal([SWARMHOLD, "events", "-f", "-n", "1"], env=surroundings(node)) as terminal:
        terminal.see("session_detached")
        swarmhold("run", "followed-agent", "again", "--function", "identity")
        terminal.see("followed-agent")
        terminal.see("task_pass")
        terminal.press("\x03")
        assert terminal.wait() == 130


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(swarmhold: Command, node: ServerProcess, shell: str) -> None:
    """Each shell gets a script, and the command completes its own words: commands, those below them, values."""
    script = swarmhold(env=surroundings(node, _SWARMHOLD_COMPLETE=f"source_{shell}"))
    assert "swarmhold" in script.stdout
    for line, completed in (("ta", "tasks"), ("questions con", "consume"), ("tasks ls --sort lo", "longest")):
        words = {
            "COMP_WORDS": f"swarmhold {line}",
            "COMP_CWORD": str(len(line.split())),
            "_TYPER_COMPLETE_ARGS": f"swarmhold {line}",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        found = swarmhold(env=surroundings(node, _SWARMHOLD_COMPLETE=f"complete_{shell}", **words))
        assert completed in found.stdout, line


@pytest.mark.one_node("it backs up the SQLite file of its node")
def test_long_work_shows_its_progress_on_a_terminal(swarmhold: Command, node: ServerProcess, tmp_path: Path) -> None:
    """And nowhere else: a script's standard error stays empty."""
    with Terminal([SWARMHOLD, "backup", str(tmp_path / "one.tar")], env=surroundings(node)) as terminal:
        terminal.see("Copying the database")
        terminal.see("Writing the archive")
        assert terminal.wait() == 0
    assert swarmhold("backup", str(tmp_path / "two.tar")).stderr == ""
    for number, (command, shown) in enumerate(
        ((("restore", str(tmp_path / "one.tar")), "Reading the archive"), (("migrate",), "Migrating the database"))
    ):
        at, beside = (["--data-dir", str(tmp_path / f"{name}-{number}")] for name in ("at", "beside"))
        with Terminal([SWARMHOLD, *command, *at], env=surroundings(node)) as terminal:
            terminal.see(shown)
            assert terminal.wait() == 0
        assert swarmhold(*command, *beside).stderr == ""
