"""The repository's own files, as the tests of its rules read them."""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]

MADE = {".git", "__pycache__", "node_modules"}
MADE |= {".pytest_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"}
MADE_AT_THE_TOP = {ROOT / name for name in (".venv", "build", "data", "dist", "htmlcov")}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One Python file, parsed when first asked."""

    path: Path

    @property
    def name(self) -> str:
        """Its path from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """Its source."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, filename=str(self.path))

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def classes(self) -> Iterator[ast.ClassDef]:
        """Every class, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))


@cache
def modules(folder: str) -> tuple[Module, ...]:
    """Every Python file under a folder of the repository, in order of path; parsed once however many tests ask."""
    return tuple(Module(path) for path in sorted((ROOT / folder).rglob("*.py")))


def code_lines(function: Function) -> int:
    """How many lines a function takes without its decorators and its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def repository_texts() -> Iterator[tuple[str, str]]:
    """The path and the text of every text file of the repository, whatever tools made beside them left out."""
    for folder, subfolders, files in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in MADE and Path(folder, name) not in MADE_AT_THE_TOP]
        for name in set(files) - MADE:
            path = Path(folder, name)
            try:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture or a font
