"""Coordinates of a grid: the quantities that they measure, lines with their spacing, fields on the same points."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, check_extra, in_memory, is_number, plane_of
from xvar.cf.faults import INTERPOLATE, add
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
        found = f"latitude {latitude[beyond][0]:g}: |lat| > 90, and no longitude beyond 90"
        add(faults, "latitude-out-of-range", found, names[0])
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
            found = f"{np.count_nonzero(wrong)} of {latitude.size} points {shown}: filled with one value?"
            add(
                faults,
                "position-invalid",
                found,
                names[0],
                index=tuple(int(axis[0]) for axis in np.nonzero(wrong)),
                kept=kept,
                x=str(axes.x),
                names=names,
            )
            return None
    return latitude, longitude


def positions_of_one_frame(array: xr.DataArray, axes: Axes, faults: Faults) -> xr.DataArray:
    """Return a variable with positions (y, x) that WRF repeats for every frame; add a fault for a nest that moves."""
    for name, coordinate in array.coords.items():
        if set(coordinate.dims) != {axes.time, axes.y, axes.x} or not is_number(coordinate):
            continue
        values = in_memory(coordinate.transpose(axes.time, axes.y, axes.x))
        moved = np.flatnonzero(~np.array([np.array_equal(frame, values[0], equal_nan=True) for frame in values]))
        if moved.size:
            found = "positions that differ from those of the first frame"
            add(faults, "grid-moves", found, name, axes.time, int(moved[0]))
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
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        add(faults, "coordinate-missing-value", f"value {values[index]} at index {index}", name, dim, index)
        return None
    steps = np.diff(values)
    ascending = bool(np.median(steps) > 0) if steps.size else True
    wrong = np.flatnonzero(steps <= 0) if ascending else np.flatnonzero(steps >= 0)
    if wrong.size:
        index = int(wrong[0]) + 1
        found = f"{values[index]:g} at index {index} after {values[index - 1]:g}: not monotonic"
        add(faults, "coordinate-not-monotonic", found, name, dim, index)
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
        found = (
            f"uneven spacing: steps that differ by a factor {ratios.max():.4g} at index {index}, "
            f"max deviation {deviation:.4g} of a step"
        )
        add(faults, "coordinate-uneven", found, name, dim, index, tolerance=tolerance, ratio=SMOOTH_RATIO - 1)
        return None
    return Line(values * factor, to_nodes(segments, 0) * factor, False, ascending)


def ascends(coordinate: xr.DataArray) -> bool | None:
    """Return True if ascending, False if descending, None if neither."""
    steps = np.diff(np.asarray(in_memory(coordinate), dtype=np.float64))
    if (steps > 0).all():
        return True
    return False if (steps < 0).all() else None


def on_grid(field: xr.DataArray, like: xr.DataArray, axes: Axes, faults: Faults, label: str) -> xr.DataArray | None:
    """Return a field in the order and under the names of the points of a record; None if a fault was added.

    Points are the same if coordinates agree to 1e-6 of their spacing, or 1e-3 if either is of single precision: smaller
    differences are rounding. Other dimensions have size one; `label` names the field in messages.
    """
    count = len(faults)
    plane = axes.space
    if len(plane) == 2 and not set(plane) <= set(field.dims):
        own = plane_of(field)
        if own is not None:
            field = field.rename({old: new for old, new in zip(own, plane, strict=True) if old != new})
    missing = [repr(str(dim)) for dim in plane if dim not in field.dims]
    if missing:
        found = f"dimensions ({', '.join(map(str, field.dims))}), without {' and '.join(missing)}"
        add(faults, "missing-dimension", found, label, order=", ".join(map(str, plane)))
        return None
    check_extra(field, plane, label, faults)
    for dim in plane:
        if field.sizes[dim] != like.sizes[dim]:
            found = f"size {field.sizes[dim]} along {str(dim)!r}"
            add(faults, "other-size", found, label, dim, size=like.sizes[dim], record=str(like.name))
    if len(faults) > count:
        return None
    field = field.isel({dim: 0 for dim in field.dims if dim not in plane}, drop=True).transpose(*plane)
    order = {dim: _order(field, like, dim, faults, label) for dim in plane}
    if len(faults) > count:
        return None
    return field.isel({dim: index for dim, index in order.items() if index is not None})


def _order(
    field: xr.DataArray, like: xr.DataArray, dim: Hashable, faults: Faults, label: str
) -> NDArray[np.intp] | None:
    """Return the index in the field of each point of the record along a dimension; None without both coordinates."""
    pair = [array.coords[dim] for array in (field, like) if dim in array.coords]
    if len(pair) < 2 or not all(map(is_number, pair)) or like.sizes[dim] < 2:
        return None
    theirs, ours = map(scaled, pair)
    step = float(np.abs(np.diff(ours)).min())
    shifted = theirs
    if measured(pair[1]) == "longitude":
        # The numbering of the record, whichever the field has.
        middle = 0.5 * (float(ours.min()) + float(ours.max()))
        shifted = middle + (theirs - middle + 180.0) % 360.0 - 180.0
    order = np.argsort(shifted, kind="stable")[np.argsort(np.argsort(ours, kind="stable"), kind="stable")]
    difference = float(np.abs(shifted[order] - ours).max())
    tolerance = tolerance_of(*pair) * step
    if difference <= tolerance:
        return order
    units = str(pair[1].attrs.get("units", "")).strip()
    units = " m" if length_factor(units) is not None else f" {units}".rstrip()
    ranges = f"{theirs.min():g} to {theirs.max():g}{units} against {ours.min():g} to {ours.max():g}{units}"
    apart = shifted.min() > ours.max() or shifted.max() < ours.min()
    off = f"{ranges}, which do not overlap" if apart else f"they differ by up to {difference:g}{units}, {ranges}"
    found = f"other points along {str(dim)!r}: {off}"
    add(
        faults,
        "other-points",
        found,
        label,
        dim,
        record=str(like.name),
        share=tolerance / step,
        step=step,
        units=units,
        fix="choose the same region" if apart else INTERPOLATE,
    )
    return None
