"""Places of points on a grid, by its 1-D coordinates or by 2-D latitude and longitude."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.grid import HorizontalGrid
from xvar.cf.grid.coordinates import measured
from xvar.cf.positions import along_line, on_curvilinear
from xvar.errors import Faults
from xvar.plan.bridge import Array, ascending

#: A point is on land if water has less than this share of the weights of its interpolation.
WETTEST_LAND = 0.01

_NAMES = {
    "y": ("latitude", "lat", "y", "projection_y_coordinate", "northing"),
    "x": ("longitude", "lon", "x", "projection_x_coordinate", "easting"),
}


def positions(
    dataset: xr.Dataset | None,
    field: xr.DataArray,
    plane: tuple[Hashable, Hashable],
    grid: HorizontalGrid,
    faults: Faults,
) -> Array:
    """Return grid units (2, point) along ascending x and y; NaN outside the grid."""
    assert dataset is not None
    table = _curvilinear(dataset, field, plane, grid, faults)
    if table is not None:
        return table
    found = []
    for axis, dim, up in zip(("x", "y"), plane[::-1], grid.ascending[::-1], strict=True):
        coordinate = field.coords.get(dim)
        place = None if coordinate is None else _like(dataset, coordinate, axis)
        if coordinate is None or place is None:
            known = ", ".join(map(str, dataset.variables))
            faults.add(
                code="points-without-coordinate",
                dimension=dim,
                found=f"no coordinate of the points along {str(dim)!r} among {known}"
                if coordinate is not None
                else f"a grid without a coordinate along {str(dim)!r}",
                expected="one coordinate of the grid along each of its dimensions, and the points in the same",
                fix=f"name it {str(dim)!r} in both, in the same units",
            )
            continue
        along = np.asarray(coordinate.values, dtype="float64")[:: 1 if up else -1]
        where = np.asarray(place.values, dtype="float64")
        if axis == "x" and "degree" in str(coordinate.attrs.get("units", "")):
            where = along[0] + (where - along[0]) % 360.0
        found.append(along_line(along, where))
    return np.stack(found) if len(found) == 2 else np.empty((2, 0))


def is_dry(
    position: Array, grid: HorizontalGrid, land: NDArray[np.bool_] | None, staggered: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which points have land all around; between staggered velocities on land nothing is unknown."""
    if land is None:
        return np.zeros(position.shape[1], dtype=bool)
    water = ~ascending(land, grid)
    corner = np.floor(np.nan_to_num(position)).astype(int)
    share = np.nan_to_num(position) - corner
    wet = np.zeros(position.shape[1])
    for right in (0, 1):
        for up in (0, 1):
            weight = np.abs(1 - right - share[0]) * np.abs(1 - up - share[1])
            column = np.minimum(corner[0] + right, water.shape[1] - 1)
            wet += weight * water[np.minimum(corner[1] + up, water.shape[0] - 1), column]
    return (wet < WETTEST_LAND) & ~staggered


def coordinates_of_points(
    dataset: xr.Dataset, field: xr.DataArray, plane: tuple[Hashable, Hashable]
) -> list[tuple[xr.DataArray, xr.DataArray]]:
    """Return the coordinates of the grid along y and x, each with that of the points; empty if one is missing."""
    lines = [(field.coords.get(dim), axis) for dim, axis in zip(plane, ("y", "x"), strict=True)]
    geographic = _geographic(field, plane)
    tables = [(geographic.get(kind), axis) for kind, axis in (("latitude", "y"), ("longitude", "x"))]
    for choice in (lines, tables):
        pairs = [(c, None if c is None else _like(dataset, c, axis)) for c, axis in choice]
        if all(c is not None and place is not None for c, place in pairs):
            return pairs  # type: ignore[return-value]
    return []


def _geographic(field: xr.DataArray, plane: tuple[Hashable, Hashable]) -> dict[str, xr.DataArray]:
    """Return 2-D latitude and longitude."""
    known: dict[str, xr.DataArray] = {}
    for coordinate in field.coords.values():
        kind = measured(coordinate)
        if set(coordinate.dims) == set(plane) and kind in ("latitude", "longitude"):
            known.setdefault(kind, coordinate)
    return known if len(known) == 2 else {}


def _curvilinear(
    dataset: xr.Dataset,
    field: xr.DataArray,
    plane: tuple[Hashable, Hashable],
    grid: HorizontalGrid,
    faults: Faults,
) -> Array | None:
    """Return positions by 2-D latitude and longitude; None if the points are in the grid's own coordinates."""
    pairs = coordinates_of_points(dataset, field, plane)
    if not pairs or pairs[0][0].ndim != 2:
        return None
    (latitude, north), (longitude, east) = pairs
    tables = [ascending(np.asarray(c.transpose(*plane).values, dtype="float64"), grid) for c in (latitude, longitude)]
    if not all(np.isfinite(table).all() for table in tables):
        faults.add(
            code="coordinates-not-finite",
            found="latitudes or longitudes of the grid that are not finite",
            expected="a place for every grid point",
            fix="fill them, on land too",
        )
        return np.full((2, north.size), np.nan)
    return on_curvilinear(*tables, *(np.asarray(place.values, dtype="float64") for place in (north, east)))


def _like(dataset: xr.Dataset, coordinate: xr.DataArray, axis: str) -> xr.DataArray | None:
    """Return the variable of the points for a coordinate of the grid: by name, standard name or usual name."""
    if coordinate.name in dataset.variables:
        return dataset[coordinate.name]
    kind = measured(coordinate)
    own = coordinate.attrs.get("standard_name")
    for name in dataset.variables:
        if own is not None and dataset[name].attrs.get("standard_name") == own:
            return dataset[name]
    folded = {str(name).lower(): name for name in dataset.variables}
    geographic = kind in ("latitude", "longitude") or str(coordinate.name).lower()[:3] in ("lat", "lon")
    usual = _NAMES[axis][:2] if geographic else _NAMES[axis][2:]
    return next((dataset[folded[name]] for name in usual if name in folded), None)
