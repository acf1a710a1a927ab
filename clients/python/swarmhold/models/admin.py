"""API keys, webhooks, skills and tokens: what administrators make, list and revoke."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StringConstraints, WithJsonSchema

from swarmhold.models.enums import Role, Verb, WebhookContent, WebhookFormat, WebhookSign, WebhookStatus
from swarmhold.models.instants import Instant, Seconds
from swarmhold.models.names import Name, NamespaceName, NewName, TaskId
from swarmhold.models.shapes import JsonObject, Request, Shape, integral, null_as

__all__ = [
    "ApiKey",
    "CommandAction",
    "CommandRequest",
    "CreatedKey",
    "CreatedWebhook",
    "KeyRequest",
    "MintRequest",
    "MintedToken",
    "Namespace",
    "Namespaces",
    "ReplayRequest",
    "Skill",
    "SkillRequest",
    "TokenVerdict",
    "VerifyRequest",
    "Webhook",
    "WebhookKey",
    "WebhookKeys",
    "WebhookRequest",
]

Cursor = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1), integral]
CommandAction = Literal["audit_exported", "backup_made", "signing_key_rotated"]


class KeyRequest(Request):
    """A key that may attach as `roles`; without `ttl` (seconds) it lives until revoked.

    With `person` it is a person's: it may answer in a session of its own what it asked. No agent may hold such a key.
    """

    name: NewName
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=4)]
    ttl: Seconds | None = None
    namespace: Annotated[NamespaceName, null_as("default")] = "default"
    person: Annotated[StrictBool, null_as(False)] = False
    email: NewName | None = None


class CommandRequest(Request):
    """A row of the audit log about what a command does beside the server.

    `user` is the user of that machine, `file` where a backup goes, `after` the row behind which an export begins, `kid`
    the new signing key.
    """

    action: CommandAction
    user: Name
    file: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    after: Cursor | None = None
    kid: Name | None = None


class CreatedKey(Shape):
    """The only reply that shows the key itself."""

    id: str
    key: str = Field(repr=False)


class ApiKey(Shape):
    """A key by its id; the secret is kept nowhere."""

    id: str
    name: str
    namespace: str | None = None
    roles: list[str]
    root: bool | None = None
    person: bool | None = None
    email: str | None = None
    created_at: Instant
    expires_at: Instant | None = None
    revoked_at: Instant | None = None


Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096),
    Field(json_schema_extra={"pattern": r"^([a-z][a-z0-9+.-]*://|mailto:)[^\s\x00-\x1f]+$"}),
]


Template = Annotated[str, StringConstraints(min_length=1, max_length=16_384)]


class WebhookRequest(Request):
    """Send events of these kinds (all without `events`) to `url`, beginning after the cursor `after` or now.

    The formats `slack`, `teams`, `discord`, `ntfy`, `template`, `mail` (to a `mailto:` URL) and `apprise` (to a URL of
    Apprise) write messages for people: about questions, about deadlines that are near, and about blocked tasks.
    `content` says how much of a question they show. `links` names the key of a person (by its id or name) who gets an
    answer link in each message about a question. `template` is a JSON text with `{{field|json}}` for each value.

    With `sign: asymmetric` deliveries are signed by the server's key and there is no secret.
    """

    url: Url
    name: NewName = "webhook"
    events: Annotated[list[Name], Field(min_length=1, max_length=100)] | None = None
    after: Cursor | None = None
    namespace: Annotated[NamespaceName, null_as("default")] = "default"
    format: Annotated[WebhookFormat, null_as(WebhookFormat.SWARMHOLD)] = WebhookFormat.SWARMHOLD
    content: WebhookContent | None = None
    template: Template | None = None
    links: NewName | None = None
    sign: Annotated[WebhookSign, null_as(WebhookSign.SYMMETRIC)] = WebhookSign.SYMMETRIC


class ReplayRequest(Request):
    """Deliver the events after this cursor again; 0 is the beginning."""

    after: Cursor


class Webhook(Shape):
    """One webhook, without its secret.

    Everything up to `cursor` was delivered. A paused one says why in `reason`; `failures`, `failing_since`, `next_at`
    and `last_error` are about failures since the last success. The `url` of one that writes to people ends behind its
    host, since the rest lets its holder write there as well. `links` is the id of the key of the person with the links,
    `instance` that of the key whose requests for approval are reported.
    """

    id: str
    name: str
    namespace: str | None = None
    url: str
    events: list[str] | None
    format: WebhookFormat = WebhookFormat.SWARMHOLD
    content: WebhookContent | None = None
    template: str | None = None
    links: str | None = None
    instance: str | None = None
    sign: WebhookSign = WebhookSign.SYMMETRIC
    status: WebhookStatus
    reason: str | None = None
    cursor: int
    failures: int
    failing_since: Instant | None = None
    next_at: Instant | None = None
    last_error: str | None = None
    delivered: int
    delivered_at: Instant | None = None
    rotated_at: Instant | None = None
    created_at: Instant


class CreatedWebhook(Webhook):
    """The only reply that shows the secret that signs the deliveries: of a new webhook, or of a rotation.

    There is none where the server's key signs, and for mail.
    """

    secret: str | None = Field(default=None, repr=False)


class WebhookKey(Shape):
    """A public key of the server: a JSON Web Key (RFC 8037), and in `standard` as Standard Webhooks writes it."""

    kid: str
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    standard: str


class WebhookKeys(Shape):
    """The public keys that verify deliveries, the newest first."""

    keys: list[WebhookKey]


CallingRole = Literal[Role.OPERATOR, Role.WORKER]
SkillApproval = Literal["never", "always"]
CALLERS: tuple[CallingRole, ...] = (Role.OPERATOR, Role.WORKER)


SchemaOfObjects = Annotated[
    JsonObject,
    WithJsonSchema({"type": "object", "properties": {"type": {"const": "object"}}, "required": ["type"]}),
]
"""A JSON Schema whose `type` is `object`."""


class SkillRequest(Request):
    """Publish agents behind a queue as a tool: its arguments, which fit `input_schema`, are a task's directive as JSON.

    `output_schema` is that of the result. With `approval: always` a senior decides on each call before a worker gets
    it. `roles` may call it. `task: false` keeps a call from becoming a task of MCP, so that it waits for the result.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    agent: NewName
    queue: NewName
    input_schema: SchemaOfObjects
    output_schema: SchemaOfObjects | None = None
    tags: Annotated[tuple[NewName, ...], Field(max_length=20), null_as(())] = ()
    approval: Annotated[SkillApproval, null_as("never")] = "never"
    roles: Annotated[tuple[CallingRole, ...], Field(min_length=1, max_length=2), null_as(CALLERS)] = CALLERS
    task: Annotated[StrictBool, null_as(True)] = True
    namespace: Annotated[NamespaceName, null_as("default")] = "default"


