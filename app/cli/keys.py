"""`swarmhold keys`: API keys, through the running server or in its database while it rests; and the signing ring."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from app.bootstrap import private_files
from app.bootstrap.keyring import Keyring, rotate_signing
from app.cli import command_records, database
from app.cli.endpoint import (
    AsJson,
    ConfigFile,
    DatabaseUrl,
    DataDir,
    Endpoint,
    Key,
    Url,
    find_endpoint,
    running_server,
    settings_of,
)
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.instants import duration, instant
from app.cli.output import add_row, console, print_json, table
from app.cli.sessions import admin_calls, call_in
from app.config import Settings
from app.domain import access
from app.domain.clock import system_clock, to_rfc3339
from app.domain.handles import HandleMint
from app.domain.namespaces import DEFAULT
from app.domain.tokens import ApiKey
from app.state.state import State
from swarmhold.models.enums import Role

keys = typer.Typer(help="Make, list and revoke API keys; rotate the key that signs tokens.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name for people, such as whose key it is.")]
Roles = Annotated[list[Role], typer.Option("--role", help="A role that it may act as; may be repeated.")]
Ttl = Annotated[
    str | None, typer.Option("--ttl", help="Time until it expires, as 3600, 12h or 30d; by default it never does.")
]
Expires = Annotated[str | None, typer.Option("--expires", help="When it expires, as 'in 30d' or 2026-12-31.")]
Person = Annotated[bool, typer.Option("--person", help="It is a person's, and no agent may hold it.")]
Email = Annotated[str | None, typer.Option("--email", help="Where the person is reached.")]
Namespace = Annotated[str, typer.Option("--namespace", help="The namespace in which all that is made with it lies.")]
KeyId = Annotated[str, typer.Argument(help="The key's id, K-…; `list` shows it.")]


@keys.command()
def create(
    name: Name,
    role: Roles,
    ttl: Ttl = None,
    expires: Expires = None,
    namespace: Namespace = DEFAULT,
    person: Person = False,
    email: Email = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """Create a key. Its text is shown only this once."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    life = _life(ttl, expires)
    if (endpoint := _running(settings, url, key)) is not None:
        made = _create_remotely(endpoint, name, role, ttl=life, namespace=namespace, person=person, email=email)
    else:
        made = _create_here(settings, name, role, ttl=life, namespace=namespace, person=person, email=email)
    if as_json:
        print_json(made)
    else:
        print(f"{made['id']}  {', '.join(sorted(role))}  {name}\n{made['key']}")


def _life(ttl: str | None, expires: str | None) -> timedelta | None:
    """Return how long a key lives, None for ever. Raises CommandFailed."""
    if ttl is not None and expires is not None:
        raise CommandFailed("Name --ttl or --expires, not both.", status=EXIT_MISUSED)
    if expires is not None:
        life = instant(expires) - datetime.now(UTC)
    elif ttl is not None:
        life = duration(ttl)
    else:
        return None
    if life < timedelta(seconds=1):
        raise CommandFailed("A key lives for a second at least.", status=EXIT_MISUSED)
    return life


def _create_remotely(endpoint: Endpoint, name: str, roles: list[Role], **options: Any) -> dict[str, Any]:
    made = call_in(admin_calls(endpoint), lambda admin: admin.create_key(name, roles, **options))
    return {"id": made.id, "key": made.key}


def _create_here(settings: Settings, name: str, roles: list[Role], *, namespace: str, **options: Any) -> dict[str, Any]:
    from app.engine.ops import credentials, namespaces

    def create(state: State) -> ApiKey:
        place = namespaces.use(state, namespace, by="command")
        return credentials.create_key(
            state, name=name, roles=granted, digest=digest, namespace=place, by="command", **options
        )

    private_files.open_data_directory(settings)
    digests = HandleMint(database.keyring(settings).digests)
    text = credentials.new_key_text()
    granted = frozenset(access.Role(role.value) for role in roles)
    digest = digests.keyed_digest(text)
    made = database.change(settings, "create_key", create)
    return {"id": made.id, "key": text}


