"""Latitude and longitude of the points of any grid."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xvar.cf import geodesy
from xvar.cf.axes import Axes
from xvar.cf.geodesy import Floats
from xvar.cf.grid.coordinates import coordinate_along, measured, plane_coordinates, scaled
from xvar.errors import Faults


def positions_of(
    array: xr.DataArray, axes: Axes, faults: Faults, *, mapping: xr.Dataset | None = None
) -> Floats | None:
    """Return latitude and longitude (2, y, x) in degrees, in the order of the file; None with a fault.

    They are those of 1-D latitude and longitude, of the grid mapping, or of 2-D latitude and longitude, on the figure
    of the Earth of the file; NaN beyond the domain of the mapping.
    """
    y, x = (coordinate_along(array, dim) for dim in (axes.y, axes.x))
    if y is not None and x is not None:
        quantities = (measured(y), measured(x))
        if quantities == ("latitude", "longitude"):
            lines = (np.asarray(part.values, dtype=np.float64) for part in (y, x))
            return np.stack(np.meshgrid(*lines, indexing="ij"))
        reference = geodesy.projection_of(array, mapping)
        fits = reference is not None and quantities == (("angle",) * 2 if reference.is_geographic else ("length",) * 2)
        if fits:
            longitude, latitude = geodesy.geographic(reference)(*np.meshgrid(scaled(x), scaled(y)))
            known = np.isfinite(latitude) & np.isfinite(longitude)
            if known.any():
                return np.where(known, np.stack([latitude, longitude]), np.nan)
    count = len(faults)
    plane = plane_coordinates(array, axes, faults)
    if plane is not None:
        return np.stack(plane)
    if len(faults) == count:
        faults.add(
            code="positions-unknown",
            variable=array.name,
            found="a grid without latitude and longitude: no such coordinates, and no grid mapping that can be read",
            expected="latitude and longitude of the points",
            fix="ds.assign_coords(lat=(('y', 'x'), ...), lon=(('y', 'x'), ...)) before assimilate()",
        )
    return None
