"""Directions of the axes of a grid towards east and north."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, in_memory
from xvar.cf.geodesy import Floats, directions_of_positions, mapping_name, projected_directions, projection_of
from xvar.cf.grid import HorizontalGrid
from xvar.cf.grid.coordinates import coordinate_along, measured, metres_per_unit, plane_coordinates
from xvar.errors import Faults


def axis_directions(
    array: xr.DataArray,
    axes: Axes,
    grid: HorizontalGrid,
    faults: Faults,
    *,
    mapping: Mapping[str, Any] | xr.Dataset | None = None,
) -> Floats | None:
    r"""Return unit vectors (axis, component, y, x) along increasing x and y, towards east and north; None with a fault.

    A motion :math:`u\, e_x + v\, e_y`, of which u and v are metres a second along each axis, has the components

    .. math:: u_{east} = u\, e_x^{east} + v\, e_y^{east}, \qquad u_{north} = u\, e_x^{north} + v\, e_y^{north}

    also if the axes are not at right angles. Directions are those of the grid mapping if it can be read, else of 2-D
    latitude and longitude, in the order of the file.
    """
    if grid.kind == "geographic":
        return np.array(np.broadcast_to(np.eye(2)[:, :, None, None], (2, 2, *grid.shape)), dtype=np.float64)
    count = len(faults)
    by_map = _by_mapping(array, axes, mapping)
    if by_map is not None:
        return by_map
    plane = plane_coordinates(array, axes, faults)
    if len(faults) > count:
        return None
    if plane is None:
        name = mapping_name(array)
        faults.add(
            code="north-unknown",
            variable=array.name,
            found="a grid of which nothing says where north is: no 2-D latitude and longitude, and "
            + ("no grid mapping" if name is None else f"a grid mapping {name!r} that is missing or cannot be read"),
            expected="a readable grid mapping, or 2-D latitude and longitude",
            fix="add the coordinates before the analysis, ds.assign_coords(lat=(('y', 'x'), ...), lon=...)",
        )
        return None
    signs = np.array([1.0 if up else -1.0 for up in reversed(grid.ascending)])
    return np.asarray(directions_of_positions(*plane) * signs[:, None, None, None])


def _by_mapping(array: xr.DataArray, axes: Axes, mapping: Mapping[str, Any] | xr.Dataset | None) -> Floats | None:
    """Return directions by x and y and the projection if both can be read."""
    coordinates = [coordinate_along(array, dim) for dim in (axes.y, axes.x)]
    kinds = tuple(measured(coordinate) for coordinate in coordinates)
    if kinds not in (("length", "length"), ("angle", "angle")):
        return None
    reference = projection_of(array, mapping)
    if reference is None or (kinds[0] == "length") == bool(reference.is_geographic):
        return None
    y, x = (
        np.asarray(in_memory(part), dtype=np.float64) * (metres_per_unit(part) if kinds[0] == "length" else 1.0)
        for part in coordinates
        if part is not None
    )
    return projected_directions(reference, y, x)
