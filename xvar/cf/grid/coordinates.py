"""Quantities that coordinates measure (lengths, latitude, longitude), along a dimension or in the plane."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, in_memory, is_number
from xvar.cf.geodesy import Floats
from xvar.cf.units import length_factor, normalise_units
from xvar.errors import Faults

#: Points that may share a position: grids of the globe repeat their first columns, and are folded at a pole.
FOLDED = 2


def coordinate_along(array: xr.DataArray, dim: Hashable) -> xr.DataArray | None:
    """Return the 1-D coordinate of a dimension: of its name, else the only numeric one along it."""
    if dim in array.coords:
        named: xr.DataArray = array.coords[dim]
        return named
    along: list[xr.DataArray] = [c for c in array.coords.values() if c.dims == (dim,) and is_number(c)]
    return along[0] if len(along) == 1 else None


def measured(coordinate: xr.DataArray | None) -> Literal["length", "latitude", "longitude", "angle", "none"]:
    """Return the quantity of a 1-D coordinate by standard name and units, by name if it has neither."""
    from cf_xarray.criteria import coordinate_criteria

    if coordinate is None or not is_number(coordinate):
        return "none"
    standard = str(coordinate.attrs.get("standard_name", ""))
    units = normalise_units(str(coordinate.attrs.get("units", "")))
    if standard.startswith("grid_") or (units in ("degrees", "degree") and str(coordinate.name).lower()[:1] == "r"):
        return "angle"
    if standard == "latitude" or units in coordinate_criteria["latitude"]["units"]:
        return "latitude"
    if standard == "longitude" or units in coordinate_criteria["longitude"]["units"]:
        return "longitude"
    if units and length_factor(units) is not None:
        return "length"
    if units in ("", "degrees", "degree") and not standard:
        name = str(coordinate.name).lower()
        if name in ("lat", "latitude", "nav_lat"):
            return "latitude"
        if name in ("lon", "longitude", "nav_lon", "long"):
            return "longitude"
    return "none"


def metres_per_unit(coordinate: xr.DataArray) -> float:
    """Return the metres in a unit of a coordinate that measures lengths."""
    factor = length_factor(str(coordinate.attrs["units"]))
    assert factor is not None
    return factor


def plane_coordinates(array: xr.DataArray, axes: Axes, faults: Faults) -> tuple[Floats, Floats] | None:
    """Return 2-D latitude and longitude of the grid points, (y, x) in the order of the file."""
    found: dict[str, xr.DataArray] = {}
    for name, coordinate in array.coords.items():
        if set(coordinate.dims) != {axes.y, axes.x} or not is_number(coordinate):
            continue
        measure = measured(coordinate)
        if measure not in ("latitude", "longitude") and str(name).lower() in ("xlat", "xlong"):
            measure = "latitude" if str(name).lower() == "xlat" else "longitude"
        if measure in ("latitude", "longitude"):
            found.setdefault(measure, coordinate)
    if len(found) < 2:
        return None
    values = {
        key: np.asarray(in_memory(value.transpose(axes.y, axes.x)), dtype=np.float64) for key, value in found.items()
    }
    latitude, longitude = values["latitude"], values["longitude"]
    if _is_refused(latitude, longitude, found["latitude"], found["longitude"], axes, faults):
        return None
    return latitude, longitude


def _is_refused(
    latitude: Floats, longitude: Floats, north: xr.DataArray, east: xr.DataArray, axes: Axes, faults: Faults
) -> bool:
    """Add a fault and return True if 2-D coordinates give no valid position for each point."""
    finite = np.isfinite(latitude) & np.isfinite(longitude)
    beyond = finite & (np.abs(latitude) > 90 + 1e-6)
    repeated, place = _repeated(latitude, longitude, finite)
    names = (str(north.name), str(east.name))
    if beyond.any() and np.abs(latitude[finite]).max() <= 360 and np.abs(longitude[finite]).max() <= 90:
        faults.add(
            code="latitude-out-of-range",
            variable=north.name,
            found=f"latitude {latitude[beyond][0]:g}: |lat| > 90, and no longitude beyond 90",
            expected="latitudes between -90 and 90",
            fix="latitude and longitude may be swapped: check the units and the names of both",
        )
        return True
    for wrong, what, kept in (
        (~finite, "without latitude or longitude", ""),
        (beyond, f"at latitude {latitude[beyond][:1].sum():g}, which is none", f"abs(ds[{names[0]!r}]) <= 90"),
        (repeated, f"at latitude {place[0]:g}, longitude {place[1]:g}", f"ds[{names[0]!r}] != {place[0]!r}"),
    ):
        count = int(np.count_nonzero(wrong))
        if not count:
            continue
        where = f".where({kept})" if kept else ""
        faults.add(
            code="position-invalid",
            variable=north.name,
            index=tuple(int(axis[0]) for axis in np.nonzero(wrong)),
            found=f"{count} of {latitude.size} points {what}: filled with one value?",
            expected="2-D latitude and longitude of every point, on land too",
            fix=f"ds = ds.assign_coords({{n: ds[n]{where}.interpolate_na({str(axes.x)!r}, use_coordinate=False, "
            f"fill_value='extrapolate') for n in {names!r}}}), or drop both, ds.drop_vars({list(names)!r}), and state "
            "dx=, dy=",
        )
        return True
    return False


def _repeated(
    latitude: Floats, longitude: Floats, finite: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], tuple[float, float]]:
    """Return the points that share one position, if more do than fold or overlap in a grid of the globe."""
    places, counts = np.unique(latitude[finite] + 1j * longitude[finite], return_counts=True)
    if not counts.size or counts.max() <= FOLDED:
        return np.zeros(latitude.shape, dtype=bool), (np.nan, np.nan)
    most = places[counts.argmax()]
    return (latitude == most.real) & (longitude == most.imag), (float(most.real), float(most.imag))
