"""Child processes, real ones: what goes in and comes out, and that nothing of them is left."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from app.domain.errors import AttemptSuperseded, DispatchFailed, StoreUnavailable
from app.domain.ids import IdSource
from app.domain.json import Json
from app.domain.outputs import Final, OutputEvent
from app.spawning.adapters.process import ProgramList
from app.spawning.ports import Exit, SpawnerAdapter, SpawnFailed
from app.spawning.processes.child import Child
from app.spawning.processes.programs import Program
from app.spawning.processes.tree import ProcessTree, boot_id, start_ticks
from tests.support.control import TASK, RecordedControl, job
from tests.support.pids import alive
from tests.support.waiting import eventually

BIG = "0123456789abcdef" * (10 * 1024 * 1024 // 16)


def allowed() -> ProgramList:
    """A shell and a Python that take their script as argument, and a few programs that take none."""
    return ProgramList(
        {
            "sh": Program(path="/bin/sh", args=("-c",), allow_args=True),
            "python": Program(path=sys.executable, args=("-c",), allow_args=True),
            "cat": Program(path="/bin/cat", max_output_bytes=2 * len(BIG)),
            "hasty": Program(path="/bin/sh", args=("-c", "trap '' TERM; while :; do :; done"), timeout_s=0.2),
            "chatty": Program(path="/bin/sh", args=("-c", "while :; do echo chatter; done"), max_output_bytes=10_000),
            "missing": Program(path="/nonexistent/program"),
            "elsewhere": Program(path="/bin/pwd", cwd="/usr", env={"LANG": "de_DE.UTF-8", "EXTRA": "1"}),
            "env": Program(path="/usr/bin/env", env={"EXTRA": "1", "SWARMHOLD_AGENT": "liar"}),
        },
        grace_s=0.3,
    )


@pytest.fixture
async def programs() -> AsyncIterator[ProgramList]:
    """The programs of these tests, all ended after each."""
    opened = allowed()
    yield opened
    await opened.aclose()


async def start(
    programs: ProgramList, program: str, *args: str, prompt: str = "", control: RecordedControl | None = None
) -> Child:
    """A started child."""
    spec: dict[str, Any] = {"kind": "process", "program": program, **({"args": list(args)} if args else {})}
    worker = await programs.build(spec).spawn(job(prompt), control or RecordedControl())
    assert isinstance(worker, Child)
    return worker


async def run(programs: ProgramList, program: str, *args: str, prompt: str = "") -> Exit:
    """How a child went."""
    child = await start(programs, program, *args, prompt=prompt)
    async with asyncio.timeout(60):
        return await child.join()


def in_file(path: Path) -> Callable[[], int]:
    """A probe for a process id that somebody writes to a file."""
    return lambda: int(path.read_text() or 0) if path.exists() else 0


async def test_the_prompt_goes_in_and_the_text_comes_out(programs: ProgramList) -> None:
    """Plain text is the Final, without the white space at its end."""
    assert await run(programs, "sh", "tr a-z A-Z; echo; echo", prompt="hello\n") == Exit(
        final=Final(value=Json.of("HELLO"), ok=True)
    )


async def test_ten_megabytes_both_ways(programs: ProgramList) -> None:
    """Neither pipe waits for the other."""
    assert (await run(programs, "cat", prompt=BIG)).final == Final(value=Json.of(BIG), ok=True)


async def test_more_values_than_the_limit_are_no_result(programs: ProgramList) -> None:
    """The reason names the limit; a long text that is no JSON is a result."""
    exit = await run(programs, "python", "print('[' + '[],' * 200_000 + '[]]')")
    assert exit.final is None
    assert "limits.values of 100000" in exit.detail
    exit = await run(programs, "python", "print('1,2,3,' * 200_000)")
    assert exit.final == Final(value=Json.of("1,2,3," * 200_000), ok=True)


@pytest.mark.parametrize("written", ["{}", '{{"type":"final","content":{{"kind":"inline","value":{}}}}}'])
async def test_numbers_keep_their_digits(programs: ProgramList, written: str) -> None:
    """Of a document and of a final event."""
    digits = "[20000000000000000001,0.1234567890123456789,1.10,1e5,-0]"
    exit = await run(programs, "sh", "cat", prompt=written.format(digits))
    assert exit.final is not None
    assert exit.final.value.text == digits


async def test_all_three_pipes_at_once(programs: ProgramList) -> None:
    """A megabyte to standard error before anything is read does not stop the rest."""
    script = "import sys; sys.stderr.write('e' * 2**20); sys.stdout.write(str(len(sys.stdin.read())))"

    assert (await run(programs, "python", script, prompt=BIG)).final == Final(value=Json.of(len(BIG)), ok=True)


async def test_a_child_that_does_not_read_is_fine(programs: ProgramList) -> None:
    """Closing standard input early, or never reading it, is no failure."""
    assert (await run(programs, "sh", "exec <&-; echo '[1]'", prompt=BIG)).final == Final(value=Json.of([1]), ok=True)
    assert (await run(programs, "sh", "echo done", prompt=BIG)).final == Final(value=Json.of("done"), ok=True)


async def test_events_are_appended_while_it_runs(programs: ProgramList) -> None:
    """A line is an output at once, not at the end."""
    script = """
