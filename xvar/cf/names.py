"""Names of the output, and parts of the input that have one of them."""

from __future__ import annotations

import xarray as xr

from xvar.cf.axes import Axes
from xvar.cf.metadata import NAMES, NAMES_OF_FIELDS
from xvar.errors import Faults

#: Dimensions of an analysis, a forecast and scores, beside those of the grid.
DIMENSIONS = ("window", "step", "interval", "stage", "lead_time", "threshold")


def without_clash(
    array: xr.DataArray, axes: Axes, faults: Faults, notes: list[str], *, own_model: bool = False
) -> xr.DataArray:
    """Return a variable (time, y, x) whose coordinates have names that the output leaves free; `notes` receives others.

    A decoder of GRIB adds a scalar ``step`` to each field, and ``step`` is a dimension of an analysis: it becomes
    ``step_of_input``. The variable and the dimensions of the grid are named in calls: a clash of these is a fault. A
    state of the user's own model may have a ``u``.
    """
    taken = {*DIMENSIONS, *NAMES}
    for dim in (axes.y, axes.x):
        if dim in DIMENSIONS:
            faults.add(
                code="name-taken",
                variable=array.name,
                dimension=dim,
                found=f"a dimension of the grid with the name {str(dim)!r}",
                expected=f"a name that no dimension of the output has: {', '.join(DIMENSIONS)}",
                fix=f'rename it, ds.rename({{"{dim}": "{"y" if dim == axes.y else "x"}"}})',
            )
    if str(array.name) in (taken if own_model else taken | NAMES_OF_FIELDS):
        faults.add(
            code="name-taken",
            variable=array.name,
            found=f"a variable with the name {str(array.name)!r}, which is one of the output's own",
            expected="another name: the analysis keeps it",
            fix=f'rename it, ds.rename({{"{array.name}": "image"}})',
        )
    clashing = {
        name: f"{name}_of_input"
        for name, part in array.coords.items()
        if name not in array.dims and axes.time not in part.dims and str(name) in taken | NAMES_OF_FIELDS
    }
    if not clashing:
        return array
    words = ", ".join(f"{str(name)!r} as {new!r}" for name, new in clashing.items())
    notes.append(f"coordinates that are also names of the output: {words}")
    return array.rename(clashing)
