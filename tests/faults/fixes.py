"""Follow the fix of a fault: run its line, or state its options."""

from __future__ import annotations

import ast
import builtins
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy
import pandas
import xarray
import xarray as xr

import xvar
from xvar.plan.options import OPTIONS

_BEGIN = re.compile(r"(?:^|, |: )(?=ds\b|xarray\.|[a-z_]+=(?!=))")
#: Options that a fix may state.
NAMES = {*OPTIONS, "thresholds", "scale", "lead", "every", "without", "members", "kind"}
#: Names that a line may use.
SCOPE = {"ds", "xarray", "pandas", "numpy", "xvar", *dir(builtins)}
#: Points of a record beyond which a call takes too long for a test.
MOST = 200_000


def alternatives(fix: str) -> Iterator[list[str]]:
    """Yield the lines of code of each alternative of a fix: ``A; B, or C`` is A and B, or C."""
    for part in re.split(r", or (?:a coarser one, )?", fix):
        found = [line for clause in part.split("; ") if (line := _code(clause))]
        if found:
            yield found


def _code(clause: str) -> str | None:
    """Return the line of code at the beginning of a clause, or after prose and a comma."""
    match = _BEGIN.search(clause)
    words = clause[match.end() :].split(" ") if match else []
    for end in range(len(words), 0, -1):
        line = " ".join(words[:end]).rstrip(",:")
        if "..." in line:
            continue
        try:
            tree = ast.parse(_as_call(line) if _states_options(line) else line)
        except SyntaxError:
            continue
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        if not {node.id for node in names} <= SCOPE | made:  # an object of the user's, such as images
            return None
        # Arguments of other calls, such as std= of a covariance, are stated where that call is.
        other = re.match(r"[a-z_]+=(?!=)", line) and not _states_options(line)
        return line if any(sign in line for sign in "=(") and not other else None
    return None


def _states_options(line: str) -> bool:
    return line.partition("=")[0] in NAMES


def _as_call(line: str) -> str:
    return f"dict({line})"


def follow(lines: list[str], data: xr.Dataset, options: dict[str, Any]) -> tuple[xr.Dataset, dict[str, Any]] | None:
    """Return the data and the options after the lines; None if the data are too large for a test."""
    if _points(data) > MOST:
        return None
    scope: dict[str, Any] = {"ds": data.copy(), "xarray": xarray, "pandas": pandas, "numpy": numpy, "xvar": xvar}
    for line in lines:
        if _states_options(line):
            options = {**options, **eval(_as_call(line), scope)}
        elif isinstance(ast.parse(line).body[0], ast.Assign):
            exec(line, scope)
        else:
            found = eval(line, scope)
            if isinstance(found, xr.Dataset):
                scope["ds"] = found
    return scope["ds"], options


def _points(data: xr.Dataset) -> int:
    return max((math.prod(variable.shape) for variable in data.data_vars.values()), default=0)
