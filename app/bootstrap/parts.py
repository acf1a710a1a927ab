"""From settings to an engine: every part of it, built and not yet started."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, cast

import structlog

from app.bootstrap.failures import StartFailed
from app.bootstrap.keyring import Keyring
from app.bus.local import LocalBus
from app.config import EngineSettings, HttpSection, ProgramSettings, Settings, SpawnSettings, WebhookSettings
from app.domain.access import RoleVerbGate
from app.domain.clock import system_clock
from app.domain.handles import HandleMint
from app.domain.tokens import TokenSigner
from app.engine.core import Parts, Registries
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.http.settings import AuthRateLimitSettings, HttpSettings, WebSocketSettings
from app.spawning.adapters.http import HttpWorkerSettings
from app.spawning.adapters.in_process import Function, FunctionRegistry
from app.spawning.catalog import SpawnerCatalog, shipped_catalog
from app.spawning.layers import load_layers, shipped_layers
from app.spawning.outbound.webhooks import SenderSettings, WebhookSender
from app.spawning.plugins import PluginProblem
from app.spawning.processes.programs import Program
from app.state.opening import open_store
from app.state.port import HoldPolicy

_log = structlog.get_logger(__name__)

_PRESETS: Mapping[str, Callable[[], HoldPolicy]] = {
    "strict": HoldPolicy.strict,
    "default": HoldPolicy,
    "relaxed": HoldPolicy.relaxed,
}


def build_engine(settings: Settings, keyring: Keyring, *, base_url: str | None = None) -> Engine:
    """An engine as the settings say, not started. Raises StartFailed for what cannot be built."""
    cfg = engine_cfg(settings.engine, base_url or settings.url())
    registries = Registries()
    extra, problems = load_layers() if settings.spawn.plugins else ([], [])
    catalog = _catalog(settings.spawn, registries, keyring)
    if settings.spawn.plugins:
        problems = [*problems, *catalog.load_entry_points()]
    _tell(problems)
    url, keepalive_timeout = settings.store_place, timedelta(seconds=settings.database_silence)
    return Engine(
        Parts(
            cfg=cfg,
            open_store=lambda: open_store(url, policy=cfg.hold, keepalive_timeout=keepalive_timeout),
            bus=LocalBus(),
            signer=TokenSigner(keyring.signing),
            mint=HandleMint(keyring.digests, length=settings.handle_length),
            gate=RoleVerbGate(),
            layers=shipped_layers(
                hooks=registries.hooks,
                operators=registries.operators,
                long_hold_s=settings.engine.long_hold,
                extra=extra,
            ),
            catalog=catalog,
            registries=registries,
            clock=system_clock,
            notices=_notices(settings.webhooks),
        )
    )


def engine_cfg(settings: EngineSettings, base_url: str) -> EngineCfg:
    """The engine's own settings, in its own units."""
    return EngineCfg(
        hold=hold_policy(settings),
        max_spawn_depth=settings.max_spawn_depth,
        worker_token_life_ms=_ms(settings.worker_token_life),
        handle_life_ms=_ms(settings.handle_life),
        lease_ms=_ms(settings.lease),
        attempt_timeout_ms=None if settings.attempt_timeout is None else _ms(settings.attempt_timeout),
        default_hold_ms=_ms(settings.default_hold),
        longest_hold_ms=_ms(settings.longest_hold),
        heartbeat_interval_ms=_ms(settings.heartbeat_interval),
        heartbeat_miss_threshold=settings.heartbeat_miss_threshold,
        keepalive_on_idle=settings.keepalive_on_idle,
        stop_grace_ms=_ms(settings.stop_grace),
        recheck_ms=_ms(settings.recheck),
        strict_hints=settings.strict_hints,
        most_late_results=settings.most_late_results,
        most_outputs=settings.most_outputs,
        worker_spawners=frozenset(settings.worker_spawners),
        base_url=base_url,
    )


