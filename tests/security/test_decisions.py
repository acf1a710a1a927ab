"""Every route that changes something either leaves a row of the audit log, or is known to decide nothing."""

from app.aap.routes import aap_routes
from app.http.routers import all_routes
from tests.contract.engine.test_audit import DECISIONS

OP, WORK, SENIOR, ADMIN = "/v1/operator", "/v1/worker", "/v1/senior", "/v1/admin"
TASK = "/tasks/{task_id}"
REQUESTS = "/aap/v1/requests"
VERDICTS = ("mark_pass", "mark_blocked", "override_pass", "override_blocked")

DECIDING: dict[tuple[str, str], tuple[str, ...]] = {
    ("POST", f"{OP}{TASK}/cancel"): ("task_cancelled",),
    ("POST", f"{OP}/tasks/cancel"): ("tasks_cancelled", "task_cancelled"),
    ("POST", f"{OP}/tasks/retry"): ("tasks_retried",),
    ("POST", f"{OP}/sessions"): ("session_attached",),
    ("POST", "/v1/doors/claude-code/hook"): ("session_attached", "approval_consumed"),
    ("POST", "/v1/doors/codex/hook"): ("session_attached", "approval_consumed"),
    ("POST", "/aap/v1/instances"): ("key_created", "webhook_created"),
    ("POST", REQUESTS): ("session_attached",),
    ("DELETE", f"{REQUESTS}/{{id}}"): ("question_withdrawn", "task_cancelled"),
    ("POST", f"{REQUESTS}/{{id}}/consume"): ("approval_consumed",),
    ("POST", f"{REQUESTS}/{{id}}/outcome"): ("approval_outcome",),
    ("DELETE", f"{OP}/session"): ("session_detached",),
    ("POST", f"{OP}{TASK}/verdict"): VERDICTS[:2],
    ("PUT", f"{OP}/resources/{{key:path}}"): ("resource_set",),
    ("POST", f"{OP}/tokens"): ("token_minted",),
    ("DELETE", f"{OP}/tokens/{{jti}}"): ("token_revoked",),
    ("POST", f"{OP}{TASK}/attempts/{{number}}/late/{{index}}/adopt"): ("late_result_adopted",),
    ("POST", f"{WORK}{TASK}/cancel"): ("task_cancelled",),
    ("POST", f"{OP}/questions/{{key}}/withdraw"): ("question_withdrawn", "task_cancelled"),
    ("POST", f"{SENIOR}/questions/{{key}}/answer"): ("question_answered",),
    **{
        ("POST", f"{door}/questions/{{key}}/{call}"): (action,)
        for door in (OP, WORK)
        for call, action in (("consume", "approval_consumed"), ("outcome", "approval_outcome"))
    },
    ("POST", f"{SENIOR}/questions/{{key}}/escalate"): ("question_escalated",),
    ("POST", f"{SENIOR}/questions/{{key}}/links"): ("link_created", "link_renewed"),
    ("DELETE", f"{SENIOR}/questions/{{key}}/links/{{link_id}}"): ("link_revoked",),
    ("POST", "/v1/links/answer"): ("question_answered",),
    ("POST", f"{SENIOR}{TASK}/verdict"): VERDICTS[2:],
    ("POST", f"{SENIOR}{TASK}/directive"): ("directive_injected",),
    ("POST", f"{SENIOR}/loop/pause"): ("loop_paused",),
    ("POST", f"{SENIOR}/loop/resume"): ("loop_resumed",),
    ("POST", f"{ADMIN}/keys"): ("key_created", "key_renewed"),
    ("DELETE", f"{ADMIN}/keys/{{key_id}}"): ("key_revoked",),
    ("DELETE", f"{ADMIN}/ids/{{id:path}}"): ("id_released",),
    ("POST", f"{ADMIN}/loop/pause"): ("loop_paused",),
    ("POST", f"{ADMIN}/loop/resume"): ("loop_resumed",),
    ("POST", f"{ADMIN}/audit/commands"): ("audit_exported", "backup_made", "signing_key_rotated"),
    ("POST", f"{ADMIN}/skills"): ("skill_created",),
    ("DELETE", f"{ADMIN}/skills/{{skill_id}}"): ("skill_deleted",),
    ("POST", f"{ADMIN}/webhooks"): ("webhook_created",),
    ("DELETE", f"{ADMIN}/webhooks/{{webhook_id}}"): ("webhook_deleted",),
    ("POST", f"{ADMIN}/webhooks/{{webhook_id}}/replay"): ("webhook_replayed",),
    ("POST", f"{ADMIN}/webhooks/{{webhook_id}}/rotate"): ("webhook_rotated",),
    ("POST", f"{ADMIN}/webhooks/{{webhook_id}}/pause"): ("webhook_paused",),
    ("POST", f"{ADMIN}/webhooks/{{webhook_id}}/resume"): ("webhook_resumed",),
}
"""The actions whose rows a route leaves."""

ORDINARY = {
    ("POST", f"{OP}/tasks"),
    ("POST", f"{OP}{TASK}/dispatch"),
    ("POST", f"{OP}{TASK}/result"),
    ("POST", f"{OP}{TASK}/questions"),
    ("POST", f"{OP}/questions"),
    ("POST", f"{OP}/session/heartbeat"),
    ("POST", f"{OP}/tokens/verify"),
    ("POST", f"{SENIOR}/questions/{{key}}/claim"),
    ("DELETE", f"{SENIOR}/questions/{{key}}/claim"),
    ("POST", "/v1/links/open"),
    ("POST", f"{WORK}/tasks"),
    ("POST", f"{WORK}{TASK}/dispatch"),
    *(("POST", f"{WORK}/{call}") for call in ("submit", "result", "output", "heartbeat", "questions", "claim")),
}
"""Routes of work itself, which is on the event feed: they begin, go on with and end it, ask, and
say who is on a question; and reading what a link shows."""


def test_every_route_that_changes_something_is_accounted_for() -> None:
    """A new one is added to either table."""
    changing = {
        (method, str(getattr(route, "path", "")))
        for route in [*all_routes(), *aap_routes()]
        for method in getattr(route, "methods", None) or ()
        if method not in ("GET", "HEAD", "OPTIONS")
    }
    assert changing == DECIDING.keys() | ORDINARY
    assert not DECIDING.keys() & ORDINARY


def test_every_action_of_a_route_is_in_the_table_of_decisions() -> None:
    """The table's test says which row each of them leaves."""
    assert {action for actions in DECIDING.values() for action in actions} <= DECISIONS.keys()
