"""Layers, one behaviour per module, each wrapping any spawner."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.clock import Clock, system_clock
from app.domain.limits import Limits
from app.domain.redaction import describe
from app.spawning.backends.protocols import OperatorBackend, SpawnHook
from app.spawning.backends.registry import Registry
from app.spawning.layers.base import AuditLayer, SinkLayer
from app.spawning.layers.input_inject import InputInjectLayer
from app.spawning.layers.long_hold import LongHoldLayer
from app.spawning.layers.main_ai import MainAiLayer
from app.spawning.layers.operator_delegate import OperatorDelegateLayer
from app.spawning.layers.senior_escalation import SeniorEscalationLayer
from app.spawning.plugins import LAYERS, PluginProblem, load
from app.spawning.ports import Layer, LayerRegistry

__all__ = ["load_layers", "shipped_layers"]


def shipped_layers(
    *,
    hooks: Registry[SpawnHook],
    operators: Registry[OperatorBackend],
    long_hold_s: float,
    limits: Limits | None = None,
    extra: Sequence[Layer] = (),
    clock: Clock = system_clock,
) -> LayerRegistry:
    """Return the layers that ship, with `extra` ones that can be requested by key.

    `clock` is the one by which attempts began.
    """
    shipped = [
        MainAiLayer(hooks),
        SeniorEscalationLayer(),
        OperatorDelegateLayer(operators),
        LongHoldLayer(long_hold_s, clock=clock),
        InputInjectLayer(longest_prompt=(limits or Limits()).directive_bytes),
    ]
    return LayerRegistry(base=[AuditLayer(), SinkLayer()], hints=[*shipped, *extra])


def load_layers() -> tuple[list[Layer], list[PluginProblem]]:
    """Return the layers of installed packages, for `extra`, and what is wrong with those that cannot be used."""
    makers, problems = load(LAYERS)
    layers: list[Layer] = []
    for name, make in makers.items():
        try:
            layers.append(_checked(name, make()))
        except Exception as error:  # noqa: BLE001 - a package's code may raise anything, and must not end the server
            problems.append(PluginProblem(group=LAYERS, name=name, reason=describe(error)))
    return layers, problems


def _checked(name: str, layer: object) -> Layer:
    if not isinstance(layer, Layer):
        raise TypeError(f"{layer!r} is not a Layer")
    if layer.key != name:
        raise ValueError(f"its key is {layer.key!r}, not the name of its entry point")
    if name in _SHIPPED:
        raise ValueError("a layer of this name ships with the server")
    return layer


_SHIPPED = frozenset(
    layer.key
    for layer in (
        AuditLayer,
        SinkLayer,
        MainAiLayer,
        SeniorEscalationLayer,
        OperatorDelegateLayer,
        LongHoldLayer,
        InputInjectLayer,
    )
)
