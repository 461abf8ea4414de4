"""Places of points on the grid of a record: their coordinates, and positions in grid units."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from xvar.cf.axes import is_number
from xvar.cf.faults import add
from xvar.cf.geodesy import EARTH_RADIUS, along_line, on_curvilinear, unit_vectors
from xvar.cf.grid.coordinates import measured, metres_per_unit, scaled
from xvar.cf.record import Record
from xvar.errors import Faults
from xvar.plan.bridge import Array

Pair = tuple[xr.DataArray, xr.DataArray]

_NAMES = {
    "y": ("latitude", "lat", "y", "projection_y_coordinate", "northing"),
    "x": ("longitude", "lon", "x", "projection_x_coordinate", "easting"),
}


def positions(dataset: xr.Dataset, record: Record, faults: Faults, *, periodic: bool = False) -> Array:
    """Return grid units (axis, point) along the axes of the grid, the last first; NaN outside the grid.

    An axis without a coordinate of numbers is counted by its index. A `periodic` axis ends one mean step behind its
    last point.
    """
    pairs = coordinates_of_points(dataset, record)
    if pairs and pairs[-1][0].ndim == 2:
        horizontal = _curvilinear(pairs[-2:], record, faults)
        found = [*horizontal, *(_along(*pair, record, faults, periodic=periodic) for pair in pairs[-3::-1])]
    elif pairs:
        found = [_along(*pair, record, faults, periodic=periodic) for pair in pairs[::-1]]
    else:
        found = []
        _report_missing(dataset, record, faults)
    return np.stack(found) if found else np.empty((len(record.axes.space), 0))


def coordinates_of_points(dataset: xr.Dataset, record: Record) -> list[Pair]:
    """Return the coordinate of the grid along each axis with that of the points; empty if one is missing.

    They are 1-D; those of the last two may be latitude and longitude that are 2-D.
    """
    space = record.axes.space
    lines = [_pair(dataset, _line(record, dim), _axis(record, dim)) for dim in space]
    if None not in lines:
        return [pair for pair in lines if pair is not None]
    geographic: dict[str | None, xr.DataArray] = {}
    for coordinate in record.array.coords.values():
        if len(space) > 1 and set(coordinate.dims) == set(space[-2:]):
            geographic.setdefault(measured(coordinate), coordinate)
    plane = [_pair(dataset, geographic.get(kind), axis) for kind, axis in (("latitude", "y"), ("longitude", "x"))]
    pairs = [*lines[:-2], *plane] if len(space) > 1 else []
    return [] if None in pairs else [pair for pair in pairs if pair is not None]


def in_space(dataset: xr.Dataset, record: Record, *, periodic: bool = False) -> Array:
    """Return the places of points in metres (axis, point), in a space in which distances are straight lines.

    Latitude and longitude lie on the sphere, a `periodic` axis on a circle; other axes keep their units if these are no
    lengths.
    """
    pairs = coordinates_of_points(dataset, record)
    geographic = len(pairs) > 1 and [measured(pair[0]) for pair in pairs[-2:]] in (
        ["latitude", "longitude"],
        ["angle", "angle"],
    )
    lines = pairs[:-2] if geographic else pairs
    found: list[Array] = []
    for coordinate, place in lines:
        where = np.asarray(place.values, dtype="float64") * metres_per_unit(coordinate)
        if periodic:
            radius = abs(np.diff(scaled(coordinate)).mean()) * coordinate.size / (2 * np.pi)
            found += [radius * np.cos(where / radius), radius * np.sin(where / radius)]
        else:
            found.append(where)
    if geographic:
        north, east = (np.asarray(place.values, dtype="float64") for _, place in pairs[-2:])
        found += list(EARTH_RADIUS * unit_vectors(north, east))
    return np.stack(found)


def _axis(record: Record, dim: Hashable) -> str | None:
    """Return y or x of a horizontal dimension of the grid."""
    return {record.axes.y: "y", record.axes.x: "x"}.get(dim)


def _line(record: Record, dim: Hashable) -> xr.DataArray:
    """Return the 1-D coordinate of an axis, its index if that is none of numbers."""
    coordinate: xr.DataArray = record.array.coords[dim]
    return coordinate if is_number(coordinate) else coordinate.copy(data=np.arange(coordinate.size))


def _pair(dataset: xr.Dataset, coordinate: xr.DataArray | None, axis: str | None) -> Pair | None:
    place = None if coordinate is None else _like(dataset, coordinate, axis)
    return None if coordinate is None or place is None else (coordinate, place)


def _report_missing(dataset: xr.Dataset, record: Record, faults: Faults) -> None:
    """Report each axis along which the points have no coordinate."""
    for dim in record.axes.space:
        if _pair(dataset, _line(record, dim), _axis(record, dim)) is None:
            faults.add(
                code="points-without-coordinate",
                dimension=dim,
                found=f"no coordinate of the points along {str(dim)!r} among {', '.join(map(str, dataset.variables))}",
                expected="one coordinate of the grid along each of its dimensions, and the points in the same",
                fix=f"name it {str(dim)!r} in both, in the same units",
            )


def _along(coordinate: xr.DataArray, place: xr.DataArray, record: Record, faults: Faults, *, periodic: bool) -> Array:
    """Return positions along one axis, in the order that the core has."""
    dim = coordinate.dims[0]
    where, along = (np.asarray(part.values, dtype="float64") for part in (place, coordinate))
    along = along[:: 1 if record.grid.ascending[record.axes.space.index(dim)] else -1]
    steps = np.diff(along)
    if not ((steps > 0).all() or (steps < 0).all()):
        found = "values that are not monotonic, for points along them"
        add(faults, "coordinate-not-monotonic", found, coordinate.name, dim, int((steps * steps[0] <= 0).argmax()) + 1)
        return np.full(where.shape, np.nan)
    if periodic and steps.size:
        end = along[-1] + steps.mean()
        low, length = min(along[0], end), abs(end - along[0])
        along, where = np.append(along, end), low + (where - low) % length
    elif dim == record.axes.x and "degree" in str(coordinate.attrs.get("units", "")):
        where = along[0] + (where - along[0]) % 360.0
    if steps.size and steps[0] < 0:
        return along.size - 1 - along_line(along[::-1], where)
    return along_line(along, where)


def _curvilinear(pairs: list[Pair], record: Record, faults: Faults) -> Array:
    """Return positions (2, point) by 2-D latitude and longitude."""
    (latitude, north), (longitude, east) = pairs
    plane, up = record.axes.space[-2:], record.grid.ascending[-2:]
    tables = [
        np.asarray(c.transpose(*plane).values, dtype="float64")[:: 1 if up[0] else -1, :: 1 if up[1] else -1]
        for c in (latitude, longitude)
    ]
    if not all(np.isfinite(table).all() for table in tables):
        faults.add(
            code="coordinates-not-finite",
            found="latitudes or longitudes of the grid that are not finite",
            expected="a place for every grid point",
            fix="fill them, on land too",
        )
        return np.full((2, north.size), np.nan)
    return on_curvilinear(*tables, *(np.asarray(place.values, dtype="float64") for place in (north, east)))


def _like(dataset: xr.Dataset, coordinate: xr.DataArray, axis: str | None) -> xr.DataArray | None:
    """Return the variable of the points for a coordinate of the grid: by name, standard name or usual name."""
    if coordinate.name in dataset.variables:
        return dataset[coordinate.name]
    kind = measured(coordinate)
    own = coordinate.attrs.get("standard_name")
    same = [name for name in dataset.variables if own and dataset[name].attrs.get("standard_name") == own]
    if same:
        return dataset[same[0]]
    if axis is None:
        return None
    folded = {str(name).lower(): name for name in dataset.variables}
    geographic = kind in ("latitude", "longitude") or str(coordinate.name).lower()[:3] in ("lat", "lon")
    usual = _NAMES[axis][:2] if geographic else _NAMES[axis][2:]
    return next((dataset[folded[name]] for name in usual if name in folded), None)
