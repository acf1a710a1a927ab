"""The catalog of spawner kinds: builds spawners from their specs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from app.domain.errors import DispatchFailed
from app.domain.limits import Limits
from app.domain.redaction import describe
from app.spawning.adapters.external import build_external
from app.spawning.adapters.http import HttpWorkers
from app.spawning.adapters.in_process import FunctionRegistry
from app.spawning.adapters.operator import OperatorSpawners
from app.spawning.adapters.process import ProgramList
from app.spawning.adapters.queue import build_queue
from app.spawning.adapters.withdrawn import WithdrawnHttpSpawner, WithdrawnProcessSpawner, WithdrawnSpawner
from app.spawning.backends.protocols import OperatorBackend
from app.spawning.backends.registry import Registries, Registry, bind
from app.spawning.outbound.settings import HttpWorkerSettings
from app.spawning.plugins import SPAWNERS, PluginProblem, load
from app.spawning.ports import SpawnerAdapter
from app.spawning.processes.programs import Program

Build = Callable[[dict[str, Any]], SpawnerAdapter]
"""Makes a spawner from its spec, an object with at least `kind`. Raises DispatchFailed, saying what is allowed."""

Withdrawn = Callable[[dict[str, Any], str], SpawnerAdapter]
"""Makes what is left of a spawner that cannot be built any more, from its spec and the reason."""


class Closing(Protocol):
    """A resource that spawners share, closed with the server."""

    async def aclose(self) -> None:
        """Close it. Idempotent."""
        ...


class SpawnerCatalog:
    """Builders by kind. Filled at the start of the server, read-only afterwards."""

    def __init__(
        self,
        kinds: Mapping[str, Build],
        *,
        withdrawn: Mapping[str, Withdrawn] | None = None,
        owned: Iterable[Closing] = (),
    ) -> None:
        self._kinds = dict(kinds)
        self._withdrawn = dict(withdrawn or {})
        self._owned = tuple(owned)

    def kinds(self) -> list[str]:
        """Return the kinds, in the order in which they were added."""
        return list(self._kinds)

    def add(self, kind: str, build: Build) -> None:
        """Add a kind. Raises ValueError when there is one of this name."""
        if kind in self._kinds:
            raise ValueError(f"there is a spawner kind {kind!r} already")
        self._kinds[kind] = build

    def bound_to(self, registries: Registries) -> SpawnerCatalog:
        """Return a catalog of these kinds for an engine with these registries. What spawners share stays shared."""
        kinds = {kind: bind(build, registries) for kind, build in self._kinds.items()}
        return SpawnerCatalog(kinds, owned=self._owned)

    def build(self, spec: dict[str, Any]) -> SpawnerAdapter:
        """Return the spawner that the spec describes. Raises DispatchFailed, saying what is allowed."""
        kind = spec.get("kind")
        build = self._kinds.get(kind) if isinstance(kind, str) else None
        if build is None:
            raise DispatchFailed(f"there is no spawner of kind {kind!r}; there are {', '.join(self._kinds)}")
        try:
            return build(spec)
        except DispatchFailed:
            raise
        except Exception as error:
            # A builder of another package may raise anything for a spec that it cannot take.
            raise DispatchFailed(f"spawner {kind!r} cannot be built: {describe(error)}") from error

    def rebuild(self, spec: dict[str, Any]) -> SpawnerAdapter:
        """Return the spawner of an attempt that was prepared before, even if the settings do not allow it any more.

        What is not allowed any more can be watched and reaped to its end, but not started.
        """
        try:
            return self.build(spec)
        except DispatchFailed as refusal:
            stand_for = self._withdrawn.get(str(spec.get("kind")), WithdrawnSpawner)
            return stand_for(spec, refusal.reason)

    def load_entry_points(self) -> list[PluginProblem]:
        """Add the kinds that installed packages offer. Returns what is wrong with those that could not be added."""
        spawners, problems = load(SPAWNERS)
        for name, build in spawners.items():
            try:
                self.add(name, cast(Build, build))
            except ValueError as error:
                problems.append(PluginProblem(group=SPAWNERS, name=name, reason=str(error)))
        return problems

    async def aclose(self) -> None:
        """Close what the spawners share."""
        for shared in self._owned:
            await shared.aclose()


def shipped_catalog(
    *,
    operators: Registry[OperatorBackend],
    functions: FunctionRegistry | None = None,
    programs: Mapping[str, Program] | None = None,
    http: HttpWorkerSettings | None = None,
    limits: Limits | None = None,
) -> SpawnerCatalog:
    """Return a catalog of all kinds that ship. With nothing allowed, `process` and `http` refuse every spec.

    `limits` bound the JSON that programs write and HTTP workers reply.
    """
    functions = functions or FunctionRegistry()
    listed = ProgramList(programs or {}, limits=limits)
    workers = HttpWorkers(http or HttpWorkerSettings(allow=(), secrets=()), limits=limits)
    return SpawnerCatalog(
        {
            "external": build_external,
            "in_process": functions.build,
            "process": listed.build,
            "queue": build_queue,
            "operator": OperatorSpawners(operators),
            "http": workers.build,
        },
        withdrawn={"process": WithdrawnProcessSpawner, "http": WithdrawnHttpSpawner},
        owned=(listed, functions, workers),
    )
