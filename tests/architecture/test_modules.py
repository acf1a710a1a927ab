"""The shape of the source: small modules, small functions, names that say what a thing is."""

import ast
from statistics import median

import pytest

from tests.support.sources import Module, code_lines, modules

APP = modules("app")
CLIENT = modules("clients")
SOURCES = APP + CLIENT

LONGEST_MODULE = 500
LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = 7
LONG_FUNCTION = 35

# A module or class with such a name is a place for whatever had no place.
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "manager", "managers", "misc", "common", "impl"}


def _words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    spaced = "".join(f"_{sign}" if sign.isupper() else sign for sign in name)
    return set(spaced.lower().split("_"))


def _function_lengths(sources: tuple[Module, ...]) -> dict[str, int]:
    """How many lines each function has, its docstring left out."""
    return {
        f"{module.name}:{function.lineno} {function.name}": code_lines(function)
        for module in sources
        for function in module.functions()
    }


def test_a_module_is_one_thing() -> None:
    """A module that reaches 500 lines holds a second noun."""
    lengths = {module.name: len(module.text.splitlines()) for module in SOURCES}

    assert {name: lines for name, lines in lengths.items() if lines >= LONGEST_MODULE} == {}


def test_functions_are_one_thought() -> None:
    """No function passes 60 lines."""
    lengths = _function_lengths(SOURCES)

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("sources", [APP, CLIENT], ids=["app", "client"])
def test_most_functions_are_short(sources: tuple[Module, ...]) -> None:
    """Half of them have at most 7 lines, and of twenty at most one has more than 35."""
    lengths = sorted(_function_lengths(sources).values())

    assert median(lengths) <= MEDIAN_FUNCTION
    assert lengths[len(lengths) * 95 // 100] <= LONG_FUNCTION


def test_a_module_says_what_it_is_for() -> None:
    """Every module begins with a docstring."""
    assert [module.name for module in SOURCES if not (ast.get_docstring(module.tree) or "").strip()] == []


def test_names_say_something() -> None:
    """No package, module or class is named after nothing in particular."""
    named = [
        (module.name, name)
        for module in SOURCES + modules("tests")
        for name in (module.path.stem, module.path.parent.name, *(declared.name for declared in module.classes()))
    ]

    assert [(where, name) for where, name in named if _words(name) & EMPTY_WORDS] == []


def test_tasks_are_owned() -> None:
    """A coroutine that is started is kept: `create_task` as a statement of its own forgets it."""
    started = [
        (f"{module.name}:{node.lineno}", node.value.func)
        for module in SOURCES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in {"create_task", "ensure_future"}
    ]

    assert [where for where, called in started if not _is_of_a_group(called.value)] == []


def _is_of_a_group(owner: ast.expr) -> bool:
    """Whether the owner of a call is a task group, which keeps what it starts."""
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return "group" in name or name in {"tasks", "_tasks"}


def _acts_after_a_log_line(handler: ast.ExceptHandler) -> bool:
    """Whether a statement behind a log call of this handler calls or awaits something."""
    logged = False
    for statement in handler.body:
        if logged and any(isinstance(node, ast.Call | ast.Await) for node in ast.walk(statement)):
            return True
        value = statement.value if isinstance(statement, ast.Expr) else None
        called = value.func if isinstance(value, ast.Call) else None
        logged = logged or (isinstance(called, ast.Attribute) and ast.unparse(called.value).endswith("_log"))
    return False


def test_errors_are_handled_before_they_are_logged() -> None:
    """A handler logs last, so that nothing is left undone if the line cannot be written."""
    found = {
        f"{module.name}:{node.lineno}"
        for module in APP
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and _acts_after_a_log_line(node)
    }

    assert found == set()
