"""A tool: what it is called, whom it is for, what it takes, and the calls that it makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.access import Role
from app.mcp.calls import Api, Value, refused
from app.mcp.clients import Client, no_assignment

Run = Callable[[Api, Value], Awaitable[Value]]

TEXT: Value = {"type": "string"}
HOLD: Value = {"type": "number", "minimum": 0, "maximum": 50, "description": "Seconds to wait before it says open."}
ONCE: Value = {"type": "string", "minLength": 1, "description": "Names this request: the same name finds what it made."}
ID: Value = {"type": "string", "minLength": 1}
OBJECT: Value = {"type": "object"}

READS = frozenset({"read_only"})
AGAIN = frozenset({"idempotent"})

ASKERS = (Role.OPERATOR, Role.WORKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool. `roles` are those that may use it, the preferred one first; `holds` may wait for long.

    `answers` decides as a model, which is for keys of agents; `asks` lets the person decide whose key it is.

    `gives` is the schema of what it returns, None where that is text alone. With `follows` that has a `key` or
    `task_id` by which clients may follow it as a task while it is open. `about` is the argument that names the
    assignment of a worker whose credential is a key; `claims` is for such keys alone.
    """

    name: str
    text: str
    roles: Sequence[Role]
    takes: Mapping[str, Value]
    needs: Sequence[str] = ()
    gives: Value | None = field(default_factory=lambda: OBJECT)
    hints: frozenset[str] = frozenset()
    run: Run
    answers: bool = False
    asks: bool = False
    holds: bool = False
    follows: bool = False
    about: str | None = None
    claims: bool = False

    def role_for(self, client: Client) -> Role | None:
        """Return the role in which a client uses it, None where it may not."""
        if (self.answers and not client.may_answer) or (self.asks and not client.is_person):
            return None
        return next((role for role in self.roles if role in client.roles and self._fits(client, role)), None)

    def _fits(self, client: Client, role: Role) -> bool:
        """Return whether a worker of this kind uses it: its key claims, and names what it claimed before."""
        if role is not Role.WORKER:
            return True
        return not self.claims if client.key is None else self.claims or self.about is not None

    def about_in(self, client: Client, role: Role, arguments: Value) -> str | None:
        """Return what names a worker's assignment, None for other roles. Raises CallFailed where a key needs it."""
        if role is not Role.WORKER or self.about is None:
            return None
        about = arguments.get(self.about)
        if about is None and client.key is not None:
            raise refused(f"{self.name} needs {self.about} with a key: claim_assignment returned it.")
        if about is not None and (not isinstance(about, str) or not about):
            raise refused(f"{self.about} is a text.")
        if about is not None and not client.is_own(about):
            raise no_assignment(about)
        return about

    @property
    def schema(self) -> Value:
        """The JSON Schema of its arguments."""
        return {
            "type": "object",
            "properties": dict(self.takes),
            "required": list(self.needs),
            "additionalProperties": False,
        }

    def check(self, arguments: Value) -> None:
        """Raise CallFailed for arguments that it does not have, or without those that it needs."""
        if unknown := sorted(arguments.keys() - self.takes.keys()):
            raise refused(f"{self.name} has no argument {unknown[0][:100]!r}; it takes {', '.join(self.takes)}.")
        if missing := [name for name in self.needs if name not in arguments]:
            raise refused(f"{self.name} needs {', '.join(missing)}.")
        hold = arguments.get("hold", 0)
        if "hold" in arguments and (isinstance(hold, bool) or not isinstance(hold, int | float) or not 0 <= hold <= 50):
            raise refused("hold is a number of seconds from 0 to 50.")


def picked(arguments: Value, names: Sequence[str]) -> Value:
    """Return the arguments of these names that were given."""
    return {name: arguments[name] for name in names if name in arguments}
