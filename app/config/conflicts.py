"""Settings that contradict each other, or the address that the server listens on."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping

from app.bus.port import LOCAL, NATS_SCHEMES
from app.config.tree import Settings
from app.domain.handles import SAFE_LENGTH
from app.domain.tokens import KEY_PREFIX, is_key_text

SAFE_ROOT_KEY_LENGTH = 32
SHORTEST_SEAL_KEY = 32
LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def conflicts(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each conflict: where the setting was set, by `origins`, and what to do."""

    def at(name: str) -> str:
        return origins.get(name, name)

    url = settings.store_url
    if "://" in url and not url.startswith(("sqlite://", "postgresql://", "postgres://")):
        yield (
            f"{at('database_url')}: {url.partition('://')[0]}:// is not a supported database; "
            "give a file's path, sqlite:///path or postgresql://user@host/name."
        )
    yield from _cluster_conflicts(settings, at)
    yield from _seal_key_conflicts(settings, at)
    if settings.root_key is not None:
        yield from _root_key_conflicts(settings.root_key.get_secret_value(), settings.host, at("root_key"))
    if not is_loopback(settings.host) and settings.handle_length < SAFE_LENGTH:
        yield (
            f"{at('handle_length')}: handles of {settings.handle_length} characters can be guessed by other machines, "
            f"and {settings.host} is not a loopback address; give {SAFE_LENGTH} or more, or bind to 127.0.0.1."
        )
    if "http.page_default" in origins and settings.http.page_default > settings.limits.page_items:
        yield f"{at('http.page_default')}: a page has at most limits.page_items ({settings.limits.page_items}) items."
    if any(len(secret.get_secret_value().encode()) < 32 for secret in settings.spawn.http_secrets):
        yield f"{at('spawn.http_secrets')}: a secret has 32 bytes or more; make one with `openssl rand -hex 32`."


def _cluster_conflicts(settings: Settings, at: Callable[[str], str]) -> Iterator[str]:
    bus = LOCAL if settings.bus_url is None else settings.bus_url.get_secret_value()
    if bus != LOCAL and not settings.store_url.startswith(("postgresql://", "postgres://")):
        yield f"{at('bus_url')}: on SQLite a node is alone and needs no bus; leave it out, or give '{LOCAL}'."
    elif bus != LOCAL and not bus.startswith(NATS_SCHEMES):
        yield f"{at('bus_url')}: give nats://host:4222 or tls://host:4222; without it PostgreSQL carries the hints."
    if settings.cluster.lease_ms < 2 * settings.cluster.heartbeat_ms:
        yield (
            f"{at('cluster.lease')}: one missed heartbeat would end it; give at least twice cluster.heartbeat "
            f"({settings.cluster.heartbeat_ms / 1000:g})."
        )


def _seal_key_conflicts(settings: Settings, at: Callable[[str], str]) -> Iterator[str]:
    for name, secret in (("seal_key", settings.seal_key), ("seal_key_previous", settings.seal_key_previous)):
        given = "" if secret is None else secret.get_secret_value()
        # What sealed before may have been a root key, which may be shorter.
        if given and len(given) < SHORTEST_SEAL_KEY and not (name == "seal_key_previous" and is_key_text(given)):
            yield f"{at(name)}: a seal key has {SHORTEST_SEAL_KEY} characters or more; make one: openssl rand -hex 32."


def _root_key_conflicts(key: str, host: str, where: str) -> Iterator[str]:
    if not is_key_text(key):
        yield f"{where}: a root key begins with {KEY_PREFIX} and holds printable characters without spaces."
    elif not is_loopback(host) and len(key) < SAFE_ROOT_KEY_LENGTH:
        yield (
            f"{where}: a root key of {len(key)} characters can be guessed by other machines; "
            f"give {SAFE_ROOT_KEY_LENGTH} or more: printf 'shk_%s' \"$(openssl rand -hex 32)\"."
        )


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone; unknown names are taken for reachable."""
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