import json, sys
print(json.dumps({"type": "progress", "stage": "half"}), flush=True)
sys.stdin.read()
"""
    control = RecordedControl()
    child = await start(programs, "python", script + "import time\nwhile True: time.sleep(1)", control=control)
    await control.seen(OutputEvent.progress("half"))
    assert not child.task.done()
    await child.stop(0)

    assert (await child.join()).detail.startswith("program 'python' was ended: it was stopped")


async def test_an_explicit_final_counts_however_it_exits(programs: ProgramList) -> None:
    """It said that it was done, and with what."""
    final = '{"type":"final","content":{"kind":"inline","value":"no"},"ok":false}'
    expected = Exit(final=Final(value=Json.of("no"), ok=False))

    assert await run(programs, "sh", f"echo '{final}'; exit 7") == expected
    assert await run(programs, "sh", f"echo '{final}'; sleep 1000") == expected


async def test_nothing_said_and_status_zero_is_no_result(programs: ProgramList) -> None:
    """It may have submitted by itself; if not, the detail says what is missing."""
    exit = await run(programs, "sh", "echo odd >&2")

    assert exit == Exit(detail="program 'sh' exited with status 0 without a result: odd")


async def test_events_without_a_final_name_the_line_that_was_none(programs: ProgramList) -> None:
    """A typing error in the last line is reported."""
    exit = await run(programs, "sh", """echo '{"type":"partial","chunk":1}'; echo '{"type":"fnal"}'""")

    assert exit.final is None
    assert "line 2 of its output is not an output event" in exit.detail


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("echo result; exit 3", "program 'sh' exited with status 3"),
        ("kill -SEGV $$", "program 'sh' was ended by SIGSEGV"),
        ("printf 'bad\\033[31m\\nnews' >&2; exit 1", "program 'sh' exited with status 1: bad\\x1b[31m\\nnews"),
    ],
)
async def test_a_bad_end_is_a_failure_that_names_itself(programs: ProgramList, script: str, detail: str) -> None:
    """Status or signal, and the last words with nothing that a terminal would obey."""
    assert await run(programs, "sh", script) == Exit(detail=detail)


async def test_last_words_are_bounded_and_hold_no_secret(programs: ProgramList) -> None:
    """A child that prints its handle to standard error does not get it into the attempt's detail."""
    exit = await run(programs, "sh", 'seq 5000 >&2; echo "key $SWARMHOLD_HANDLE end" >&2; exit 1')

    assert exit.detail.endswith("5000\\nkey wh-[redacted] end")
    assert len(exit.detail) < 5000


