"""What a worker may hand down: a table of dispatchers and requests, and random trees of delegation."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.access import DEFAULT_TABLE, Caller, Role, Verb
from app.domain.delegation import (
    ALWAYS,
    HANDED_DOWN,
    OWN_TASK,
    Asked,
    Rights,
    WorkerRules,
    require_alive,
    rights_of_child,
)
from app.domain.errors import DispatchFailed, TokenExpired

RULES = WorkerRules(functions=frozenset({"count"}))
EXTERNAL = Asked(spawner="external")


def caller(role: Role = Role.WORKER, **fields: Any) -> Caller:
    """A caller with these fields; a worker has an attempt of its own."""
    own: dict[str, Any] = {"task_id": "T-1", "attempt": 1, "session_id": "S-1"} if role is Role.WORKER else {}
    return Caller(**{"role": role, "subject": "a", "via": "token", "namespace": 1, **own, **fields})


def minted(**fields: Any) -> Caller:
    """A caller with a worker token that was minted, which is bound to no attempt and belongs to no session."""
    return caller(**{"attempt": None, "session_id": None, "expires_at": 9000, **fields})


SOME = frozenset({Verb.FETCH_PROMPT, Verb.DISPATCH_ATTEMPT, Verb.FETCH_DATA})
DISPATCHERS = {
    "operator": (caller(Role.OPERATOR, session_id="S-1", expires_at=9000), None, None),
    "engine": (caller(Role.OPERATOR, via="engine"), None, None),
    "worker": (caller(), HANDED_DOWN, None),
    "worker that is narrowed": (caller(scope=SOME), SOME & HANDED_DOWN, None),
    "worker that ends": (caller(expires_at=9000), HANDED_DOWN, 9000),
    "minted": (minted(), HANDED_DOWN, 9000),
    "minted and narrowed": (minted(scope=SOME), SOME & HANDED_DOWN, 9000),
    "minted with nothing": (minted(scope=frozenset()), frozenset[Verb](), 9000),
}
REQUESTS = {
    "external": (EXTERNAL, True),
    "queue": (Asked(spawner="queue"), True),
    "operator": (Asked(spawner="operator"), False),
    "process": (Asked(spawner="process"), False),
    "http": (Asked(spawner="http"), False),
    "open function": (Asked(spawner="in_process", function="count"), True),
    "closed function": (Asked(spawner="in_process", function="identity"), False),
    "no function": (Asked(spawner="in_process"), False),
    "open layers": (Asked(spawner="external", layers=RULES.layers), True),
    "main_ai": (Asked(spawner="external", layers=frozenset({"main_ai"})), False),
    "operator_delegate": (Asked(spawner="external", layers=frozenset({"operator_delegate"})), False),
    "base layer": (Asked(spawner="external", layers=frozenset({"audit"})), False),
    "unknown layer": (Asked(spawner="external", layers=frozenset({"long_hold", "nonsense"})), False),
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("dispatcher_name", DISPATCHERS)
def test_rights_by_dispatcher_and_request(dispatcher_name: str, request_name: str) -> None:
    """Workers get what is open to workers, with their own rights; others get everything."""
    dispatcher, inherited, ends_at = DISPATCHERS[dispatcher_name]
    asked, open_to_workers = REQUESTS[request_name]
    if dispatcher.role is Role.WORKER and not open_to_workers:
        with pytest.raises(DispatchFailed, match="a worker may not"):
            rights_of_child(dispatcher, ("gate",), asked, RULES)
        return
    rights = rights_of_child(dispatcher, ("gate",), asked, RULES)
    if inherited is None:
        assert rights == Rights()
    else:
        assert rights == Rights(scope=ALWAYS | inherited, ends_at=ends_at, gates=("gate",))


def test_an_operator_that_is_narrowed_hands_down_what_it_has() -> None:
    """A scope narrows what is dispatched, whatever the role; spawners and layers stay open to operators."""
    narrow = caller(Role.OPERATOR, session_id="S-1", scope=frozenset({Verb.DISPATCH_ATTEMPT}))
    rights = rights_of_child(narrow, (), Asked(spawner="process", layers=frozenset({"main_ai"})), RULES)
    assert rights == Rights(scope=ALWAYS | {Verb.DISPATCH_ATTEMPT})


def test_an_error_says_what_is_allowed() -> None:
    """The message lists what a worker may use instead."""
    for asked, allowed in (
        (Asked(spawner="http"), "external, in_process, queue"),
        (Asked(spawner="in_process", function="x"), "count"),
        (Asked(spawner="external", layers=frozenset({"x"})), "input_inject, long_hold, senior_escalation"),
    ):
        with pytest.raises(DispatchFailed, match=allowed):
            RULES.check(asked)
    with pytest.raises(DispatchFailed, match="it may call none"):
        WorkerRules().check(Asked(spawner="in_process", function="identity"))


def test_nothing_starts_with_rights_that_are_over() -> None:
    """The end of their life is the first instant without them."""
    for rights in (Rights(), Rights(ends_at=101)):
        require_alive(rights, 100)
    with pytest.raises(TokenExpired):
        require_alive(Rights(ends_at=100), 100)


# Trees

WORKERS_VERBS = sorted(DEFAULT_TABLE[Role.WORKER])
SCOPES = st.none() | st.frozensets(st.sampled_from(WORKERS_VERBS))


@dataclass(frozen=True, slots=True)
class Step:
    """One delegation: by a worker with its own credential, or with a token that was minted for its task."""

    minted_scope: frozenset[Verb] | None
    minted_life: int | None
    asked: Asked


STEPS = st.builds(
    Step,
    SCOPES,
    st.none() | st.integers(1, 100),
    st.builds(
        Asked,
        spawner=st.sampled_from(["external", "queue", "in_process", "operator", "process"]),
        function=st.sampled_from([None, "count", "identity"]),
        layers=st.frozensets(
            st.sampled_from(["input_inject", "long_hold", "main_ai", "operator_delegate"]), max_size=2
        ),
    ),
)


def dispatcher_of(parent: Rights, step: Step) -> Caller:
    """Who dispatches in this step: the parent's worker, or the holder of a token that was minted beside it."""
    if step.minted_life is None:
        return caller(scope=parent.scope, expires_at=parent.ends_at)
    return minted(scope=step.minted_scope, expires_at=step.minted_life)


