"""From the coordinates of a variable to its grid."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, check_points
from xvar.cf.geodesy import Floats, projection_of
from xvar.cf.grid.coordinates import ascends, coordinate_along, coordinate_line, in_plane, measured, plane_coordinates
from xvar.cf.grid.geometry import HorizontalGrid, curvilinear_grid, geographic_grid, projected_grid, stated_grid
from xvar.errors import Faults


def horizontal_grid(
    array: xr.DataArray,
    axes: Axes,
    faults: Faults,
    dx: float | None = None,
    dy: float | None = None,
    *,
    mapping: xr.Dataset | None = None,
) -> HorizontalGrid | None:
    """Return the grid of a variable with its spacing in true metres; None if a fault was added.

    In this order: `dx` and `dy` as given; 2-D latitude and longitude, by great circles; x and y in a unit of length, by
    the local factor of the grid mapping if it can be read, else as they are; 1-D latitude and longitude, R dlat and
    R cos(lat) dlon on the sphere of 6371 km. `mapping` is the Dataset that holds the grid mapping.
    """
    if dx is not None or dy is not None:
        return stated_grid(array, axes, faults, dx, dy)
    count = len(faults)
    check_points(array, axes, 2, faults)
    plane = None if len(faults) > count else plane_coordinates(array, axes, faults)
    if len(faults) > count:
        return None
    y, x = (coordinate_along(array, dim) for dim in (axes.y, axes.x))
    kinds = (measured(y), measured(x))
    lines = None
    if y is not None and x is not None:
        # Axes that are themselves latitude and longitude need no 2-D ones, unless the pole is rotated.
        if kinds == ("latitude", "longitude") or (kinds == ("angle", "angle") and plane is None):
            return geographic_grid(y, x, faults, rotated=kinds[0] == "angle")
        if kinds == ("longitude", "latitude"):
            faults.add(
                code="axes-swapped",
                variable=array.name,
                found=f"longitude along the y dimension {str(axes.y)!r} and latitude along x",
                expected="latitude along y, longitude along x",
                fix="check the units and standard names of both coordinates",
            )
            return None
    if plane is not None and is_mesh(*plane):
        rows, columns = (
            xr.DataArray(values, dims=[dim], name=dim)
            for values, dim in ((plane[0][:, 0], axes.y), (plane[1][0, :], axes.x))
        )
        return geographic_grid(rows, columns, faults)
    if y is not None and x is not None and kinds == ("length", "length"):
        first, second = coordinate_line(y, faults), coordinate_line(x, faults)
        if first is None or second is None:
            return None
        lines = (first, second)
    reference = projection_of(array, mapping)
    reference = None if reference is None or reference.is_geographic else reference
    # Along the index without a coordinate.
    directions = [None if c is None or measured(c) == "none" else ascends(c) for c in (y, x)]
    ascending = (directions[0] is not False, directions[1] is not False)
    if plane is not None:
        return curvilinear_grid(array, plane, lines, ascending, faults, reference)
    if lines is not None:
        return projected_grid(array, lines, ascending, faults, reference)
    _missing(array, axes, mapping, faults)
    return None


def is_mesh(latitude: Floats, longitude: Floats) -> bool:
    """Return True if 2-D coordinates only repeat 1-D ones: latitude by row, longitude by column."""
    tolerance = 1e-5
    turn = (longitude - longitude[:1] + 180) % 360 - 180
    return bool(np.abs(latitude - latitude[:, :1]).max() < tolerance and np.abs(turn).max() < tolerance)


def _missing(array: xr.DataArray, axes: Axes, dataset: xr.Dataset | None, faults: Faults) -> None:
    """Add a fault with the coordinates that are present instead of metres or degrees."""
    parts = []
    for dim in (axes.y, axes.x):
        coordinate = coordinate_along(array, dim)
        if coordinate is None:
            parts.append(f"no coordinate on {str(dim)!r}")
        elif "units" not in coordinate.attrs:
            parts.append(f"coordinate {str(coordinate.name)!r} without units")
        else:
            parts.append(f"coordinate {str(coordinate.name)!r} in {coordinate.attrs['units']!r}")
    positions = None if dataset is None else in_plane(dataset.data_vars, axes)
    faults.add(
        code="spacing-unknown",
        variable=array.name,
        found="; ".join(parts),
        expected="x and y in a unit of length (attrs['units'] = 'm' or 'km'), or latitude and longitude in degrees",
        fix="state the spacing in metres, dx=..., dy=..., or write the units of the coordinates"
        if positions is None
        else f"ds = ds.set_coords({[str(part.name) for part in positions]}): the positions are in these data variables",
    )
