"""The scenarios that are run, and the checks of them that fail, each with its reason.

`tasks-status-notifications` is not run: in this version of the program it checks nothing.
"""

LATEST, BEFORE = "2026-07-28", "2025-11-25"
Scenario = tuple[str, str]
"""The name of a scenario and the revision of the protocol."""

QUICK: list[Scenario] = [
    *((name, LATEST) for name in ("server-stateless", "sep-2164-resource-not-found", "caching")),
    *((name, LATEST) for name in ("dns-rebinding-protection", "http-header-validation")),
    *((name, revision) for revision in (LATEST, BEFORE) for name in ("tools-list", "resources-list", "prompts-list")),
    *((name, BEFORE) for name in ("server-initialize", "ping")),
]
"""Scenarios of single requests."""

TASKS: list[Scenario] = [
    (f"tasks-{name}", LATEST)
    for name in (
        "lifecycle",
        "capability-negotiation",
        "wire-fields",
        "request-state-removal",
        "mrtr-input",
        "request-headers",
        "dispatch-and-envelope",
        "required-task-error",
        "mrtr-composition",
    )
]
"""Scenarios that call skills, follow their tasks, and give a worker and a person a few seconds each."""

_DIAGNOSTIC = "It calls a diagnostic tool of the program's own reference server, which no server of work would offer."
_DEMANDING = "It needs a tool that refuses clients without an extension. Tools here serve every client: the call waits."

EXPECTED: dict[Scenario, dict[str, str]] = {
    ("server-stateless", LATEST): {
        "sep-2575-server-rejects-undeclared-capability": _DIAGNOSTIC,
        "sep-2575-missing-capability-http-400": _DIAGNOSTIC,
        "sep-2575-http-server-no-independent-requests-on-stream": _DIAGNOSTIC,
        "sep-2575-server-no-log-without-loglevel": _DIAGNOSTIC,
    },
    ("tasks-required-task-error", LATEST): {"sep-2663-server-returns-missing-capability-when-required": _DEMANDING},
    ("tasks-mrtr-composition", LATEST): {"sep-2663-mrtr-synchronous-before-task-creation": _DIAGNOSTIC},
}
