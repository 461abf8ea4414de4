"""Coordinates of a grid: the quantities that they measure, positions in the plane, lines with their spacing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, in_memory, is_number
from xvar.cf.geodesy import Floats, mapping_attributes, mapping_name, to_nodes
from xvar.cf.units import are_convertible, convert, length_factor, normalise_units
from xvar.errors import Faults

Quantity = Literal["length", "latitude", "longitude", "angle", "none"]

#: Points that may share a position: grids of the globe repeat their first columns, and are folded at a pole.
FOLDED = 2

#: Deviation of a coordinate from equal steps, in steps, that is rounding and not a grid of its own.
TOLERANCE_DOUBLE, TOLERANCE_SINGLE = 1e-6, 1e-3

#: Ratio of neighbouring spacings beyond which a coordinate has a gap or a fault, and is no stretched grid.
SMOOTH_RATIO = 1.3

# Of coordinates that state neither standard name nor units, or degrees only.
_NAMES: dict[str, Quantity] = {
    **dict.fromkeys(("lat", "latitude", "nav_lat", "xlat"), "latitude"),
    **dict.fromkeys(("lon", "longitude", "nav_lon", "long", "xlong"), "longitude"),
}


def coordinate_along(array: xr.DataArray, dim: Hashable) -> xr.DataArray | None:
    """Return the 1-D coordinate of a dimension: of its name, else the only numeric one along it."""
    if dim in array.coords:
        named: xr.DataArray = array.coords[dim]
        return named
    along: list[xr.DataArray] = [c for c in array.coords.values() if c.dims == (dim,) and is_number(c)]
    return along[0] if len(along) == 1 else None


def measured(coordinate: xr.DataArray | None) -> Quantity:
    """Return the quantity of a coordinate by standard name and units, by name if it has neither."""
    from cf_xarray.criteria import coordinate_criteria

    if coordinate is None or not is_number(coordinate):
        return "none"
    standard, name = str(coordinate.attrs.get("standard_name", "")), str(coordinate.name).lower()
    units = normalise_units(str(coordinate.attrs.get("units", "")))
    if standard.startswith("grid_") or (units in ("degrees", "degree") and name[:1] == "r"):
        return "angle"
    if standard == "latitude" or units in coordinate_criteria["latitude"]["units"]:
        return "latitude"
    if standard == "longitude" or units in coordinate_criteria["longitude"]["units"]:
        return "longitude"
    if units and length_factor(units) is not None:
        return "length"
    return _NAMES.get(name, "none") if units in ("", "degrees", "degree") and not standard else "none"


def in_plane(variables: Mapping[Any, xr.DataArray], axes: Axes) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Return the variables (y, x) that are latitude and longitude; None without both."""
    found: dict[Quantity, xr.DataArray] = {}
    for variable in variables.values():
        if set(variable.dims) == {axes.y, axes.x}:
            found.setdefault(measured(variable), variable)
    return (found["latitude"], found["longitude"]) if {"latitude", "longitude"} <= set(found) else None


