"""Imports between packages: what each package of xvar may import, read from every import, also inside functions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "xvar"

# From the bottom up. A package imports from itself and from those that its row names; "*" stands for all rows above it.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "core": ("errors",),
    "cf": ("errors",),
    "quality": ("cf", "errors"),
    "io": ("cf", "quality", "errors"),
    "execution": ("errors",),
    "plan": ("core", "cf", "quality", "execution", "errors"),
    # The names under which users find what is in core.
    "background": ("plan",),
    "control": ("core",),
    "covariance": ("core", "errors"),
    "dynamics": ("core",),
    "minimize": ("core",),
    "observation": ("core", "plan"),
    "penalty": ("core",),
    "datasets": ("core", "cf", "quality", "execution", "plan", "errors"),
    "assimilation": ("*",),
    "analysis": ("*",),
    "runs": ("*",),
    "check": ("*",),
    "learning": ("*",),
    "plot": ("*",),
    "service": ("*",),
    "accessor": ("*",),
    "cli": ("*",),
}
# What the libraries belong to: other packages of xvar do not import them.
LIBRARIES = {
    "core": {"torch"},
    "execution": {"torch", "numpy", "dask", "distributed", "cloudpickle"},
    "errors": set[str](),
}
# Modules that share the memory of tensors with other libraries.
BESIDE_TORCH = {
    "xvar.core.covariance.transform": {"scipy"},
    "xvar.core.finite": {"numpy"},
    "xvar.core.paths": {"numba"},
    "xvar.core.paths.kernel": {"numba", "numpy"},
    "xvar.core.paths.pairs": {"llvmlite", "numba"},
}
WITHOUT_TORCH = {"cf", "quality", "io"}
# `import xvar` shows all public names, `python -m xvar` runs the shell's commands.
TOP = {"", "__main__"}

STANDARD_LIBRARY = sys.stdlib_module_names


def package_of(module: str) -> str:
    """Name of the package of a module: xvar.core.grid is in core, xvar itself in the one without a name."""
    return module.removeprefix("xvar").lstrip(".").partition(".")[0]


def modules(package: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of each import, at any depth; names taken from xvar itself are kept: xvar.NAME."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = module.split(".")
                kept = kept[: len(kept) - node.level + is_package]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"xvar.{alias.name}" if base == "xvar" else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called.rpartition(".")[2] in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def broken_rules(package: Path) -> list[str]:
    """One line for each import that is not allowed, and for each module that has no row."""
    broken = []
    for module, path in modules(package).items():
        own = package_of(module)
        if own in TOP:
            continue
        if own not in ALLOWED:
            broken.append(f"{module}: no row; give {own!r} one in tests/test_architecture.py")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for line, target in imports(tree, module, is_package=path.name == "__init__.py"):
            reason = None if target.partition(".")[0] in BESIDE_TORCH.get(module, ()) else refusal(own, target)
            if reason:
                broken.append(f"{path.relative_to(package.parent)}:{line}: {target}: {reason}")
    return broken


def refusal(own: str, target: str) -> str | None:
    """Why a module of this package may not import the target; None where it may."""
    top = target.partition(".")[0]
    if top != "xvar":
        known = LIBRARIES.get(own)
        if known is not None and top not in known and top not in STANDARD_LIBRARY:
            return f"{own} imports {', '.join(sorted(known)) or 'nothing'} and the standard library only"
        if own in WITHOUT_TORCH and top == "torch":
            return "torch belongs to core"
        return None
    other = package_of(target)
    if other in TOP or other in {own, "__version__"}:
        return None
    if other not in ALLOWED:  # a name that xvar/__init__.py shows
        return None if own in {"accessor", "cli"} else "import it from the module that defines it"
    rows = ALLOWED[own]
    above = list(ALLOWED).index(own)
    if other in rows or ("*" in rows and list(ALLOWED).index(other) < above):
        return None
    return f"{own} may import {', '.join(rows) or 'nothing'} of xvar"


def circles(package: Path) -> list[tuple[str, str]]:
    """Pairs of packages that import each other."""
    edges = set()
    for module, path in modules(package).items():
        own = package_of(module)
        for _, target in imports(ast.parse(path.read_text(encoding="utf-8")), module, is_package=False):
            if target.partition(".")[0] == "xvar" and package_of(target) not in {*TOP, own}:
                edges.add((own, package_of(target)))
    return sorted((a, b) for a, b in edges if (b, a) in edges and a < b and "" not in (a, b))


def test_every_import_is_allowed() -> None:
    assert broken_rules(PACKAGE) == []


def test_no_two_packages_import_each_other() -> None:
    assert circles(PACKAGE) == []


def test_only_public_names_lie_at_the_top() -> None:
    import xvar

    public = {*xvar.__all__, "accessor", "assimilation", "errors"}
    top = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert top <= public


def test_the_parser_finds_the_modules() -> None:
    found = modules(PACKAGE)
    assert found["xvar.errors"] == PACKAGE / "errors.py"
    assert any(package_of(module) == "core" for module in found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("core/grid.py", "import numpy"),
        ("core/grid.py", "def grid():\n    import xarray as xr"),
        ("core/grid.py", "from xvar.cf import units"),
        ("core/grid.py", "from ..plan import tensors"),
        ("core/minimize/search.py", "from ...cf import units"),
        ("core/grid.py", "from xvar import verify"),
        ("core/grid.py", "import importlib\nimportlib.import_module('xvar.io')"),
        ("cf/units.py", "import torch.nn"),
        ("cf/units.py", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("cf/units.py", "from xvar.core.grid import Grid"),
        ("cf/units.py", "from xvar.quality import rules"),
        ("execution/batches.py", "import xarray"),
        ("execution/batches.py", "from xvar.cf import times"),
        ("plan/options.py", "from xvar.check import covariance"),
        ("analysis/forecast.py", "import xvar.cli"),
        ("runs/run.py", "from xvar.check import record"),
        ("errors.py", "import numpy"),
        ("errors.py", "from xvar.cf import units"),
        ("attic.py", ""),
        ("attic/trunk.py", ""),
    ],
)
def test_an_import_that_is_not_allowed_is_found(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / "xvar" / file
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert len(broken_rules(tmp_path / "xvar")) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("core/grid.py", "import math\nimport torch.nn.functional\nfrom xvar.errors import InputError"),
        ("core/solve.py", "from xvar.core.grid import Grid\nfrom .grid import Grid"),
        ("cf/units.py", "import numpy\nimport xarray\nfrom xvar.cf.axes import axes\nfrom xvar import __version__"),
        (
            "plan/bridge.py",
            "import torch\nimport xarray\nfrom xvar.core import solve\nfrom xvar.cf.grid import spacing",
        ),
        ("assimilation.py", "from xvar.execution import schedule\nfrom xvar.plan import bridge"),
        ("cli/__init__.py", "from xvar import assimilate\nimport xvar"),
        ("check/record.py", "from xvar.assimilation import assimilate\nfrom xvar.runs import run"),
        ("__init__.py", "from xvar.accessor import Accessor"),
    ],
)
def test_an_allowed_import_is_not(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / "xvar" / file
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert broken_rules(tmp_path / "xvar") == []
