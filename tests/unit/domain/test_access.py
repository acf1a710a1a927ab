"""Authorization: roles, verbs, and the table that connects them."""

import pytest

from app.domain.access import DEFAULT_TABLE, Role, RoleVerbGate, Verb
from app.domain.errors import RoleViolation

EXPECTED = {
    Role.OPERATOR: """start_task dispatch_attempt mint_worker_token read_task_state cancel_task query_senior mark_pass
        mark_blocked attach_session detach_session heartbeat poll_task post_result verify_token fetch_data
        subscribe_events read_trace answer_query""",
    Role.WORKER: """fetch_prompt fetch_data post_result verify_token emit_output query_senior start_task
        dispatch_attempt read_task_state poll_task cancel_task""",
    Role.OBSERVER: "subscribe_events read_trace read_task_state poll_task heartbeat detach_session",
    Role.SENIOR: """answer_query override_verdict pause_loop resume_loop inject_directive read_task_state
        subscribe_events read_trace heartbeat detach_session""",
}


@pytest.mark.parametrize("role", Role)
def test_the_default_table_is_the_published_one(role: Role) -> None:
    """Each role has exactly the documented verbs, and the gate allows exactly these."""
    allowed = set(EXPECTED[role].split())
    gate = RoleVerbGate()

    assert {verb.value for verb in DEFAULT_TABLE[role]} == allowed
    assert gate.verbs(role) == DEFAULT_TABLE[role]
    for verb in Verb:
        assert gate.allows(role, verb) is (verb.value in allowed)
        if verb.value in allowed:
            gate.check(role, verb)
        else:
            with pytest.raises(RoleViolation) as raised:
                gate.check(role, verb)
            assert raised.value.fields() == {"role": role.value, "verb": verb.value}


def test_a_scope_narrows_and_never_widens() -> None:
    """A token's scope removes verbs; it never adds one that the role lacks."""
    gate = RoleVerbGate()
    scope = frozenset({Verb.FETCH_PROMPT, Verb.MARK_PASS})

    gate.check(Role.WORKER, Verb.FETCH_PROMPT, scope)
    for verb in (Verb.EMIT_OUTPUT, Verb.MARK_PASS):
        with pytest.raises(RoleViolation):
            gate.check(Role.WORKER, verb, scope)


def test_changing_a_gate_returns_a_copy() -> None:
    """Allowing and denying return new gates; the original is unchanged."""
    gate = RoleVerbGate()
    wider, narrower = gate.allowing(Role.OBSERVER, Verb.CANCEL_TASK), gate.denying(Role.OBSERVER, Verb.POLL_TASK)

    assert wider.allows(Role.OBSERVER, Verb.CANCEL_TASK)
    assert not narrower.allows(Role.OBSERVER, Verb.POLL_TASK)
    assert gate.verbs(Role.OBSERVER) == DEFAULT_TABLE[Role.OBSERVER]
    assert RoleVerbGate({}).verbs(Role.OPERATOR) == frozenset()
