"""`swarmhold demo`: run a swarm on real input, kill its server half-way, and check the results."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import interrupts
from app.cli.demo.checks import Check, run_checks
from app.cli.demo.corpus import take_snapshot
from app.cli.demo.plan import PlannedTask, make_plan
from app.cli.demo.processes import Processes
from app.cli.demo.progress import Progress
from app.cli.demo.swarm import Outcome, Swarm
from app.cli.exits import CommandFailed
from app.cli.output import add_row, console, errors, print_json, table
from swarmhold.errors import Error

DEADLINE_S = 58.0
"""Enough on an idle machine; a busy one may be given more by `--deadline`."""

Keep = Annotated[bool, typer.Option("--keep", help="Keep the folder with data and logs, and say where it is.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON; progress goes to standard error.")]
Deadline = Annotated[float, typer.Option("--deadline", help="Seconds after which it counts as failed.", min=1)]


def demo(keep: Keep = False, as_json: AsJson = False, deadline: Deadline = DEADLINE_S) -> None:
    """Let a swarm work on real files, kill its server half-way, and check every result."""
    folder = Path(tempfile.mkdtemp(prefix="swarmhold-demo-"))
    try:
        good = interrupts.run(_run(folder, as_json=as_json, deadline_s=deadline))
    finally:
        if keep:
            errors.print(f"Data and logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(0 if good else 1)


async def _run(folder: Path, *, as_json: bool, deadline_s: float) -> bool:
    began = time.monotonic()
    corpus = take_snapshot(folder / "reading")
    plan = make_plan(corpus)
    children = sum(len(planned.paths) for planned in plan if planned.agent == "surveyor")
    progress = Progress(errors if as_json else console, expected=len(plan) + children)
    processes = Processes(folder, corpus.root)
    swarm = Swarm(processes, corpus, plan, progress)
    failure: str | None = None
    try:
        with progress.shown():
            async with asyncio.timeout(deadline_s):
                await swarm.work()
    except TimeoutError:
        failure = f"It was not done within {deadline_s:g} s: {_missing(progress)}."
    except (Error, CommandFailed) as error:
        failure = str(error)
    finally:
        swarm.outcome.exit_status = await processes.close()
    if failure is not None:
        logs = "\n".join(f"{name}: {processes.log(name)}" for name in ("server", "queue_worker", "handle_worker"))
        raise CommandFailed(f"The demo failed. {failure}\n{logs}")
    checks = run_checks(swarm.outcome, len(plan))
    seconds = time.monotonic() - began
    if as_json:
        print_json(_report(swarm.outcome, plan, checks, seconds))
    else:
        _show(swarm.outcome, checks, seconds)
    return all(check.ok for check in checks)


def _missing(progress: Progress) -> str:
    states = Counter(state for state in progress.states.values())
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no task was started"


def _rows(outcome: Outcome) -> list[tuple[str, str, int, int, int]]:
    """Return a row for each agent: name, kind of spawner, tasks, attempts, passed tasks."""
    rows: dict[str, tuple[str, int, int, int]] = {}
    for task_id, task in outcome.tasks.items():
        attempts = outcome.attempts[task_id]
        agent = f"{task.spec.agent} (child)" if task.parent_task_id else task.spec.agent
        kind = str(attempts[-1].spawner.get("kind")) if attempts else "?"
        _, tasks, tries, passed = rows.get(agent, (kind, 0, 0, 0))
        rows[agent] = (kind, tasks + 1, tries + len(attempts), passed + (task.status == "pass"))
    return [(agent, *row) for agent, row in sorted(rows.items())]


def _show(outcome: Outcome, checks: list[Check], seconds: float) -> None:
    work = table("agent", "workers", "tasks", "attempts", "passed", title="\nWhat the swarm did")
    for row in _rows(outcome):
        add_row(work, row)
    found = table("", "what was checked", "looked at", title="\nWhether it came out right")
    for check in checks:
        add_row(found, ("ok" if check.ok else "WRONG", check.name, check.looked_at), style=None if check.ok else "red")
    console.print(work)
    console.print(found)
    for check in checks:
        for fault in check.faults:
            console.print(f"  {check.name}: {fault}", style="red", soft_wrap=True)
    good = all(check.ok for check in checks)
    attempts = sum(len(found) for found in outcome.attempts.values())
    console.print(
        f"\n{len(outcome.tasks)} tasks in {attempts} attempts, {len(outcome.feed)} events, one SIGKILL, "
        f"{seconds:.1f} s: {'everything came out right' if good else 'something is wrong'}.",
        soft_wrap=True,
    )


def _report(outcome: Outcome, plan: list[PlannedTask], checks: list[Check], seconds: float) -> dict[str, Any]:
    names = ("agent", "workers", "tasks", "attempts", "passed")
    return {
        "ok": all(check.ok for check in checks),
        "seconds": round(seconds, 1),
        "planned": len(plan),
        "tasks": len(outcome.tasks),
        "events": len(outcome.feed),
        "passed_before_kill": len(outcome.passed_before),
        "restart_seconds": round(outcome.restart_s, 2),
        "agents": [dict(zip(names, row, strict=True)) for row in _rows(outcome)],
        "checks": [
            {"name": check.name, "ok": check.ok, "looked_at": check.looked_at, "faults": check.faults}
            for check in checks
        ],
    }
