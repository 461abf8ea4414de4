"""Rows of a table of observations at points: values, dates, errors and variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Faults

if TYPE_CHECKING:
    from xvar.plan.experiment.table import Points

Array = NDArray[Any]


def is_table(data: Any) -> TypeGuard[xr.Dataset]:
    """Return whether data are a table of points: a Dataset with a 1-D ``value``."""
    return isinstance(data, xr.Dataset) and "value" in data and data["value"].ndim == 1


def read_rows(points: Points, names: Sequence[str], faults: Faults) -> dict[str, Array] | None:
    """Return the columns (point,) of a table of observations of some variables; None if a fault was added.

    They are ``date``, ``value``, ``std`` and ``variable``, the number of the observed variable in `names`, zero if an
    operator makes what is observed.
    """
    before, dataset = len(faults), points.dataset
    if not is_table(dataset):
        held = "none" if dataset is None else ", ".join(map(str, getattr(dataset, "variables", [dataset])))
        faults.add(
            code="points-not-a-table",
            found=f"points with the variables {held or 'none'}",
            expected="value, std, variable, time and the coordinates of the grid along one dimension",
            fix="observation=xvar.observation.Points(table)",
        )
        return None
    value = np.asarray(dataset["value"].values, dtype="float64")
    date = read_dates(dataset, faults)
    own = getattr(points.error, "std", points.error)
    stated = dataset["std"].values if "std" in dataset else np.nan if own is None else own
    if points.correlation and "std" in dataset:
        faults.add(
            code="observation-error-twice",
            variable="std",
            found=f"a variable std of points beside error={type(points.error).__name__}(...)",
            expected="the standard deviation of the covariance",
            fix="points.drop_vars('std')",
        )
    std = np.broadcast_to(np.asarray(stated, dtype="float64"), value.size).copy()
    wrong = np.isfinite(value) & ~(std > 0)
    if wrong.any():
        faults.add(
            code="points-std-not-positive",
            variable="std",
            index=int(np.flatnonzero(wrong)[0]),
            found=f"{int(wrong.sum())} points with a value and no positive standard deviation",
            expected="that of the error of observation, in the units of the value",
            fix="a variable std of the points, or Points(points, error=0.02)",
        )
    variable = np.zeros(value.size, dtype="int64")
    if points.operator is None:
        variable = _observed(points, dataset, names, faults)
    if len(faults) > before or date is None:
        return None
    return {"date": date, "value": value, "std": std, "variable": variable}


def _observed(points: Points, dataset: xr.Dataset, names: Sequence[str], faults: Faults) -> Array:
    """Return the number of the observed variable in `names` of each point; report those that are none."""
    only = names[0] if len(names) == 1 else None
    own = dataset["variable"].values if "variable" in dataset else points.variable or only
    words = np.broadcast_to(np.asarray("" if own is None else own).astype(str), dataset["value"].size).tolist()
    unknown = [index for index, word in enumerate(words) if word not in names]
    expected = f"a variable of the state: {', '.join(map(repr, names))}"
    if own is None:
        faults.add(
            code="points-without-variable",
            found="points that do not name the observed variable",
            expected=expected,
            fix=f"Points(points, variable={names[0]!r}), or a variable of the points named variable",
        )
    elif unknown:
        faults.add(
            code="observed-variable-unknown",
            variable="variable",
            index=unknown[0],
            found=f"observations of {', '.join(map(repr, sorted({words[index] for index in unknown})))}",
            expected=expected,
            fix=f"rename them to {names[0]!r}, or leave them out",
        )
    return np.array([names.index(word) if word in names else 0 for word in words], dtype="int64")


def read_dates(dataset: xr.Dataset, faults: Faults) -> Array | None:
    """Return the date of each point; None if there is none."""
    time = dataset.variables.get("time")
    if time is None or time.dtype.kind != "M" or time.dims != dataset["value"].dims:
        faults.add(
            code="points-without-date",
            variable="time",
            found="no date of each point",
            expected="time, datetime64, along the dimension of value",
            fix="points.assign_coords(time=(dim, dates))",
        )
        return None
    return np.asarray(time.values)
