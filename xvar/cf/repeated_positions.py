"""Latitude and longitude that a file repeats for every frame, as WRF does."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, in_memory, is_number
from xvar.errors import Faults


def positions_of_one_frame(array: xr.DataArray, axes: Axes, faults: Faults) -> xr.DataArray:
    """Return a variable whose positions (time, y, x), the same at each time, are (y, x).

    Positions that move, as those of a nest that follows a storm, are a fault.
    """
    for name, coordinate in array.coords.items():
        if set(coordinate.dims) != {axes.time, axes.y, axes.x} or not is_number(coordinate):
            continue
        values = in_memory(coordinate.transpose(axes.time, axes.y, axes.x))
        moved = np.flatnonzero(~np.array([np.array_equal(frame, values[0], equal_nan=True) for frame in values]))
        if moved.size:
            faults.add(
                code="grid-moves",
                variable=name,
                dimension=axes.time,
                index=int(moved[0]),
                found="positions that differ from those of the first frame",
                expected="a grid that stays where it is",
                fix=f'regrid the frames onto one grid, or, where {str(name)!r} is no position, ds.drop_vars("{name}")',
            )
            continue
        array = array.assign_coords({name: ((axes.y, axes.x), values[0], dict(coordinate.attrs))})
    return array
