"""From the coordinates of a variable to its grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from xvar.cf.axes import Axes
from xvar.cf.geodesy import projection_of
from xvar.cf.grid.base import HorizontalGrid
from xvar.cf.grid.coordinates import coordinate_along, measured, metres_per_unit, plane_coordinates
from xvar.cf.grid.curvilinear import curvilinear_grid
from xvar.cf.grid.geographic import geographic_grid, is_mesh
from xvar.cf.grid.line import Line, ascends, coordinate_line
from xvar.cf.grid.projected import projected_grid
from xvar.cf.grid.stated import stated_grid
from xvar.errors import Faults


def horizontal_grid(
    array: xr.DataArray,
    axes: Axes,
    faults: Faults,
    dx: float | None = None,
    dy: float | None = None,
    *,
    mapping: Mapping[str, Any] | xr.Dataset | None = None,
) -> HorizontalGrid | None:
    """Return the grid of a variable with its spacing in true metres; None if a fault was added.

    In this order: `dx` and `dy` as given; 2-D latitude and longitude, by great circles; x and y in a unit of length, by
    the local factor of the grid mapping if it can be read, else as they are; 1-D latitude and longitude, R dlat and
    R cos(lat) dlon on the sphere of 6371 km. `mapping` is the grid mapping variable, or the Dataset that holds it.
    """
    count = len(faults)
    shape = (array.sizes[axes.y], array.sizes[axes.x])
    if dx is not None or dy is not None:
        return stated_grid(array, axes, faults, shape, dx, dy)

    for dim in (axes.y, axes.x):
        if array.sizes[dim] < 2:
            faults.add(
                code="grid-too-small",
                variable=array.name,
                dimension=dim,
                found=f"{array.sizes[dim]} point along {str(dim)!r}",
                expected="two or more: one has no spacing",
                fix="give a larger domain",
            )
    if len(faults) > count:
        return None
    y, x = (coordinate_along(array, dim) for dim in (axes.y, axes.x))
    kinds = (measured(y), measured(x))
    plane = plane_coordinates(array, axes, faults)
    if len(faults) > count:
        return None
    if kinds in (("latitude", "longitude"), ("angle", "angle")) and y is not None and x is not None:
        # Axes that are themselves latitude and longitude need no 2-D ones, unless the pole is rotated.
        if kinds[0] == "latitude" or plane is None:
            return geographic_grid(y, x, axes, faults, rotated=kinds[0] == "angle")
    elif kinds == ("longitude", "latitude"):
        faults.add(
            code="axes-swapped",
            variable=array.name,
            found=f"longitude along the y dimension {str(axes.y)!r} and latitude along x",
            expected="latitude along y, longitude along x",
            fix="check the units and standard names of both coordinates",
        )
        return None

    if plane is not None and is_mesh(*plane):
        latitude, longitude = plane
        return geographic_grid(
            xr.DataArray(latitude[:, 0], dims=[axes.y], name=axes.y),
            xr.DataArray(longitude[0, :], dims=[axes.x], name=axes.x),
            axes,
            faults,
            rotated=False,
        )

    lines: tuple[Line, Line] | None = None
    if y is not None and x is not None and kinds == ("length", "length"):
        pair = tuple(coordinate_line(c, metres_per_unit(c), faults) for c in (y, x))
        if pair[0] is None or pair[1] is None:
            return None
        lines = (pair[0], pair[1])
    reference = projection_of(array, mapping)
    if plane is not None:
        return curvilinear_grid(array, plane, lines, _orientation(y, x), shape, faults, reference)
    if lines is not None:
        return projected_grid(array, lines, shape, faults, reference)
    _missing(array, axes, y, x, faults, _in_plane(mapping, axes))
    return None


def _orientation(y: xr.DataArray | None, x: xr.DataArray | None) -> tuple[bool, bool]:
    """Return the direction of both axes; along the index without a coordinate."""
    first, second = (None if c is None or measured(c) == "none" else ascends(c) for c in (y, x))
    return first is not False, second is not False


def _in_plane(dataset: Mapping[str, Any] | xr.Dataset | None, axes: Axes) -> list[str]:
    """Return the names of data variables that hold latitude and longitude of the points."""
    if not isinstance(dataset, xr.Dataset):
        return []
    plane = [name for name, v in dataset.data_vars.items() if set(v.dims) == {axes.y, axes.x}]
    found = {measured(dataset[name]): str(name) for name in plane}
    return [found["latitude"], found["longitude"]] if {"latitude", "longitude"} <= set(found) else []


def _missing(
    array: xr.DataArray,
    axes: Axes,
    y: xr.DataArray | None,
    x: xr.DataArray | None,
    faults: Faults,
    positions: list[str],
) -> None:
    """Add a fault with the coordinates that are present instead of metres or degrees."""
    parts = []
    for dim, coordinate in ((axes.y, y), (axes.x, x)):
        if coordinate is None:
            parts.append(f"no coordinate on {str(dim)!r}")
        elif "units" not in coordinate.attrs:
            parts.append(f"coordinate {str(coordinate.name)!r} without units")
        else:
            parts.append(f"coordinate {str(coordinate.name)!r} in {coordinate.attrs['units']!r}")
    faults.add(
        code="spacing-unknown",
        variable=array.name,
        found="; ".join(parts),
        expected="x and y in a unit of length (attrs['units'] = 'm' or 'km'), or latitude and longitude in degrees",
        fix=f"ds = ds.set_coords({positions}): these data variables say where the points lie"
        if positions
        else "state the spacing in metres, dx=..., dy=..., or write the units of the coordinates",
    )
