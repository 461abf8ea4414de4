"""Names of xvar in messages, docstrings and pages: each is there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# xvar.name, also of several parts; not the end of a longer word, of a path, a file or an address.
NAME = re.compile(r"(?<![\w./:-])xvar(?:\.[A-Za-z_]\w*)+")
FILES = {"nc", "zarr", "toml", "log", "png", "md", "py", "yaml"}
# Parts of a page that import what they name: imports, directives and roles of Sphinx.
IMPORTED = re.compile(r"(?m)^ *(?:from|import) xvar.*$|```\{eval-rst\}.*?```|\{py:\w+\}`[^`]*`", re.DOTALL)
RESOLVE = """
import json, pkgutil, sys, types
import xvar

shown = dir(xvar)

def after_import(name):
    found = xvar
    for part in name.split(".")[1:]:
        package, found = found, getattr(found, part)
        # Modules that other names have imported are attributes, too: only those that their package lists are public.
        if isinstance(found, types.ModuleType) and part not in (shown if package is xvar else package.__all__):
            raise AttributeError(part)

public, importable = json.load(sys.stdin)
missing = []
for names, resolve in ((public, after_import), (importable, pkgutil.resolve_name)):
    for name in names:
        try:
            resolve(name)
        except (AttributeError, ImportError):
            missing.append(name)
print(json.dumps(missing))
"""


def names(text: str) -> Iterator[str]:
    """Return the dotted names of xvar in a text."""
    for match in NAME.finditer(text):
        if match.group().rpartition(".")[2] not in FILES:
            yield match.group()


def strings(source: str) -> tuple[str, str]:
    """Return the messages of a module and its docstrings, without strings that are one name: modules to import."""
    messages, docstrings = [], []
    tree = ast.parse(source)
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and not re.fullmatch(r"xvar[\w.:]*", node.value)
        ):
            (docstrings if id(node) in statements else messages).append(node.value)
    return "\n".join(messages), "\n".join(docstrings)


def prose(page: str) -> tuple[str, str]:
    """Return a page without the parts that import what they name, and these parts."""
    return IMPORTED.sub("", page), "\n".join(match.group() for match in IMPORTED.finditer(page))


def recommended() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return the public names and those that are imported where they stand, each with the files that have it."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found: tuple[dict[str, set[str]], dict[str, set[str]]] = ({}, {})
    for path in (*sorted((ROOT / "xvar").rglob("*.py")), *pages):
        text = path.read_text(encoding="utf-8")
        for part, known in zip(strings(text) if path.suffix == ".py" else prose(text), found, strict=True):
            for name in names(part):
                known.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def unresolved(public: list[str], importable: list[str]) -> list[str]:
    """Return the names that a fresh interpreter does not find after ``import xvar``, or by importing their modules."""
    command = [sys.executable, "-c", RESOLVE]
    given = json.dumps((public, importable))
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    missing: list[str] = json.loads(done.stdout)
    return missing


def test_every_name_resolves() -> None:
    public, importable = recommended()
    assert min(len(public), len(importable)) > 20
    missing = unresolved(sorted(public), sorted(importable))
    assert {name: sorted(public.get(name, set()) | importable.get(name, set())) for name in missing} == {}


def test_a_name_that_is_not_there_is_found() -> None:
    public, importable = (
        ["xvar.run", "xvar.core.grid", "xvar.plot.page"],
        ["xvar.core.grid.Grid", "xvar.core.attic.Grid"],
    )
    assert unresolved(public, importable) == ["xvar.core.grid", "xvar.plot.page", "xvar.core.attic.Grid"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("xvar.minimize.LBFGS(), `xvar.run`.", ["xvar.minimize.LBFGS", "xvar.run"]),
        ("xvar.nc, /tmp/xvar.run, a.xvar.b and my-xvar.run", []),
    ],
)
def test_names_are_distinguished_from_files_and_paths(text: str, found: list[str]) -> None:
    assert list(names(text)) == found
