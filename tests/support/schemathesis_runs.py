"""Runs of `schemathesis` with its default checks against a server, once for each kind of credential.

    python -m tests.support.schemathesis_runs [--max-examples N] [role …]

starts `swarmhold serve` on a free port with a temporary data directory, runs every role, and ends the server.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.processes import ServerProcess

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "schemathesis.toml"
ENVIRONMENT = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "PYTHONPATH": f"{ROOT}:{ROOT}/clients/python"}
HOLD_S = "0.05"
SETTINGS: Mapping[str, str] = {
    # Long polls end soon, and no failed authentication attempt is answered 429.
    "SWARMHOLD_ENGINE__LONGEST_HOLD": HOLD_S,
    "SWARMHOLD_HTTP__DEFAULT_HOLD": HOLD_S,
    "SWARMHOLD_HTTP__GUESS_BURST": "1e8",
    "SWARMHOLD_HTTP__GUESS_BURST_PER_SOURCE": "1e8",
}
KEY_ROUTES = "/sessions$|/claim$|/admin/"
EVENTS = "/events$"
"""An event stream is read until it is quiet for a second, which takes long; it has tests of its own."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The operations that a credential is tried on."""

    include: str
    exclude: str | None = None
    exclude_ids: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the selection as options of schemathesis."""
        chosen = ["--include-path-regex", self.include]
        if self.exclude is not None:
            chosen += ["--exclude-path-regex", self.exclude]
        for operation in self.exclude_ids:
            chosen += ["--exclude-operation-id", operation]
        return chosen


ROLES: Mapping[str, Selection] = {
    "operator": Selection("^/v1/operator|^/metrics|^/healthz|^/readyz", f"{EVENTS}|{KEY_ROUTES}"),
    "worker": Selection("^/v1/worker", KEY_ROUTES),
    "senior": Selection("^/v1/senior"),
    # Attaching and listing sessions share a path; listing needs a token.
    "key": Selection(KEY_ROUTES, exclude_ids=("operator_list_sessions",)),
}


def credential_for(role: str, url: str, root_key: str) -> tuple[str, str]:
    """Return a credential of this role and a task for it to work with, made by a new operator session."""

    def call(credential: str, path: str, body: Mapping[str, object]) -> dict[str, str]:
        reply = client.post(path, json=body, headers={"Authorization": f"Bearer {credential}"})
        reply.raise_for_status()
        return reply.json()

    def attach(name: str) -> str:
        return call(root_key, "/v1/operator/sessions", {"operator_id": "schemathesis", "role": name, "ttl": 86400})[
            "token"
        ]

    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        operator = attach("operator")
        task = call(operator, "/v1/operator/tasks", {"agent": "a", "initial_directive": "d"})["id"]
        started = call(operator, f"/v1/operator/tasks/{task}/dispatch", {"spawner": {"kind": "external"}})
        call(operator, f"/v1/operator/tasks/{task}/questions", {"question": "?"})
        credentials = {
            "operator": lambda: operator,
            "worker": lambda: started["worker_handle"],
            "key": lambda: root_key,
        }
        return credentials.get(role, lambda: attach(role))(), task


def commands(role: str, url: str, root_key: str, folder: Path, *, max_examples: int) -> list[list[str]]:
    """Return the commands of one role's runs: on resources that they make themselves, then on a task that is there.

    The second one's configuration file is written into `folder`.
    """
    credential, task = credential_for(role, url, root_key)
    prepared = folder / f"{role}.toml"
    parameters = f'\n[parameters]\n"path.task_id" = "{task}"\n"path.number" = 1\n"path.index" = 0\n'
    prepared.write_text(CONFIG.read_text() + parameters)
    program = str(Path(sys.executable).with_name("schemathesis"))
    arguments = [
        *("run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {credential}"),
        *ROLES[role].arguments(),
        *("--max-examples", str(max_examples), "--generation-deterministic", "--continue-on-failure"),
        *("--suppress-health-check", "all", "--warnings", "off"),
    ]
    return [
        [program, "--config-file", str(CONFIG), *arguments],
        [program, "--config-file", str(prepared), *arguments, "--phases", "examples,coverage,fuzzing"],
    ]


def run_roles(roles: Sequence[str], *, max_examples: int) -> int:
    """Start a server, run these roles one after the other, and return how many reported something."""
    with tempfile.TemporaryDirectory(prefix="swarmhold-schemathesis-") as made:
        folder = Path(made)
        with ServerProcess(folder / "data", SETTINGS) as server:
            failed = 0
            for role in roles:
                print(f"== {role}", flush=True)  # noqa: T201 - a program of its own
                for arguments in commands(role, server.url, server.root_key(), folder, max_examples=max_examples):
                    failed += subprocess.run(arguments, cwd=folder, env=ENVIRONMENT, check=False).returncode != 0
            return failed


def main() -> int:
    """Run the roles that are named, by default all."""
    parser = argparse.ArgumentParser(description="Try every operation of the OpenAPI document on a server of its own.")
    parser.add_argument("roles", nargs="*", metavar="role", help=f"{', '.join(ROLES)}; all without any")
    parser.add_argument("--max-examples", type=int, default=30)
    chosen = parser.parse_args()
    return min(run_roles(chosen.roles or list(ROLES), max_examples=chosen.max_examples), 1)


if __name__ == "__main__":
    sys.exit(main())
