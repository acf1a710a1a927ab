"""The session's operator backend takes the whole spawn, whatever spawner was dispatched."""

from __future__ import annotations

from app.domain.sessions import OperatorKind
from app.spawning.adapters.operator import OperatorSpawner
from app.spawning.backends.protocols import OperatorBackend
from app.spawning.backends.registry import Registries, Registry
from app.spawning.ports import Facts, Layer, SpawnerAdapter


class OperatorDelegateLayer(Layer):
    """Acts when the session names a backend and is not automated."""

    key = "operator_delegate"

    def __init__(self, operators: Registry[OperatorBackend]) -> None:
        self._operators = operators

    def bound_to(self, registries: Registries) -> OperatorDelegateLayer:
        """Return the layer over the backends of these registries."""
        return OperatorDelegateLayer(registries.operators)

    def applies(self, facts: Facts) -> bool:
        """Return whether the session names a backend and the attempt's operator kind is not `automate`."""
        return facts.operator_backend_id is not None and facts.kind is not OperatorKind.AUTOMATE

    def stand_in(self, facts: Facts) -> SpawnerAdapter | None:
        """Return the backend's spawner."""
        backend_id = facts.operator_backend_id
        return None if backend_id is None else OperatorSpawner(backend_id, self._operators)