async def test_the_environment_is_scrubbed(programs: ProgramList, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path, language, what the settings add and the attempt's own names; nothing else of the server's."""
    monkeypatch.setenv("SWARMHOLD_ROOT_KEY", "shk_secret")
    monkeypatch.setenv("HOME", "/root")
    exit = await run(programs, "env")
    assert exit.final is not None
    seen = dict(line.split("=", 1) for line in exit.final.value.value.splitlines())

    assert seen.keys() - {"LC_ALL", "TZ"} == {
        *("PATH", "LANG", "EXTRA", "SWARMHOLD_HANDLE", "SWARMHOLD_BASE_URL"),
        *("SWARMHOLD_TASK_ID", "SWARMHOLD_ATTEMPT", "SWARMHOLD_AGENT"),
    }
    assert (seen["SWARMHOLD_TASK_ID"], seen["SWARMHOLD_AGENT"]) == (TASK, "coder")
    assert seen["SWARMHOLD_HANDLE"].startswith("wh-")


async def test_the_environment_has_the_trace(programs: ProgramList) -> None:
    """By the names that tools of OpenTelemetry read."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    spawner = programs.build({"program": "sh", "args": ['echo "$TRACEPARENT $TRACESTATE"']})
    child = await spawner.spawn(job(trace=f"{parent} rojo=1"), RecordedControl())
    async with asyncio.timeout(60):
        exit = await child.join()
    assert exit.final == Final(value=Json.of(f"{parent} rojo=1"), ok=True)


async def test_it_runs_where_the_settings_say(programs: ProgramList) -> None:
    """The working directory is the program's."""
    assert (await run(programs, "elsewhere")).final == Final(value=Json.of("/usr"), ok=True)


async def test_arguments_are_passed_without_a_shell(programs: ProgramList) -> None:
    """What looks like shell syntax stays text."""
    exit = await run(programs, "python", "import sys; print(sys.argv[1:])", "$(id); `id` > x", "a b")

    assert exit.final == Final(value=Json.of("['$(id); `id` > x', 'a b']"), ok=True)


async def test_a_program_that_is_not_there_fails_the_spawn(programs: ProgramList) -> None:
    """The detail names it and says why."""
    with pytest.raises(SpawnFailed) as failed:
        await start(programs, "missing")

    assert failed.value.detail == "program 'missing' could not be started: No such file or directory"


async def test_too_long_is_ended(programs: ProgramList) -> None:
    """Its own time limit ends it, though it ignores SIGTERM."""
    assert (await run(programs, "hasty")).detail == "program 'hasty' was ended: it ran longer than its limit of 0.2 s"


async def test_too_much_output_is_ended(programs: ProgramList) -> None:
    """The limit is reported."""
    assert (await run(programs, "chatty")).detail == (
        "program 'chatty' was ended: it wrote more than 10000 bytes to standard output"
    )


async def test_stop_ends_grandchildren_and_those_that_left_the_group(programs: ProgramList, tmp_path: Path) -> None:
    """A background child, one that ignores SIGTERM, and one in a session of its own: none is left."""
    files = [tmp_path / name for name in ("plain", "deaf", "stray")]
    script = f"""
sleep 1000 & echo $! > {files[0]}
(trap '' TERM; while :; do sleep 1; done) & echo $! > {files[1]}
setsid sh -c 'echo $$ > {files[2]}; exec sleep 1000' &
wait
"""
    child = await start(programs, "sh", script)
    pids = [await eventually(in_file(file)) for file in files]
    assert all(alive(pid) for pid in pids)
    await child.stop(0.1)

    assert [pid for pid in (child.record["pid"], *pids) if alive(pid)] == []


async def test_stop_lets_it_end_in_order(programs: ProgramList, tmp_path: Path) -> None:
    """SIGTERM comes first, and within the grace period nothing else."""
    ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
    script = f"trap 'sleep 0.1; echo yes > {cleaned}; exit 0' TERM; echo 1 > {ready}; while :; do sleep 0.02; done"
    child = await start(programs, "sh", script)
    await eventually(in_file(ready))
    await asyncio.gather(child.stop(20), child.stop(20))

    assert cleaned.read_text() == "yes\n"
    assert not alive(child.record["pid"])


async def test_sigkill_follows_when_sigterm_is_ignored(programs: ProgramList, tmp_path: Path) -> None:
    """After the grace period nothing asks any more."""
    ready = tmp_path / "ready"
    child = await start(programs, "sh", f"trap '' TERM; echo 1 > {ready}; while :; do sleep 0.02; done")
    await eventually(in_file(ready))
    await child.stop(0.05)

    assert (await child.join()).final is None
    assert not alive(child.record["pid"])


async def test_what_a_child_leaves_in_its_group_ends_with_it(programs: ProgramList, tmp_path: Path) -> None:
    """A background process that holds standard output open neither delays the result nor survives."""
    file = tmp_path / "pid"
    exit = await run(programs, "sh", f"sleep 1000 & echo $! > {file}; echo done")

    assert exit.final == Final(value=Json.of("done"), ok=True)
    assert not alive(int(file.read_text()))


async def test_a_stray_that_holds_standard_output_delays_nothing(programs: ProgramList, tmp_path: Path) -> None:
    """A daemon of a program that ended well is its own affair, and its open pipe nobody waits for."""
    file = tmp_path / "pid"
    exit = await run(
        programs,
        "sh",
        f"setsid sh -c 'echo $$ > {file}; exec sleep 1000' & while ! [ -s {file} ]; do :; done; echo done",
    )
    stray = int(file.read_text())
    try:
        assert exit.final == Final(value=Json.of("done"), ok=True)
        assert alive(stray)
    finally:
        os.kill(stray, signal.SIGKILL)


async def test_cancelling_a_join_does_not_stop_it(programs: ProgramList, tmp_path: Path) -> None:
    """A later join gets the result."""
    go = tmp_path / "go"
    child = await start(programs, "sh", f"while ! [ -e {go} ]; do sleep 0.02; done; echo done")
    joining = asyncio.create_task(child.join())
    await asyncio.sleep(0)
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    go.touch()

    assert (await child.join()).final == Final(value=Json.of("done"), ok=True)


async def test_a_child_that_cannot_be_recorded_is_ended(programs: ProgramList) -> None:
    """An attempt that was over meanwhile starts nothing that stays."""

    class Fenced(RecordedControl):
        async def record_process(self, info: dict[str, Any]) -> None:
            self.processes.append(info)
            raise AttemptSuperseded(TASK, 1, "lost")

    control = Fenced()
    with pytest.raises(AttemptSuperseded):
        await start(programs, "sh", "sleep 1000", control=control)

    assert not alive(control.processes[0]["pid"])


async def test_outputs_wait_for_a_store_that_is_away_and_stop_with_the_attempt(programs: ProgramList) -> None:
    """A busy store delays an event; the end of the attempt ends the telling, not the child."""

    class Shaky(RecordedControl):
        refusals = 1

        async def output(self, event: OutputEvent) -> None:
            if self.refusals:
                self.refusals -= 1
                raise StoreUnavailable("for a moment")
            await super().output(event)
            await self.end()

    control = Shaky()
    line = '{"type":"partial","chunk":1}'
    child = await start(programs, "sh", f"echo '{line}'; echo '{line}'; echo '{line}'", control=control)
    exit = await child.join()

    assert control.outputs == [OutputEvent.partial(1)]
    assert "status 0 without a result" in exit.detail


async def test_closing_the_list_ends_every_child(programs: ProgramList) -> None:
    """Nothing that was started outlives the server."""
    children = [await start(programs, "sh", "sleep 1000") for _ in range(3)]
    await programs.aclose()

    assert not any(alive(child.record["pid"]) for child in children)


async def test_it_cannot_be_rejoined(programs: ProgramList) -> None:
    """Its pipes died with the server that held them."""
    spawner = programs.build({"kind": "process", "program": "cat"})

    assert isinstance(spawner, SpawnerAdapter)
    assert (spawner.outlives_server, spawner.leased) == (False, False)
    with pytest.raises(SpawnFailed):
        await spawner.rejoin(job(), RecordedControl())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"program": "/bin/sh"}, "allow no program '/bin/sh'; allowed: cat, chatty"),
        ({"program": "../bin/sh"}, "allow no program"),
        ({"program": "sh "}, "allow no program"),
        ({}, "needs 'program'"),
        ({"program": ["sh"]}, "needs 'program'"),
        ({"program": "cat", "args": ["/etc/passwd"]}, "allow no arguments for program 'cat'"),
        ({"program": "sh", "args": "-c id"}, "list of texts"),
        ({"program": "sh", "args": [1]}, "list of texts"),
        ({"program": "sh", "args": ["a\0b"]}, "list of texts"),
        ({"program": "cat", "env": {"LD_PRELOAD": "x"}}, "has no 'env'"),
        ({"program": "cat", "cwd": "/"}, "has no 'cwd'"),
    ],
)
async def test_only_what_the_settings_allow_is_built(programs: ProgramList, spec: dict[str, Any], words: str) -> None:
    """Paths, arguments and environment of a request are refused, and the refusal says what is allowed."""
    with pytest.raises(DispatchFailed, match=words):
        programs.build({"kind": "process", **spec})


