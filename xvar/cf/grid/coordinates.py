"""What the coordinates of a variable measure: lengths, latitude, longitude; along a dimension, or in the plane."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, in_memory, is_number
from xvar.cf.geodesy import Floats
from xvar.cf.units import length_factor, normalise_units
from xvar.errors import Problems

_LATITUDE = ("degrees_north", "degree_north", "degree_N", "degrees_N", "degreeN", "degreesN")
_LONGITUDE = ("degrees_east", "degree_east", "degree_E", "degrees_E", "degreeE", "degreesE")


def coordinate_along(array: xr.DataArray, dim: Hashable) -> xr.DataArray | None:
    """The 1-D coordinate of a dimension: of its name, else the only numeric one along it."""
    if dim in array.coords:
        named: xr.DataArray = array.coords[dim]
        return named
    along: list[xr.DataArray] = [c for c in array.coords.values() if c.dims == (dim,) and is_number(c)]
    return along[0] if len(along) == 1 else None


def measured(coordinate: xr.DataArray | None) -> Literal["length", "latitude", "longitude", "angle", "none"]:
    """What a 1-D coordinate measures, by standard name and units, by name where it has neither."""
    if coordinate is None or not is_number(coordinate):
        return "none"
    standard = str(coordinate.attrs.get("standard_name", ""))
    units = normalise_units(str(coordinate.attrs.get("units", "")))
    if standard.startswith("grid_") or (units in ("degrees", "degree") and str(coordinate.name).lower()[:1] == "r"):
        return "angle"
    if standard == "latitude" or units in _LATITUDE:
        return "latitude"
    if standard == "longitude" or units in _LONGITUDE:
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
    """Metres in a unit of a coordinate that measures lengths."""
    factor = length_factor(str(coordinate.attrs["units"]))
    assert factor is not None
    return factor


def plane_coordinates(array: xr.DataArray, axes: Axes, problems: Problems) -> tuple[Floats, Floats] | None:
    """2-D latitude and longitude of the grid points, (y, x) in the order of the file."""
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
    bad = int(np.count_nonzero(~(np.isfinite(latitude) & np.isfinite(longitude))))
    if bad:
        problems.add(
            variable=found["latitude"].name,
            found=f"{bad} of {latitude.size} points without latitude or longitude",
            expected="finite 2-D latitude and longitude",
            fix="give the position of every point, or drop both coordinates and state dx=, dy=",
        )
        return None
    if np.abs(latitude).max() > 90 + 1e-6:
        problems.add(
            variable=found["latitude"].name,
            found=f"latitude {latitude.flat[int(np.abs(latitude).argmax())]:g}: |lat| > 90",
            expected="latitudes between -90 and 90",
            fix="latitude and longitude may be swapped",
        )
        return None
    return latitude, longitude
