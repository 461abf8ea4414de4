"""Images beside the record: read onto its grid, and selected for each window at their own times."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.alignment import on_grid
from xvar.cf.axes import canonical, find_axes, is_lazy
from xvar.cf.kinds import Kind, kind
from xvar.cf.times import check_calendar
from xvar.cf.units import same_units, units_of
from xvar.core.methods.images import Comparison, Frames
from xvar.errors import Faults
from xvar.plan.bridge import Array, Bridge
from xvar.plan.experiment.points import windows_of
from xvar.plan.experiment.quantities import in_units, observation_error
from xvar.plan.experiment.sources import Images
from xvar.plan.experiment.state import State
from xvar.quality.control import QualityControl
from xvar.quality.rules import read_quality
from xvar.quality.values import Screen

if TYPE_CHECKING:
    from xvar.cf.record import Record
    from xvar.execution.schedule import Schedule


def comparison_of(images: Images) -> Comparison:
    """Return how images are compared, without the images."""
    return Comparison(**{part.name: getattr(images, part.name) for part in fields(Comparison)})


@dataclass(frozen=True)
class ImageSource:
    """Images beside the record.

    Attributes
    ----------
    label : str
        Name of the source.
    component : str
    part : int, optional
        The observed component of the state, and the variable of it, see `Frames`.
    values : array (time, y, x)
        On the points of the record, in its order; numpy, or dask of which each window computes its own images.
    dates : array (time,)
    seconds : array of float (time,)
        Time of each, as a date and after the first frame of the record, ascending.
    std : array, broadcastable to `values`, optional
        Standard deviation of the errors of observation.
    comparison : Comparison
    quality : QualityControl
    units : tuple of float, optional
        Factor and term that convert the values into the units of the variable; None if they are in them.
    size : int
        Most images that a window holds.
    """

    label: str
    component: str
    part: int | None
    values: Any
    dates: Array
    seconds: NDArray[np.float64]
    std: Array | None
    comparison: Comparison
    quality: QualityControl
    units: tuple[float, float] | None
    size: int = 1

    def within(self, begin: float, length: float) -> tuple[Array, NDArray[np.float64]]:
        """Return the numbers of the images of a window, and their times after its beginning."""
        time = np.round(self.seconds - begin, 6)
        numbers = np.flatnonzero((time >= 0) & (time <= length + 1e-6))
        return numbers, time[numbers].clip(max=length)

    def frames(self, begin: float, length: float, bridge: Bridge) -> Frames:
        """Return the images of a window; one without values if there are none."""
        import dask

        numbers, time = self.within(begin, length)
        if not len(numbers):
            return self._frames(np.full((1, *bridge.grid.shape), np.nan), np.zeros(1), None, bridge)
        with dask.config.set(scheduler="synchronous"):
            values = np.asarray(self.values[numbers])
        values = self.quality(values[None])[0][0]
        if self.units is not None:
            values = values * self.units[0] + self.units[1]
        std = None if self.std is None else self.std[numbers if len(self.std) > 1 else slice(None)]
        return self._frames(values, time, std, bridge)

    def _frames(self, values: Array, time: NDArray[np.float64], std: Array | None, bridge: Bridge) -> Frames:
        return Frames(
            component=self.component,
            part=self.part,
            values=bridge.tensor(bridge.without_land(values[None])),
            seconds=tuple(time.tolist()),
            std=None if std is None else bridge.tensor(std[None]),
            comparison=self.comparison,
            prefix=f"{self.label}_",
        )


def read_images(
    label: str, images: Images, state: State, record: Record, schedule: Schedule, faults: Faults, notes: list[str]
) -> ImageSource | None:
    """Read images beside the record; None if a fault was added."""
    before, data = len(faults), images.data
    if isinstance(data, xr.Dataset) and len(data.data_vars) == 1:
        data = next(iter(data.data_vars.values()))
    if not isinstance(data, xr.DataArray):
        faults.add(
            code="images-not-a-dataarray",
            variable=label,
            found=f"images of type {type(images.data).__name__}",
            expected="a DataArray (time, y, x)",
            fix='xvar.observation.Images(data=ds["sst"])',
        )
        return None
    axes = find_axes(data, faults)
    array = None if axes is None else canonical(data, axes, faults)
    if axes is None or array is None:
        return None
    check_calendar(array, record.times.values, faults, label)
    wanted = images.variable or (str(data.name) if str(data.name) in state.names else str(record.name))
    place = state.place(wanted, label, faults)
    seconds = _seconds(array, axes.time, record, label, faults)
    orders = [np.argsort(seconds, kind="stable"), *_on_points(array, record, label, faults)]
    std = observation_error(images.error, array, state.units.get(wanted, ""), None, faults, notes)
    if place is None or len(faults) > before:
        return None
    for axis, order in enumerate(orders):
        if (np.diff(order) != 1).any():
            array = array.isel({array.dims[axis]: order})
            std = std if std is None or std.shape[axis] == 1 else std.take(order, axis)
    dataset = images.data if isinstance(images.data, xr.Dataset) else None
    units, what = _units(array, dataset, wanted, state, label, faults, notes)
    screen = Screen.of(label, what, str(array.attrs.get("units", "")), None, time=axes.time)
    source = ImageSource(
        label=label,
        component=place[0],
        part=place[1],
        values=array.data if is_lazy(array) else np.asarray(array.values),
        dates=array.coords[axes.time].values,
        seconds=np.sort(seconds),
        std=std,
        comparison=comparison_of(images),
        quality=QualityControl(screen, read_quality(None, what, faults, images=False)),
        units=units,
    )
    counts = [len(source.within(*window)[0]) for window in windows_of(schedule, record)]
    if not max(counts):
        notes.append(f"{label}: none of {len(seconds)} images lies in a window")
    return replace(source, size=max(1, *counts)) if len(faults) == before else None


def _seconds(array: xr.DataArray, dim: Hashable, record: Record, label: str, faults: Faults) -> NDArray[np.float64]:
    """Return the times of images in seconds after the first frame of the record."""
    dates = array.coords[dim].values if dim in array.coords else np.zeros(0)
    if dates.dtype.kind != record.times.values.dtype.kind or dates.dtype.kind not in "MO":
        faults.add(
            code="images-without-dates",
            variable=label,
            dimension=dim,
            found=f"times of type {dates.dtype}",
            expected=f"dates, as of {str(record.name)!r}",
            fix=f"assign_coords({dim}=pandas.date_range(...))",
        )
        return np.zeros(0)
    since = [date - record.times.values[0] for date in dates]
    one = np.timedelta64(1, "s")
    return np.array([part / one if dates.dtype.kind == "M" else part.total_seconds() for part in since], dtype=float)


def _on_points(array: xr.DataArray, record: Record, label: str, faults: Faults) -> list[NDArray[np.intp]]:
    """Return the rows and the columns of images that are those of the record; nothing if these are others."""
    shape = array.shape[1:]
    numbers = array.isel({array.dims[0]: 0}, drop=True).copy(data=np.arange(np.prod(shape)).reshape(shape))
    found = on_grid(numbers, record.array, record.axes, faults, label)
    return [] if found is None else [found.values[:, 0] // shape[1], found.values[0] % shape[1]]


def _units(
    array: xr.DataArray,
    dataset: xr.Dataset | None,
    wanted: str,
    state: State,
    label: str,
    faults: Faults,
    notes: list[str],
) -> tuple[tuple[float, float] | None, Kind]:
    """Return factor and term of the conversion into the units of the variable, and what the images measure."""
    units = state.units.get(wanted)
    if units is None or "units" not in array.attrs:
        return None, "other"
    own = units_of(array, None, faults)
    if own is None or same_units(own, units):
        return None, kind(array, dataset)
    shift, end = (float(value) for value in in_units(np.array([0.0, 1.0]), array, units, label, faults, notes))
    return (end - shift, shift), kind(array, dataset)
