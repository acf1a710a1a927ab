"""How the tests themselves are written."""

import ast
from collections.abc import Iterator

from tests.support.sources import Module, modules

# The one place that pauses, under a deadline.
WAITING = "tests/support/waiting.py"

TESTS = modules("tests")


def _pauses(module: Module) -> Iterator[int]:
    """The lines that pause for a fixed time, or borrow the name to do so."""
    for node in ast.walk(module.tree):
        borrows = isinstance(node, ast.ImportFrom) and any(alias.name == "sleep" for alias in node.names)
        if isinstance(node, ast.ImportFrom | ast.Call) and (borrows or _is_a_pause(node)):
            yield node.lineno


def _is_a_pause(call: ast.AST) -> bool:
    """Whether a call pauses; `asyncio.sleep(0)` only lets others run and does not."""
    if not isinstance(call, ast.Call):
        return False
    name = ast.unparse(call.func)
    if name == "time.sleep":
        return True
    if name not in {"asyncio.sleep", "anyio.sleep"} or not call.args:
        return False
    length = call.args[0]
    return isinstance(length, ast.Constant) and bool(length.value)


def _imports(module: Module) -> Iterator[str]:
    """The dotted names of what a module imports."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_test_sleeps() -> None:
    """A test waits for what it needs under a deadline, never for a while."""
    pauses = [f"{module.name}:{line}" for module in TESTS if module.name != WAITING for line in _pauses(module)]

    assert pauses == []


def test_nothing_is_imitated_by_a_mock() -> None:
    """A test that replaces the code it tests says nothing about it."""
    imported = [(module.name, name) for module in TESTS for name in _imports(module)]

    assert [(where, name) for where, name in imported if "mock" in name.split(".")] == []