def plane_coordinates(array: xr.DataArray, axes: Axes, faults: Faults) -> tuple[Floats, Floats] | None:
    """Return 2-D latitude and longitude of the grid points, (y, x) in the order of the file, with valid positions."""
    pair = in_plane(array.coords, axes)
    if pair is None:
        return None
    latitude, longitude = (np.asarray(in_memory(part.transpose(axes.y, axes.x)), dtype=np.float64) for part in pair)
    names = [str(part.name) for part in pair]
    finite = np.isfinite(latitude) & np.isfinite(longitude)
    beyond = finite & (np.abs(latitude) > 90 + 1e-6)
    if beyond.any() and np.abs(latitude[finite]).max() <= 360 and np.abs(longitude[finite]).max() <= 90:
        faults.add(
            code="latitude-out-of-range",
            variable=names[0],
            found=f"latitude {latitude[beyond][0]:g}: |lat| > 90, and no longitude beyond 90",
            expected="latitudes between -90 and 90",
            fix="latitude and longitude may be swapped: check the units and the names of both",
        )
        return None
    places, counts = np.unique(latitude[finite] + 1j * longitude[finite], return_counts=True)
    most = places[counts.argmax()] if counts.size and counts.max() > FOLDED else complex(np.nan, np.nan)
    for wrong, shown, kept in (
        (~finite, "without latitude or longitude", ""),
        (beyond, f"at latitude {latitude[beyond][:1].sum():g}, which is none", f".where(abs(ds[{names[0]!r}]) <= 90)"),
        (
            (latitude == most.real) & (longitude == most.imag),
            f"at latitude {most.real:g}, longitude {most.imag:g}",
            f".where(ds[{names[0]!r}] != {float(most.real)!r})",
        ),
    ):
        if wrong.any():
            faults.add(
                code="position-invalid",
                variable=names[0],
                index=tuple(int(axis[0]) for axis in np.nonzero(wrong)),
                found=f"{np.count_nonzero(wrong)} of {latitude.size} points {shown}: filled with one value?",
                expected="2-D latitude and longitude of every point, on land too",
                fix=f"ds = ds.assign_coords({{n: ds[n]{kept}.interpolate_na({str(axes.x)!r}, use_coordinate=False, "
                f"fill_value='extrapolate') for n in {tuple(names)!r}}}), or drop both, ds.drop_vars({names!r}), and "
                "state dx=, dy=",
            )
            return None
    return latitude, longitude


def positions_of_one_frame(array: xr.DataArray, axes: Axes, faults: Faults) -> xr.DataArray:
    """Return a variable whose positions, repeated for every frame (time, y, x) as WRF does, are (y, x).

    Positions that move, as those of a nest that follows a storm, are a fault.
    """
    for name, coordinate in array.coords.items():
        if set(coordinate.dims) != {axes.time, axes.y, axes.x} or not is_number(coordinate):
            continue
        values = in_memory(coordinate.transpose(axes.time, axes.y, axes.x))
        moved = np.flatnonzero(~np.array([np.array_equal(frame, values[0], equal_nan=True) for frame in values]))
        if moved.size:
            faults.add(
                code="grid-moves",
                variable=name,
                dimension=axes.time,
                index=int(moved[0]),
                found="positions that differ from those of the first frame",
                expected="one grid for all frames",
                fix=f'regrid the frames onto one grid, or, if {str(name)!r} is no position, ds.drop_vars("{name}")',
            )
        else:
            array = array.assign_coords({name: ((axes.y, axes.x), values[0], dict(coordinate.attrs))})
    return array


def in_metres(dataset: xr.Dataset, variable: Hashable, notes: list[str]) -> xr.Dataset:
    """Return a Dataset whose x and y are lengths on the plane of the geostationary projection of a variable.

    Satellites of the GOES-R series state x and y as the angles a of the instrument's scan. PROJ, and CF's
    ``projection_x_coordinate``, measure the same plane in metres, h a, with the height h of the satellite above the
    ellipsoid (``perspective_point_height``): CF conventions 1.11, appendix F, "Geostationary projection".
    """
    mapping = mapping_attributes(dataset, mapping_name(dataset[variable])) or {}
    if mapping.get("grid_mapping_name") != "geostationary" or mapping.get("perspective_point_height") is None:
        return dataset
    height = float(mapping["perspective_point_height"])
    units = {
        dim: normalise_units(str(dataset[dim].attrs.get("units", "")))
        for dim in dataset[variable].dims
        if dim in dataset.coords and is_number(dataset[dim])
    }
    # UDUNITS takes plain numbers for radians; here they may count pixels.
    angles = [dim for dim in units if units[dim] not in ("", "1") and are_convertible(units[dim], "radian")]
    for dim in angles:
        coordinate = dataset[dim]
        attrs = {**coordinate.attrs, "units": "m"}
        if "standard_name" in attrs:
            attrs["standard_name"] = str(attrs["standard_name"]).replace("_angular_coordinate", "_coordinate")
        radians = convert(coordinate.values, units[dim], "radian")
        dataset = dataset.assign_coords({dim: (dim, height * radians, attrs)})
    if angles:
        words, plane = " and ".join(repr(str(dim)) for dim in angles), mapping_name(dataset[variable])
        notes.append(f"scan angles {words} read as metres on the plane of {plane!r}: times {height:.8g} m")
    return dataset


