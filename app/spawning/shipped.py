"""The spawners that ship, over what the settings allow."""

from __future__ import annotations

from collections.abc import Mapping

from app.spawning.adapters.external import build_external
from app.spawning.adapters.http import HttpSettings, HttpWorkers
from app.spawning.adapters.in_process import FunctionRegistry
from app.spawning.adapters.operator import OperatorSpawners
from app.spawning.adapters.process import ProgramList
from app.spawning.adapters.queue import build_queue
from app.spawning.backends import OperatorBackend
from app.spawning.catalog import SpawnerCatalog
from app.spawning.programs import Program
from app.spawning.registry import Registry


def shipped_catalog(
    *,
    operators: Registry[OperatorBackend],
    functions: FunctionRegistry | None = None,
    programs: Mapping[str, Program] | None = None,
    http: HttpSettings | None = None,
) -> SpawnerCatalog:
    """All kinds; without programs and URLs that are allowed, `process` and `http` refuse every spec."""
    functions = functions or FunctionRegistry()
    listed = ProgramList(programs or {})
    workers = HttpWorkers(http or HttpSettings(allow=(), secrets=()))
    return SpawnerCatalog(
        {
            "external": build_external,
            "in_process": functions.build,
            "process": listed.build,
            "queue": build_queue,
            "operator": OperatorSpawners(operators).build,
            "http": workers.build,
        },
        owned=(listed, functions, workers),
    )
