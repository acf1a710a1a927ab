"""The composition root: from settings to an engine whose parts are built and not yet started."""

from __future__ import annotations

import importlib
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import structlog

from app.bootstrap.errors import StartFailed
from app.bootstrap.keyring import Keyring
from app.bus.opening import choose_bus
from app.config import Settings
from app.config.conflicts import is_loopback
from app.domain.access import RoleVerbGate
from app.domain.handles import HandleMint
from app.domain.spans import SpanWriter
from app.domain.tokens import TokenSigner
from app.engine.engine import Engine
from app.engine.gaps import machine_clocks
from app.engine.parts import Parts
from app.http.hosts import names_of
from app.http.settings import HttpSettings
from app.spawning.adapters.in_process import Function, FunctionRegistry
from app.spawning.backends.registry import Registries
from app.spawning.catalog import SpawnerCatalog, shipped_catalog
from app.spawning.layers import load_layers, shipped_layers
from app.spawning.outbound.webhooks import WebhookSender
from app.spawning.plugins import PluginProblem
from app.state.opening import clock_of, open_store
from app.state.postgres.keepalive import Keepalive
from app.telemetry.settings import OtelSettings

if TYPE_CHECKING:
    from app.telemetry.tracing.exporting import Tracing

_log = structlog.get_logger(__name__)


def build_engine(
    settings: Settings, keyring: Keyring, *, base_url: str | None = None, spans: SpanWriter | None = None
) -> Engine:
    """Return an engine as configured, not started. Raises StartFailed for settings that cannot be used."""
    cfg = replace(
        settings.engine,
        base_url=base_url or settings.url(),
        limits=settings.limits,
        workers=settings.spawn.workers,
        questions=settings.questions,
        cluster=settings.cluster,
        writes_spans=spans is not None,
    )
    registries = Registries()
    extra, problems = load_layers() if settings.spawn.plugins else ([], [])
    catalog = _catalog(settings, registries, keyring)
    if settings.spawn.plugins:
        problems = [*problems, *catalog.load_entry_points()]
    _log_skipped(problems)
    url, keepalive_timeout, seal = settings.store_url, settings.database_keepalive_timeout, keyring.seal()
    clock = clock_of(url)
    bus_url = None if settings.bus_url is None else settings.bus_url.get_secret_value()
    return Engine(
        Parts(
            cfg=cfg,
            open_store=lambda: open_store(
                url, clock=clock, policy=cfg.hold, keepalive_timeout=keepalive_timeout, seal=seal
            ),
            bus=choose_bus(url, bus_url, Keepalive(keepalive_timeout).options()),
            signer=TokenSigner(keyring.signing, clock=clock),
            mint=HandleMint(keyring.digests, length=settings.handle_length),
            seal=seal,
            gate=RoleVerbGate(),
            layers=shipped_layers(
                hooks=registries.hooks,
                operators=registries.operators,
                long_hold_s=cfg.long_hold_ms / 1000,
                limits=cfg.limits,
                extra=extra,
                clock=clock,
            ),
            catalog=catalog,
            registries=registries,
            clock=clock,
            machine_clocks=partial(machine_clocks, clock),
            webhook_sender=_webhook_sender(settings, cfg.base_url),
            spans=spans,
        )
    )


def open_tracing(settings: OtelSettings) -> Tracing | None:
    """Return what writes spans, None where none are wanted. Raises StartFailed without the extra."""
    if settings.endpoint is None:
        return None
    try:
        from app.telemetry.tracing.exporting import Tracing
    except ImportError as error:
        raise StartFailed(
            f"otel.endpoint is set, but traces cannot be exported ({error}). Install the extra, "
            "pip install 'swarmhold[otel]', or leave the setting out."
        ) from error
    return Tracing(settings)


def http_settings(settings: Settings, base_url: str, identity: bytes) -> HttpSettings:
    """Return the settings of the HTTP and WebSocket edge, with those that the rest of the server decides."""
    longest_hold = timedelta(milliseconds=settings.engine.longest_hold_ms)
    loopback = is_loopback(settings.host)
    return replace(
        settings.http,
        base_url=base_url,
        identity=identity,
        longest_hold=longest_hold,
        limits=settings.limits,
        doors=settings.doors,
        finished_kept=settings.retention.policy.finished,
        blocked_kept=settings.retention.policy.blocked,
        allowed_hosts=names_of(settings.host, settings.public_url, settings.http.allowed_hosts, loopback=loopback),
    )


def _webhook_sender(settings: Settings, source: str) -> WebhookSender:
    """Return what sends events to webhooks. Raises StartFailed."""
    try:
        return WebhookSender(
            settings.webhooks,
            source=source,
            answer_links=settings.doors.link.enabled,
            instances=settings.doors.aap.enabled,
            smtp=settings.notify.smtp,
        )
    except ValueError as error:
        raise StartFailed(f"The settings webhooks.allow and notify.smtp cannot be used: {error}.") from error


def _catalog(settings: Settings, registries: Registries, keyring: Keyring) -> SpawnerCatalog:
    spawn = settings.spawn
    functions = FunctionRegistry()
    for name, where in spawn.functions.items():
        functions.register(name, _function(name, where))
    secrets = tuple(secret.get_secret_value().encode() for secret in spawn.http_secrets)
    try:
        return shipped_catalog(
            operators=registries.operators,
            functions=functions,
            programs=spawn.programs,
            http=replace(spawn.http, secrets=secrets or (keyring.http,)),
            limits=settings.limits,
        )
    except ValueError as error:
        raise StartFailed(f"The spawn settings cannot be used: {error}.") from error


def _function(name: str, where: str) -> Function:
    """Import the function that `package.module:function` names. Raises StartFailed."""
    module, colon, attribute = where.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute) if colon else None
    except (ImportError, AttributeError) as error:
        raise StartFailed(f"spawn.functions.{name}: {where} cannot be imported ({error}).") from error
    if not callable(found):
        raise StartFailed(f"spawn.functions.{name}: {where!r} names no function; write package.module:function.")
    return cast(Function, found)


def _log_skipped(problems: list[PluginProblem]) -> None:
    for problem in problems:
        _log.warning("plugin_skipped", group=problem.group, plugin=problem.name, reason=problem.reason)