class Skill(Shape):
    """A published skill. `of_settings`: the server's settings publish it."""

    id: str
    name: str
    namespace: str | None = None
    description: str
    agent: str
    queue: str
    input_schema: JsonObject
    output_schema: JsonObject | None = None
    tags: list[str]
    approval: SkillApproval
    roles: list[str]
    task: bool
    of_settings: bool | None = None
    created_at: Instant


MintableRole = Literal[Role.WORKER, Role.OBSERVER]


class MintRequest(Request):
    """A token for a worker or an observer; it dies with the token that minted it."""

    agent_id: NewName
    role: MintableRole
    ttl: Seconds
    max_uses: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1), integral] | None = None
    scopes: Annotated[tuple[Verb, ...], Field(max_length=64)] | None = None
    task_id: TaskId | None = None


class MintedToken(Shape):
    """The only reply that shows the token; `jti` names it from then on."""

    token: str = Field(repr=False)
    jti: str
    expires_at: Instant


class VerifyRequest(Request):
    """May `token` do `verb` (to `task_id`)? Asking consumes a use, as doing it would."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=16384)] = Field(repr=False)
    verb: Verb
    task_id: TaskId | None = None


class TokenVerdict(Shape):
    """`code` says why a token is not valid; what could not be learned of it is null."""

    valid: bool
    code: str | None = None
    role: Role | None
    sub: str | None
    expires_at: Instant | None
    uses_left: int | None


class Namespace(Shape):
    """The contents of a namespace: keys that are not revoked, tasks by status, open questions and since when."""

    name: str
    keys: int
    tasks: dict[str, int]
    open_questions: int
    oldest_open_at: Instant | None


class Namespaces(Shape):
    """All namespaces, by name."""

    items: list[Namespace]