@keys.command("list")
def list_keys(
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """List the keys, without their texts, revoked ones included."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    endpoint = _running(settings, url, key)
    found = _list_remotely(endpoint) if endpoint is not None else _list_here(settings)
    if as_json:
        print_json(found)
        return
    shown = table("id", "name", "namespace", "roles", "created", "expires", "state")
    for row in found:
        roles = ", ".join(row["roles"]) + (" (root)" if row["root"] else " (person)" if row["person"] else "")
        place, expires = row["namespace"] or "", row["expires_at"] or "never"
        cells = (row["id"], row["name"], place, roles, row["created_at"], expires, _state(row))
        add_row(shown, cells, style="dim" if row["revoked_at"] else None)
    console.print(shown)


_NOTHING: dict[str, Any] = {"namespace": None, "expires_at": None, "revoked_at": None, "root": False, "person": False}


def _list_remotely(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [_NOTHING | key.as_json() for key in call_in(admin_calls(endpoint), lambda admin: admin.keys())]


def _list_here(settings: Settings) -> list[dict[str, Any]]:
    from app.engine.ops import credentials, namespaces

    names = {each.id: each.name for each in database.read(settings, namespaces.every)}
    return [_plain(key, names.get(key.namespace)) for key in database.read(settings, credentials.list_keys)]


def _plain(key: ApiKey, namespace: str | None) -> dict[str, Any]:
    times = {name: getattr(key, name) for name in ("created_at", "expires_at", "revoked_at")}
    return {
        "id": key.id,
        "name": key.name,
        "namespace": namespace,
        "roles": key.roles.split(),
        "root": bool(key.root),
        "person": bool(key.person),
        **{name: None if at is None else to_rfc3339(at) for name, at in times.items()},
    }


def _state(row: Mapping[str, Any]) -> str:
    if row["revoked_at"]:
        return f"revoked {row['revoked_at']}"
    expires = row["expires_at"]
    return "expired" if expires and expires <= to_rfc3339(system_clock()) else "good"


@keys.command()
def revoke(
    key_id: KeyId,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """Revoke a key, and with it every session and token that descends from it."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    if (endpoint := _running(settings, url, key)) is not None:
        call_in(admin_calls(endpoint), lambda admin: admin.revoke_key(key_id))
    else:
        from app.engine.ops import credentials

        database.change(
            settings, "revoke_key", lambda state: credentials.revoke_key_at_once(state, key_id, by="command")
        )
    if as_json:
        print_json({"revoked": key_id})
    else:
        print(f"revoked {key_id}")


@keys.command("rotate-signing")
def rotate(
    as_json: AsJson = False, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: ConfigFile = None
) -> None:
    """Create a new key for signing tokens. Tokens that were signed before stay valid for two more rotations."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    if database.is_postgres(settings):
        ring = _change_shared(settings, "signing_key_rotated", Keyring.rotated)
        since = "on every node within 5 seconds"
    else:
        ring, since = _rotate_file(settings)
    kids = [key.kid for key in ring.signing]
    if as_json:
        print_json({"signs": kids[0], "since": since, "verify": kids[1:]})
    else:
        print(f"{kids[0]} signs {since}; {', '.join(kids[1:])} still verify.")


@keys.command()
def reseal(
    as_json: AsJson = False, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: ConfigFile = None
) -> None:
    """Seal the keys in a PostgreSQL database with the current seal key, or the root key, in place of the one before."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    if not database.is_postgres(settings):
        raise CommandFailed(
            f"On SQLite the keys are in {settings.keys_path} and not sealed. Name a PostgreSQL --database-url.",
            status=EXIT_MISUSED,
        )
    ring = _change_shared(settings, "key_ring_resealed", lambda ring: ring)
    if as_json:
        print_json({"sealed": [key.kid for key in ring.signing]})
    else:
        print("Sealed. No node needs SWARMHOLD_SEAL_KEY_PREVIOUS any more: unset it where nodes have the current key.")


def _change_shared(settings: Settings, action: str, fn: Callable[[Keyring], Keyring]) -> Keyring:
    """Change the ring in the database, and record that in the same transaction."""
    from app.bootstrap import shared_ring
    from app.bootstrap.seals import Seals
    from app.engine.ops import audit

    def run(state: State) -> Keyring:
        ring = shared_ring.change(state, Seals.of(settings), fn)
        state.seal = ring.seal()
        audit.record(state, f"command:{command_records.user()}", action, kid=ring.signing[0].kid)
        return ring

    return database.change_beside(settings, run)


def _rotate_file(settings: Settings) -> tuple[Keyring, str]:
    if not settings.keys_path.exists():
        raise CommandFailed(
            f"There are no keys at {settings.keys_path}. Name the server's --data-dir.", status=EXIT_MISUSED
        )
    ring = rotate_signing(settings.keys_path)
    here = running_server(settings)
    if here is not None:
        os.kill(here.pid, signal.SIGHUP)
    command_records.record(settings, "signing_key_rotated", kid=ring.signing[0].kid)
    return ring, "from now on" if here is not None else "from the server's next start on"


def _running(settings: Settings, url: str | None, key: str | None) -> Endpoint | None:
    """Return the server to call, if one is named or runs here."""
    if url or running_server(settings) is not None:
        return find_endpoint(settings, url=url, key=key)
    return None