def hold_policy(settings: EngineSettings) -> HoldPolicy:
    """The preset, with what is given beside it."""
    preset = _PRESETS[settings.hold]()
    return HoldPolicy(
        try_only=preset.try_only if settings.try_only is None else settings.try_only,
        max_retry=preset.max_retry if settings.max_retry is None else settings.max_retry,
        backoff_step_ms=preset.backoff_step_ms if settings.backoff_step is None else settings.backoff_step * 1000,
        max_hold_ms=preset.max_hold_ms if settings.max_hold is None else settings.max_hold * 1000,
        max_hold_panic=settings.max_hold_panic,
    )


def http_settings(settings: Settings, base_url: str) -> HttpSettings:
    """The edge's settings, in its own units."""
    http: HttpSection = settings.http
    return HttpSettings(
        base_url=base_url,
        body_limit_bytes=http.body_limit,
        page_default=http.page_default,
        page_limit=http.page_limit,
        default_hold=timedelta(seconds=http.default_hold),
        longest_hold=timedelta(seconds=settings.engine.longest_hold),
        sse_comment_every=timedelta(seconds=http.sse_comment_every),
        metrics_open=http.metrics_open,
        access_log=http.access_log,
        auth_rate_limit=AuthRateLimitSettings(
            burst_per_source=http.guess_burst_per_source,
            per_source_per_second=http.guesses_per_source_per_second,
            burst_in_all=http.guess_burst,
            in_all_per_second=http.guesses_per_second,
        ),
        websockets=WebSocketSettings(frame_limit_bytes=http.frame_limit, allowed_origins=http.allowed_origins),
    )


def _notices(webhooks: WebhookSettings) -> WebhookSender:
    """What sends events to webhooks. Raises StartFailed."""
    try:
        return WebhookSender(
            SenderSettings(
                allow=webhooks.allow,
                timeout_s=webhooks.timeout,
                backoff_s=webhooks.backoff,
                max_backoff_s=webhooks.max_backoff,
                pause_after_s=webhooks.pause_after,
                batch=webhooks.batch,
            )
        )
    except ValueError as error:
        raise StartFailed(f"The setting webhooks.allow cannot be used: {error}.") from error


def _catalog(spawn: SpawnSettings, registries: Registries, keyring: Keyring) -> SpawnerCatalog:
    functions = FunctionRegistry()
    for name, where in spawn.functions.items():
        functions.register(name, _function(name, where))
    secrets = tuple(secret.get_secret_value().encode() for secret in spawn.http_secrets)
    try:
        return shipped_catalog(
            operators=registries.operators,
            functions=functions,
            programs={name: _program(program) for name, program in spawn.programs.items()},
            http=HttpWorkerSettings(
                allow=spawn.http_allow,
                secrets=secrets or (keyring.http,),
                timeout_s=spawn.http_timeout,
                tries=spawn.http_tries,
            ),
        )
    except ValueError as error:
        raise StartFailed(f"The spawn settings cannot be used: {error}.") from error


def _program(program: ProgramSettings) -> Program:
    return Program(
        path=program.path,
        args=program.args,
        env=program.env,
        timeout_s=program.timeout,
        cwd=program.cwd,
        allow_args=program.allow_args,
        max_output_bytes=program.max_output_bytes,
    )


def _function(name: str, where: str) -> Function:
    """The function of `package.module:function`. Raises StartFailed."""
    module, colon, attribute = where.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute) if colon else None
    except (ImportError, AttributeError) as error:
        raise StartFailed(f"spawn.functions.{name}: {where} cannot be imported ({error}).") from error
    if not callable(found):
        raise StartFailed(f"spawn.functions.{name}: {where!r} names no function; write package.module:function.")
    return cast(Function, found)


def _tell(problems: list[PluginProblem]) -> None:
    for problem in problems:
        _log.warning("plugin_skipped", group=problem.group, plugin=problem.name, reason=problem.reason)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
