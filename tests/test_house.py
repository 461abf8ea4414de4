"""The floors of the house: a module imports from its own floor or from below, whether at its top or inside a function.

The picture with the reasons is in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "xvar"

# Higher floors see lower ones. A new file of xvar/ gets its place here; what lies in a folder has the folder's.
FLOOR = {
    "accessor": 3,
    "cli": 3,
    "plot": 3,
    "view": 3,
    "analysis": 2,
    "assimilation": 2,
    "background": 2,
    "batch_sizes": 2,
    "batches": 2,
    "check": 2,
    "classic": 2,
    "configuration": 2,
    "control": 2,
    "covariance": 2,
    "datasets": 2,
    "devices": 2,
    "dynamics": 2,
    "exchange": 2,
    "execution": 2,
    "forecast": 2,
    "geographic": 2,
    "graph": 2,
    "guard": 2,
    "minimize": 2,
    "observation": 2,
    "composite": 2,
    "odim": 2,
    "options": 2,
    "penalty": 2,
    "plan": 2,
    "radar": 2,
    "remote": 2,
    "runs": 2,
    "series": 2,
    "store": 2,
    "summary": 2,
    "untrusted": 2,
    "verify": 2,
    "versions": 2,
    "windows": 2,
    "workers": 2,
    "bridge": 1,
    "core": 0,
    "cf": 0,
}
# Anyone may import these.
FREE = {"errors"}
# These stand above all floors: `import xvar` shows the whole house, `python -m xvar` runs it.
ROOF = {"", "__main__"}
# Two rooms on one floor with a wall between them: only the bridge sees both.
WALLED = {"core", "cf"}

STANDARD_LIBRARY = sys.stdlib_module_names


def place(module: str) -> str:
    """Name of the room of a module: xvar.core.grid is in core, xvar itself in the one without a name."""
    return module.removeprefix("xvar").lstrip(".").partition(".")[0]


def modules(package: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of whatever is imported, at any depth; names taken from xvar itself are kept: xvar.NAME."""
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
    """One line for each import that goes up or through a wall, and for each module without a place."""
    broken = []
    for module, path in modules(package).items():
        room = place(module)
        if room in ROOF:
            continue
        if room not in FLOOR and room not in FREE:
            broken.append(f"{module}: no floor; give {room!r} one in tests/test_house.py")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for line, target in imports(tree, module, is_package=path.name == "__init__.py"):
            reason = refusal(room, target)
            if reason:
                broken.append(f"{path.relative_to(package.parent)}:{line}: {target}: {reason}")
    return broken


def refusal(room: str, target: str) -> str | None:
    """Why a module of this room may not import the target."""
    top = target.partition(".")[0]
    if top != "xvar":
        if room == "core" and top != "torch" and top not in STANDARD_LIBRARY:
            return "core imports torch and the standard library only"
        if room == "cf" and top == "torch":
            return "cf works on arrays, never on tensors"
        if room in FREE and top not in STANDARD_LIBRARY:
            return "free ground imports the standard library only"
        return None
    other = place(target)
    if other in FREE or other in ROOF or other.startswith("__"):
        return None
    if room in FREE:
        return "free ground imports nothing of xvar"
    if other not in FLOOR:
        # A name that xvar/__init__.py shows: from below it would be a way up in disguise.
        return None if FLOOR[room] == max(FLOOR.values()) else "import it from the module that defines it"
    if FLOOR[other] > FLOOR[room]:
        return f"{room} is on a lower floor than {other}"
    if other != room and {room, other} <= WALLED:
        return f"there is a wall between {room} and {other}"
    return None


def test_every_import_goes_down() -> None:
    assert broken_rules(PACKAGE) == []


def test_the_parser_finds_the_modules() -> None:
    found = modules(PACKAGE)
    assert found["xvar.errors"] == PACKAGE / "errors.py"
    assert any(place(module) == "core" for module in found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("core/grid.py", "import numpy"),
        ("core/grid.py", "def grid():\n    import xarray as xr"),
        ("core/grid.py", "from xvar.cf import units"),
        ("core/grid.py", "from xvar.bridge import tensors"),
        ("core/grid.py", "from ..bridge import tensors"),
        ("core/__init__.py", "from ..windows import schedule"),
        ("core/minimize/search.py", "from ...cf import units"),
        ("core/grid.py", "from xvar import verify"),
        ("core/grid.py", "from xvar import assimilate"),
        ("core/grid.py", "import importlib\nimportlib.import_module('xvar.store')"),
        ("cf/units.py", "import torch.nn"),
        ("cf/units.py", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("cf/units.py", "from xvar.core.grid import Grid"),
        ("bridge.py", "from xvar.assimilation import assimilate"),
        ("windows.py", "from xvar import accessor"),
        ("forecast.py", "import xvar.cli"),
        ("errors.py", "import numpy"),
        ("errors.py", "from xvar.cf import units"),
        ("attic.py", ""),
        ("attic/trunk.py", ""),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, file: str, source: str) -> None:
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
        ("bridge.py", "import torch\nimport xarray\nfrom xvar.core import solve\nfrom xvar.cf.grid import spacing"),
        ("assimilation.py", "from xvar.windows import schedule\nfrom xvar import bridge"),
        ("cli.py", "from xvar import assimilate\nimport xvar"),
        ("__init__.py", "from xvar.accessor import Accessor"),
    ],
)
def test_a_kept_rule_is_not(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / "xvar" / file
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert broken_rules(tmp_path / "xvar") == []