def test_a_program_has_an_absolute_path() -> None:
    """What is found on some search path is not an allow-list."""
    with pytest.raises(ValueError, match="absolute"):
        Program(path="sh")


async def test_a_process_id_that_was_used_again_is_not_touched(programs: ProgramList) -> None:
    """Another start time or another boot is another process, whatever its id."""
    child = await start(programs, "sh", "sleep 1000")
    pid, ticks = child.record["pid"], child.record["start_ticks"]
    stranger: dict[str, Any] = {"task_id": IdSource().task()}
    spawner = programs.build({"kind": "process", "program": "sh"})
    for process in (
        {"pid": pid, "pgid": pid, "start_ticks": ticks + 1, "boot_id": boot_id()},
        {"pid": pid, "pgid": pid, "start_ticks": ticks, "boot_id": "another boot"},
        None,
    ):
        await spawner.reap(job(process=None if process is None else Json.of(process), **stranger), 0)
    assert alive(pid)

    await spawner.reap(job(process=Json.of(child.record), **stranger), 0)
    assert not alive(pid)


async def test_a_process_tree_does_not_include_its_own_server() -> None:
    """A server that was itself started by a worker of the same task would not end itself."""
    assert start_ticks(os.getpid()) > 0
    assert os.getpid() not in {
        pid for pid, _ in ProcessTree(TASK, 1, leader=(os.getpid(), start_ticks(os.getpid()))).find()
    }
    with contextlib.suppress(ProcessLookupError):
        assert start_ticks(2**22 + 1) == -1


@pytest.mark.parametrize(
    "scenario",
    [
        test_ten_megabytes_both_ways,
        test_all_three_pipes_at_once,
        test_a_child_that_does_not_read_is_fine,
        test_events_are_appended_while_it_runs,
        test_an_explicit_final_counts_however_it_exits,
        test_too_much_output_is_ended,
    ],
)
def test_the_same_on_the_loop_that_serves(scenario: Callable[[ProgramList], Awaitable[None]]) -> None:
    """Pipes, exits and pauses are those of uvloop as well."""

    async def play() -> None:
        await scenario(allowed())

    uvloop.run(play())
