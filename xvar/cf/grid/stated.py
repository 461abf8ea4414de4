"""Spacing as the user states it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes
from xvar.cf.grid.base import HorizontalGrid
from xvar.cf.grid.coordinates import coordinate_along
from xvar.cf.grid.line import ascends, coordinate_line
from xvar.errors import Faults


def stated_grid(
    array: xr.DataArray, axes: Axes, faults: Faults, shape: tuple[int, int], dx: float | None, dy: float | None
) -> HorizontalGrid | None:
    """Spacing as the user states it; the coordinates, if any, give the direction alone."""
    count = len(faults)
    numbers: dict[str, float] = {}
    for label, value in (("dx", dx), ("dy", dy)):
        try:
            numbers[label] = float("nan") if value is None or isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            numbers[label] = float("nan")
        if not (np.isfinite(numbers[label]) and numbers[label] > 0):
            faults.add(
                code="spacing-invalid",
                found=f"{label}={value!r}",
                expected="both dx= and dy=, positive metres",
                fix="dx=1000.0, dy=1000.0",
            )
    if len(faults) > count:
        return None
    ascending = []
    for dim in (axes.y, axes.x):
        coordinate = coordinate_along(array, dim)
        monotonic = None if coordinate is None else ascends(coordinate)
        if coordinate is not None and monotonic is None:
            coordinate_line(coordinate, 1.0, faults)
        ascending.append(monotonic is not False)
    if len(faults) > count:
        return None
    return HorizontalGrid(
        shape,
        (numbers["dy"], numbers["dx"]),
        None,
        (ascending[0], ascending[1]),
        "index",
        False,
        f"dx = {numbers['dx']:g} m, dy = {numbers['dy']:g} m as stated in the call",
    )