@dataclass(frozen=True)
class Line:
    """A 1-D coordinate, ascending, with its local spacing, in metres or degrees."""

    values: Floats
    spacing: Floats
    uniform: bool
    ascending: bool

    @property
    def step(self) -> float:
        """The mean spacing."""
        return float(self.spacing.mean())

    @property
    def extent(self) -> float:
        """The length of all cells."""
        return self.step * self.values.size


def metres_per_unit(coordinate: xr.DataArray) -> float:
    """Return the metres in a unit of a coordinate, 1 if it measures no length."""
    factor = length_factor(str(coordinate.attrs.get("units", "")))
    return 1.0 if factor is None else factor


def scaled(coordinate: xr.DataArray) -> Floats:
    """Return the values of a coordinate in float64, lengths in metres."""
    return np.asarray(in_memory(coordinate), dtype=np.float64) * metres_per_unit(coordinate)


def tolerance_of(*coordinates: xr.DataArray) -> float:
    """Return the deviation that is rounding, in steps: a coordinate of single precision is exact to its own only."""
    single = any(part.dtype.kind == "f" and part.dtype.itemsize <= 4 for part in coordinates)
    return TOLERANCE_SINGLE if single else TOLERANCE_DOUBLE


def coordinate_line(coordinate: xr.DataArray, faults: Faults) -> Line | None:
    """Return a coordinate in metres (or degrees), ascending and checked."""
    values = np.asarray(in_memory(coordinate), dtype=np.float64)
    name, dim = coordinate.name, coordinate.dims[0]
    place: dict[str, Any] = {"variable": name, "dimension": dim}
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        faults.add(
            code="coordinate-missing-value",
            **place,
            index=index,
            found=f"value {values[index]} at index {index}",
            expected="finite coordinates",
            fix=f"ds = ds.isel({dim}=ds[{str(name)!r}].notnull().values), or write its values",
        )
        return None
    steps = np.diff(values)
    ascending = bool(np.median(steps) > 0) if steps.size else True
    wrong = np.flatnonzero(steps <= 0) if ascending else np.flatnonzero(steps >= 0)
    if wrong.size:
        index = int(wrong[0]) + 1
        faults.add(
            code="coordinate-not-monotonic",
            **place,
            index=index,
            found=f"{values[index]:g} at index {index} after {values[index - 1]:g}: not monotonic",
            expected="a coordinate that only ascends or only descends",
            fix=f"ds.sortby({str(dim)!r}), or ds.drop_duplicates({str(dim)!r})",
        )
        return None
    if not ascending:
        values = values[::-1]
    factor, count = metres_per_unit(coordinate), values.size
    mean = (values[-1] - values[0]) / (count - 1)
    even = values[0] + mean * np.arange(count)
    deviation = np.abs(values - even).max() / mean
    tolerance = tolerance_of(coordinate)
    if deviation <= tolerance:
        return Line(even * factor, np.full(count, mean * factor), True, ascending)
    segments = np.diff(values)
    ratios = np.maximum(segments[1:] / segments[:-1], segments[:-1] / segments[1:])
    if ratios.size and ratios.max() > SMOOTH_RATIO:
        index = int(ratios.argmax()) + 1
        index = index if ascending else count - 1 - index
        faults.add(
            code="coordinate-uneven",
            **place,
            index=index,
            found=f"uneven spacing: steps that differ by a factor {ratios.max():.4g} at index {index}, "
            f"max deviation {deviation:.4g} of a step",
            expected=f"even spacing (to {tolerance:g} of a step), or steps that change by < {SMOOTH_RATIO - 1:.0%}",
            fix="regrid, or fill in the missing rows with NaN (ds.reindex)",
        )
        return None
    return Line(values * factor, to_nodes(segments, 0) * factor, False, ascending)


def ascends(coordinate: xr.DataArray) -> bool | None:
    """Return True if ascending, False if descending, None if neither."""
    steps = np.diff(np.asarray(in_memory(coordinate), dtype=np.float64))
    if (steps > 0).all():
        return True
    return False if (steps < 0).all() else None
