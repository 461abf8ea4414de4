"""Grids of x and y in a unit of length, on a map."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.geodesy import Floats, mapping_name, projected_spacing
from xvar.cf.grid.base import HorizontalGrid, mean_spacing
from xvar.cf.grid.line import Line
from xvar.errors import Faults, InputWarning, warn


def by_mapping(lines: tuple[Line, Line], reference: Any) -> Floats | None:
    """True spacing by the local factor of a map; None outside of it."""
    rows, columns = lines
    return projected_spacing(reference, rows.values, columns.values, rows.spacing, columns.spacing)


def projected_grid(
    array: xr.DataArray, lines: tuple[Line, Line], shape: tuple[int, int], faults: Faults, reference: Any | None
) -> HorizontalGrid | None:
    """Spacing by the map if it can be read, else by the coordinates as they are."""
    rows, columns = lines
    ascending = (rows.ascending, columns.ascending)
    name = mapping_name(array)
    metric: Floats | None = None
    if reference is not None and not reference.is_geographic:
        metric = by_mapping(lines, reference)
        if metric is None:
            faults.add(
                code="mapping-domain",
                variable=array.name,
                found=f"x and y outside the domain of the grid mapping {name!r}",
                expected="coordinates that belong to the mapping",
                fix="check the units of x and y and the attributes of the grid mapping, crop what lies outside of the "
                "Earth's disk, or drop the grid_mapping attribute",
            )
            return None
        low, high = float((rows.step / metric[0]).min()), float((rows.step / metric[0]).max())
        description = f"from x and y by the map factor of {name!r} ({low:.4g} to {high:.4g})"
    else:
        if not (rows.uniform and columns.uniform):
            metric = np.stack(np.broadcast_arrays(rows.spacing[:, None], columns.spacing[None, :]))
        why = "there is no grid mapping" if name is None else f"the grid mapping {name!r} is missing or unreadable"
        description = f"from x and y as they are: not checked against a map projection, since {why}"
        if name is not None:  # the file states a projection, and it is lost: distances may be some percent off
            warn(
                f"variable {array.name!r}: x and y taken as true metres, {description.partition(': ')[2]}; add the "
                "variable that the attribute grid_mapping names, or drop the attribute",
                InputWarning,
            )
    spacing = (rows.step, columns.step) if metric is None else mean_spacing(metric)
    return HorizontalGrid(shape, spacing, metric, ascending, "projected", False, description)
