"""The shape of the source: small modules, small functions, names that say what a thing is."""

import ast

from tests.support.sources import code_lines, modules

APP = modules("app")

LONGEST_MODULE = 500
LONGEST_FUNCTION = 60

# A module or class with such a name is a place for whatever had no place.
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "manager", "managers", "misc", "common", "impl"}


def _words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    spaced = "".join(f"_{sign}" if sign.isupper() else sign for sign in name)
    return set(spaced.lower().split("_"))


def test_a_module_is_one_thing() -> None:
    """A module that passes 500 lines holds a second noun."""
    lengths = {module.name: len(module.text.splitlines()) for module in APP}

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_functions_are_one_thought() -> None:
    """No function passes 60 lines, its docstring left out."""
    lengths = {
        f"{module.name}:{function.lineno} {function.name}": code_lines(function)
        for module in APP
        for function in module.functions()
    }

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_a_module_says_what_it_is_for() -> None:
    """Every module begins with a docstring."""
    assert [module.name for module in APP if not (ast.get_docstring(module.tree) or "").strip()] == []


def test_names_say_something() -> None:
    """No package, module or class is named after nothing in particular."""
    named = [
        (module.name, name)
        for module in APP + modules("tests")
        for name in (module.path.stem, module.path.parent.name, *(declared.name for declared in module.classes()))
    ]

    assert [(where, name) for where, name in named if _words(name) & EMPTY_WORDS] == []


def test_tasks_are_owned() -> None:
    """A coroutine that is started is kept: `create_task` as a statement of its own forgets it."""
    started = [
        (f"{module.name}:{node.lineno}", node.value.func)
        for module in APP
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
