"""A record of states on any grid: a ring, levels over a plane, or numbers without a geometry."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, dimensions_by_axis, find_variable, is_lazy, is_number
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.grid.coordinates import coordinate_along, measured, scaled, tolerance_of
from xvar.cf.record import Record, check_size, without_clash
from xvar.cf.times import read_times
from xvar.cf.units import normalise_units, units_of
from xvar.errors import Faults


def lattice_variable(dataset: xr.Dataset, variable: Hashable | None) -> Hashable | None:
    """Return the variable that is a record of states on a grid other than (y, x); None if there is no such variable."""
    if variable is None:
        fields = [name for name, part in dataset.data_vars.items() if is_number(part) and _is_lattice(part)]
        images = [part for part in dataset.data_vars.values() if is_number(part) and part.ndim >= 3]
        return fields[0] if len(fields) == 1 and not any(map(_is_sequence, images)) else None
    return variable if variable in dataset.data_vars and _is_lattice(dataset[variable]) else None


def _is_sequence(array: xr.DataArray) -> bool:
    """Return True for images (time, y, x), with any other dimensions of size one."""
    found = dimensions_by_axis(array)
    named = [dim for axis in ("T", "Y", "X") for dim in found[axis]]
    return all(found[axis] for axis in ("T", "Y", "X")) and all(
        array.sizes[dim] == 1 or dim in named for dim in array.dims
    )


def _is_lattice(array: xr.DataArray) -> bool:
    return array.ndim > 1 and len(dimensions_by_axis(array)["T"]) == 1 and not _is_sequence(array)


def read_lattice(
    dataset: xr.Dataset, variable: Hashable, faults: Faults, *, units: str | None = None, sort: bool = False
) -> Record | None:
    """Read a variable (time, ...) as a record of states, without computing lazy data; None if a fault was added.

    Axes keep their order and their direction. The spacing of an axis is that of its 1-D coordinate, lengths in metres;
    it is one without a coordinate, or if its steps differ. If the last two axes are recognised as y and x, they are
    those of a horizontal grid in true metres.
    """
    name = find_variable(dataset, variable, faults)
    if name is None:
        return None
    array = dataset[name]
    (time,) = dimensions_by_axis(array)["T"]
    axes = _axes(array, time)
    array = array.isel({dim: 0 for dim in array.dims if dim not in (time, *axes.space)}).transpose(time, *axes.space)
    known = "units" in array.attrs or units is not None
    own_units = units_of(array, units, faults) if known else "1"
    times = read_times(array, axes, faults, sort)
    grid = lattice_grid(array.isel({time: 0}, drop=True), axes, faults, dataset)
    if times is None or grid is None or own_units is None or not check_size(array, axes, faults):
        return None
    notes: list[str] = []
    array = without_clash(array if is_lazy(array) else array.load(), axes, faults, notes, own_model=True)
    if times.order is not None:
        array = array.isel({time: times.order})
    notes = [f"grid: {grid.description}", *notes, *([times.note] if times.note else [])]
    return Record(name, array, axes, times, grid, normalise_units(own_units), "other", None, tuple(notes))


def _axes(array: xr.DataArray, time: Hashable) -> Axes:
    """Return the axes: time, then all others of more than one value; y and x come last if they are recognised."""
    dims = [dim for dim in array.dims if dim != time and array.sizes[dim] > 1]
    return axes_of(array, dims, time)


def axes_of(array: xr.DataArray, dims: list[Hashable], time: Hashable) -> Axes:
    """Return the axes of a state on some dimensions, y and x last if they are recognised."""
    found = dimensions_by_axis(array)
    plane = [dim for axis in ("Y", "X") for dim in found[axis] if dim in dims]
    if len(plane) == 2 and len(found["Y"]) == len(found["X"]) == 1:
        dims = [*(dim for dim in dims if dim not in plane), *plane]
    dims = dims or [dim for dim in array.dims if dim != time][-1:]
    return Axes(time, dims[-2] if len(dims) > 1 else None, dims[-1], tuple(dims[:-2]))


def lattice_grid(field: xr.DataArray, axes: Axes, faults: Faults, mapping: xr.Dataset) -> HorizontalGrid | None:
    """Return the grid of a field on some axes; None if a fault was added."""
    shape = tuple(field.sizes[dim] for dim in axes.space)
    coordinates = [coordinate_along(field, dim) for dim in axes.space]
    lines = [_spacing(coordinate) for coordinate in coordinates]
    spacing, words = (
        [length for length, _ in lines],
        [f"{dim} {text}" for dim, (_, text) in zip(axes.space, lines, strict=True)],
    )
    metric, positions, ascending = None, None, [True] * len(shape)
    if len(shape) > 2 and all(measured(part) in ("length", "latitude", "longitude") for part in coordinates[-2:]):
        plane = horizontal_grid(field.isel(dict.fromkeys(axes.others, 0), drop=True), axes, faults, mapping=mapping)
        if plane is None:
            return None
        spacing[-2:], ascending[-2:], metric, positions = plane.spacing, plane.ascending, plane.metric, plane.positions
        words[-2:] = [plane.description]
    return HorizontalGrid(shape, tuple(spacing), metric, tuple(ascending), "index", False, "; ".join(words), positions)


def _spacing(coordinate: xr.DataArray | None) -> tuple[float, str]:
    """Return the distance of neighbours along a coordinate, and words about it."""
    if coordinate is None or not is_number(coordinate) or coordinate.size < 2:
        return 1.0, "by its index"
    steps = np.diff(scaled(coordinate))
    mean = float(steps.mean())
    if (
        mean == 0
        or not np.isfinite(steps).all()
        or float(np.abs(steps - mean).max()) > 10 * tolerance_of(coordinate) * abs(mean)
    ):
        return 1.0, "by its index: its steps differ"
    units = "m" if measured(coordinate) == "length" else str(coordinate.attrs.get("units", ""))
    return abs(mean), f"every {abs(mean):g} {units}".rstrip()
