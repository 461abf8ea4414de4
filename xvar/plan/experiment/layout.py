"""Axes of images behind the time: channels, and the grid of the record or coordinates of their own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, canonical, check_extra, dimensions_by_axis, find_axes, is_date, is_number
from xvar.cf.grid import horizontal_grid
from xvar.cf.grid.coordinates import on_grid
from xvar.cf.record import Record
from xvar.errors import Faults
from xvar.plan.bridge import Array, Bridge
from xvar.plan.call import Call

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.grid import Grid
    from xvar.plan.experiment.images import Images

Orders = list[NDArray[np.intp]]


@dataclass(frozen=True)
class Layout:
    """Axes of images behind the time."""

    dims: tuple[str, ...]  # names in the output
    shape: tuple[int, ...]
    channels: bool = False  # the first axis counts channels
    on_grid: bool = True  # the last axes are those of the record
    coords: dict[str, xr.Variable] = field(default_factory=dict)  # of those axes that are no axes of the record
    grid: Grid | None = None  # of coordinates of their own, if they are a plane

    @classmethod
    def of_record(cls, record: Record) -> Layout:
        """Return the layout of the images of a record."""
        return cls(tuple(record.axes.places), tuple(record.array.shape[1:]))

    @property
    def core_shape(self) -> tuple[int, ...]:
        """Shape of an image in the core, (channel, *shape)."""
        return self.shape if self.channels else (1, *self.shape)

    @property
    def number_of_channels(self) -> int:
        """Length of the first axis in the core."""
        return self.core_shape[0]

    def tensor(self, values: Array, bridge: Bridge) -> Tensor:
        """Return images (..., *shape) as a tensor."""
        return bridge.tensor(values) if self.on_grid else bridge.numbers(values)

    def array(self, tensor: Tensor, bridge: Bridge) -> Array:
        """Return a tensor of images as an array."""
        return bridge.array(tensor) if self.on_grid else np.asarray(tensor.detach().cpu().numpy())

    def without_land(self, values: Array, bridge: Bridge) -> Array:
        """Set images to NaN on land, if they are on the grid of the record."""
        return bridge.without_land(values) if self.on_grid else values


def arrange(data: xr.DataArray, images: Images, label: str, call: Call) -> tuple[xr.DataArray, Orders, Layout] | None:
    """Return images as (time, *shape), their order along each axis of the shape, and their layout.

    None if a fault was added.
    """
    record, faults = call.record, call.faults
    plane = record.axes.space
    time = _time_of(data, record)
    named = images.coordinates == "data" or set(plane) <= set(data.dims)
    if time is None or not named or (images.operator is None and _shows_plane(record)):
        return _plain(data, label, call)
    if not is_number(data):
        faults.add(
            code="not-numeric",
            variable=label,
            found=f"images of type {data.dtype}",
            expected="numbers",
            fix="images.astype(float)",
        )
        return None
    if images.operator is None:
        check_extra(data, (time, *plane), label, faults)
        data = data.isel({dim: 0 for dim in data.dims if dim not in (time, *plane)}, drop=True)
    others = [dim for dim in data.dims if dim != time and dim not in plane]
    shared = [dim for dim in plane if dim in data.dims]
    array = data.transpose(time, *others, *shared)
    own = {f"{label}_{dim}": array.coords[dim].variable for dim in others if dim in array.coords}
    if images.coordinates == "grid":
        orders = _on_points(array.isel(dict.fromkeys((time, *others), 0)), label, call)
        if orders is None:
            return None
        size = [np.arange(array.sizes[dim]) for dim in others]
        dims = (*(f"{label}_{dim}" for dim in others), *record.axes.places)
        return array, [*size, *orders], Layout(dims, tuple(array.shape[1:]), bool(others), coords=_renamed(own))
    orders = [np.arange(size) for size in array.shape[1:]]
    for axis, dim in enumerate(shared, len(others)):
        along_it = array.coords[dim].values if dim in array.coords and is_number(array.coords[dim]) else np.zeros(1)
        if along_it[0] > along_it[-1]:
            orders[axis] = orders[axis][::-1]
    turned = array.isel(dict(zip(array.dims[1:], orders, strict=True)))
    own |= {f"{label}_{dim}": turned.coords[dim].variable for dim in shared if dim in turned.coords}
    layout = Layout(
        dims=tuple(f"{label}_{dim}" for dim in (*others, *shared)),
        shape=tuple(array.shape[1:]),
        channels=bool(others),
        on_grid=False,
        coords=_renamed(own),
        grid=_own_grid(turned, time, shared),
    )
    return array, orders, layout


def _shows_plane(record: Record) -> bool:
    """Return whether y and x of a record are recognised, whatever the dimensions of other images are called."""
    found = dimensions_by_axis(record.array)
    return record.is_plane and bool(found["Y"] and found["X"])


def _renamed(coords: dict[str, xr.Variable]) -> dict[str, xr.Variable]:
    return {name: xr.Variable((name,), part.values, part.attrs) for name, part in coords.items()}


def _plain(data: xr.DataArray, label: str, call: Call) -> tuple[xr.DataArray, Orders, Layout] | None:
    """Arrange images (time, y, x) on the grid of the record, whatever their dimensions are called."""
    axes = find_axes(data, call.faults)
    array = None if axes is None else canonical(data, axes, call.faults)
    if array is None:
        return None
    orders = _on_points(array.isel({array.dims[0]: 0}, drop=True), label, call)
    return None if orders is None else (array, orders, Layout.of_record(call.record))


def _time_of(data: xr.DataArray, record: Record) -> Hashable | None:
    """Return the dimension of the dates: that of the record, or the only one with dates."""
    dated = [dim for dim in data.dims if dim in data.coords and is_date(data.coords[dim])]
    return record.axes.time if record.axes.time in data.dims else dated[0] if len(dated) == 1 else None


def _on_points(image: xr.DataArray, label: str, call: Call) -> Orders | None:
    """Return the places along each axis of an image that are those of the record; None if its points are others."""
    numbers = image.copy(data=np.arange(image.size).reshape(image.shape))
    found = on_grid(numbers, call.record.array, call.record.axes, call.faults, label)
    if found is None:
        return None
    places = np.unravel_index(found.values, image.shape)
    return [np.moveaxis(part, axis, 0).reshape(part.shape[axis], -1)[:, 0] for axis, part in enumerate(places)]


def _own_grid(array: xr.DataArray, time: Hashable, plane: list[Hashable]) -> Grid | None:
    """Return the grid of images on a plane of their own; None if its spacing is not known."""
    if len(plane) != 2:
        return None
    found = Faults()
    first = array.isel({dim: 0 for dim in array.dims if dim not in plane}, drop=True)
    grid = horizontal_grid(first, Axes(time, plane[0], plane[1]), found, mapping=first.to_dataset(name="field"))
    return None if grid is None or found else Bridge(grid, None, "float64").core_grid()


def along(given: Any, like: xr.DataArray, label: str, faults: Faults) -> Array | None:
    """Return values broadcastable to images (time, *shape): of a DataArray on some of their dimensions, or a number.

    None if a fault was added.
    """
    expected = f"a number, or a DataArray on dimensions of the images, {dict(like.sizes)}"
    fix = "give a number for every observation, or one for all"
    if isinstance(given, xr.DataArray):
        dims = like.dims
        if set(given.dims) <= set(dims) and all(given.sizes[dim] == like.sizes[dim] for dim in given.dims):
            whole = given.expand_dims([dim for dim in dims if dim not in given.dims]).transpose(*dims)
            return np.asarray(whole.values, dtype="float64")
        found = f"dimensions {dict(given.sizes)}"
        faults.add(code="values-dimensions", variable=label, found=found, expected=expected, fix=fix)
        return None
    try:
        values = np.broadcast_to(np.asarray(given, dtype="float64"), like.shape)
    except (TypeError, ValueError):
        found = f"{label}={given!r}"
        faults.add(code="values-not-a-number", variable=label, found=found, expected=expected, fix=fix)
        return None
    return values[tuple(slice(0, 1) if step == 0 else slice(None) for step in values.strides)]