def may(rights: Rights | Caller) -> frozenset[Verb]:
    """What the holder may do beyond its own task."""
    return DEFAULT_TABLE[Role.WORKER] if rights.scope is None else rights.scope


@given(st.lists(STEPS, max_size=8), st.lists(st.sampled_from(["one", "two"]), unique=True).map(tuple))
def test_nothing_below_can_do_what_its_ancestor_could_not(steps: list[Step], gates: tuple[str, ...]) -> None:
    """Along any chain verbs only vanish, lives only shorten, gates only add up, and closed requests stay closed."""
    parent = Rights(gates=gates)
    for step in steps:
        dispatcher = dispatcher_of(parent, step)
        try:
            child = rights_of_child(dispatcher, parent.gates, step.asked, RULES)
        except DispatchFailed:
            assert (
                step.asked.spawner not in RULES.spawners
                or not step.asked.layers <= RULES.layers
                or (step.asked.spawner == "in_process" and step.asked.function not in RULES.functions)
            )
            continue
        assert ALWAYS <= may(child) <= DEFAULT_TABLE[Role.WORKER]
        assert may(child) - ALWAYS <= may(dispatcher)
        assert (may(child) - ALWAYS) & HANDED_DOWN == may(dispatcher) & HANDED_DOWN
        if dispatcher.expires_at is not None:
            assert child.ends_at is not None
            assert child.ends_at <= dispatcher.expires_at
        assert set(parent.gates) <= set(child.gates)
        assert step.asked.spawner in RULES.spawners
        parent = child


def test_the_verbs_of_workers_are_always_or_handed_down() -> None:
    """A verb that workers get some day has to be sorted into one of the two."""
    assert DEFAULT_TABLE[Role.WORKER] == ALWAYS | HANDED_DOWN
    assert not ALWAYS & HANDED_DOWN
    assert OWN_TASK < HANDED_DOWN
