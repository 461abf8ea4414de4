"""Record of a call whose data are a table of points: no images, but the times of the states, and their grid."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, is_lazy, without_flags
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.grid.coordinates import coordinate_along, in_plane, measured
from xvar.cf.lattice import axes_of, lattice_grid
from xvar.cf.record import Record
from xvar.cf.times import Times, parse_duration
from xvar.cf.units import normalise_units, without_quantities
from xvar.errors import Faults
from xvar.execution.dispatch import is_deferred
from xvar.execution.schedule import Schedule
from xvar.plan.control import read_background
from xvar.plan.experiment.rows import read_dates
from xvar.plan.method import is_own_model
from xvar.plan.options import Options

if TYPE_CHECKING:
    from xvar.plan.experiment.observations import Sources

#: Options about images.
_OF_IMAGES = ("stride", "gaps", "observation_error", "quality", "land", "units", "dx", "dy")


@dataclass(frozen=True, kw_only=True)
class PointRecord(Record):
    """Times of the states of the windows of a table of points, with nothing observed in the images there."""

    sources: Sources
    frame: float  # seconds between the states of a window
    schedule: Schedule

    @property
    def cadence(self) -> float:
        """Seconds between the states of a window."""
        return self.frame


def read_point_record(
    table: xr.Dataset, variable: Hashable | None, options: Options, faults: Faults
) -> tuple[xr.Dataset, PointRecord | None]:
    """Return the background as a Dataset, and the record of the states between its times; None if a fault was added."""
    from xvar.plan.experiment.observations import read_sources

    before, stated = len(faults), options.stated()
    misplaced = [name for name in _OF_IMAGES if name in stated]
    for name in misplaced if variable is None else ["variable", *misplaced]:
        faults.add(
            code="option-misplaced",
            variable=name,
            found=f"{name}= with a table of points",
            expected="an option that has a meaning for points",
            fix=f"leave {name}= out",
        )
    cycled, background = read_background(options.background)
    sources = read_sources(options.observation, "", faults).with_table(table)
    if background is None or not len(background.data_vars):
        faults.add(
            code="background-missing",
            variable="background",
            found="a table of points without background=" + (", cycled" if cycled else ""),
            expected="the state at the beginning, which gives the grid",
            fix="background=xvar.background.Cycled(first=a Dataset)" if cycled else "background=a Dataset",
        )
        return xr.Dataset(), None
    background = without_flags(without_quantities(background))
    names = [str(name) for name in background.data_vars]
    name = next((name for name in names if name not in ("u", "v")), names[0])
    time = time_of(background)
    axes = _axes(background[name], "time" if time is None else time.dims[0], options, faults)
    begins = _begins(background, time, faults)
    dates = [read_dates(one.dataset, faults) for one in sources.points.values() if one.dataset is not None]
    if len(faults) > before or axes is None:
        return background, None
    known = np.concatenate([part for part in dates if part is not None])
    spans = _spans(begins, known, sources, options, faults, cycled=cycled)
    first = background[name].isel({time.dims[0]: 0} if time is not None else {}, drop=True).squeeze(drop=True)
    grid = _grid(first, axes, options, faults, background)
    if spans is None or grid is None or len(faults) > before:
        return background, None
    states, schedule, frame = spans
    lazy = is_deferred() or is_lazy(table["value"])
    return background, PointRecord(
        name=name,
        array=_unobserved(first.transpose(*axes.space), axes.time, states, lazy=lazy),
        axes=axes,
        times=Times(states, (states - states[0]) / np.timedelta64(1, "s")),
        grid=grid,
        units=normalise_units(str(background[name].attrs.get("units", "1"))),
        kind="other",
        land=_land(background, axes.space) if len(axes.space) == 2 else None,
        notes=(f"grid: {grid.description}", "no images: a table of points"),
        sources=sources,
        schedule=schedule,
        frame=frame,
    )


def time_of(background: xr.Dataset) -> xr.DataArray | None:
    """Return the dates along a dimension of a background of several times."""
    times: Iterator[xr.DataArray] = (part for part in background.coords.values() if part.ndim == 1)
    dated = (time for time in times if time.size > 1 and (time.dtype.kind == "M" or time.dtype == object))
    return next(dated, None)


def _axes(field: xr.DataArray, time: Hashable, options: Options, faults: Faults) -> Axes | None:
    """Return the axes of the grid; None if a fault was added."""
    dims = [dim for dim, size in field.sizes.items() if dim != time and size > 1]
    if len(dims) == 2:
        return Axes(time, dims[0], dims[1])
    if dims and is_own_model(options.dynamics):
        return axes_of(field, dims, time)
    faults.add(
        code="background-dimensions",
        variable=f"background {field.name}",
        found=f"dimensions {field.dims}",
        expected="those of the grid, beside the time: two, (y, x), but for a model of your own",
        fix="background.isel(time=0)",
    )
    return None


def _grid(
    field: xr.DataArray, axes: Axes, options: Options, faults: Faults, mapping: xr.Dataset
) -> HorizontalGrid | None:
    """Return the grid of a state: one in metres, or for a model of one's own of any axes."""
    known = any(measured(coordinate_along(field, dim)) != "none" for dim in axes.space)
    plane = len(axes.space) == 2 and (known or in_plane(field.coords, axes) is not None)
    read = horizontal_grid if plane or not is_own_model(options.dynamics) else lattice_grid
    return read(field, axes, faults, mapping=mapping)


def _begins(background: xr.Dataset, time: xr.DataArray | None, faults: Faults) -> NDArray[Any]:
    """Return the dates at which windows begin."""
    dates = background.coords.get("time") if time is None else time
    if dates is None or dates.dtype.kind != "M" or (time is None and dates.size != 1):
        faults.add(
            code="background-without-time",
            variable="background",
            found="no time" if dates is None else f"time of size {dates.size} and type {dates.dtype}",
            expected="a coordinate time: where the window begins, or each window",
            fix='background.assign_coords(time=np.datetime64("2024-01-01"))',
        )
        return np.zeros(0, dtype="datetime64[ns]")
    return np.sort(dates.values.ravel().astype("datetime64[ns]"))


def _spans(
    begins: NDArray[Any], dates: NDArray[Any], sources: Sources, options: Options, faults: Faults, *, cycled: bool
) -> tuple[NDArray[Any], Schedule, float] | None:
    """Return the dates of all states, the windows, and the seconds between the states of one, see `_states`."""
    stated = [one.every for one in sources.points.values() if one.every is not None]
    every = parse_duration(stated[0], "every", faults) if stated else None
    length = None if options.window is None else parse_duration(options.window, "window", faults)
    last = float(((dates - begins[0])[~np.isnat(dates)] / np.timedelta64(1, "s")).max(initial=0.0))
    if options.window is None and (cycled or len(begins) > 1):
        faults.add(
            code="window-missing",
            variable="window",
            found="a background of several times without window=" if not cycled else "cycled windows without window=",
            expected="the length of the windows",
            fix='window="6h"',
        )
    elif length is None and last <= 0:
        faults.add(
            code="points-before-background",
            found=f"no observation after the background's time {begins[0]}",
            expected="observations in the window, which begins there",
            fix="background.sel(time=...), of an earlier time",
        )
    elif cycled and len(begins) > 1:
        faults.add(
            code="background-of-several-times",
            variable="background",
            found=f"cycled windows with a background of {len(begins)} times",
            expected="the background of the first window",
            fix="xvar.background.Cycled(first=background.isel(time=0))",
        )
    elif length is not None or options.window is None:
        return _states(begins, last if length is None else length, last if cycled else None, every)
    return None


def _states(
    begins: NDArray[Any], length: float, last: float | None, every: float | None
) -> tuple[NDArray[Any], Schedule, float]:
    """Return the dates of all states, the windows, and the seconds between the states of one.

    Cycled windows follow one another until `last`, in seconds after the first one begins.
    """
    lead = elapsed = None
    if last is not None:
        count = max(1, math.ceil(last / length - 1e-9))
        begins = begins[0] + np.arange(count) * _timedelta(length)
        lead, elapsed = np.zeros(count), np.full(count, length)
        lead[0] = elapsed[0] = np.nan
    inner = [0.0] if every is None else np.arange(0.0, length * (1 - 1e-9), every).tolist()
    offsets = np.array([*inner, length])
    states = begins[:, None] + _timedelta(offsets)
    dates, frames = np.unique(states, return_inverse=True)
    seconds = np.broadcast_to(offsets, states.shape).copy()
    return dates, Schedule(frames.reshape(states.shape), seconds, lead, elapsed), every or length


def _timedelta(seconds: Any) -> Any:
    return np.round(np.multiply(seconds, 1e9)).astype("int64").astype("timedelta64[ns]")


def _unobserved(first: xr.DataArray, dim: Hashable, dates: NDArray[Any], *, lazy: bool) -> xr.DataArray:
    """Return images (time, y, x) in which nothing was observed; they take no memory."""
    shape, nothing = (len(dates), *first.shape), np.float32(np.nan)
    data: Any = np.broadcast_to(nothing, shape)
    if lazy:
        import dask.array

        data = dask.array.full(shape, nothing, dtype="float32", chunks=(1, *first.shape))
    coords = {key: part for key, part in first.coords.items() if set(part.dims) <= set(first.dims) and part.ndim}
    attrs = {"long_name": f"analysis of {first.name}", **first.attrs}
    return xr.DataArray(data, {**coords, dim: dates}, (dim, *first.dims), first.name, attrs)


def _land(background: xr.Dataset, plane: tuple[Hashable, ...]) -> NDArray[np.bool_] | None:
    """Return the points at which no variable of the background is ever defined."""
    parts = [part for part in background.data_vars.values() if set(plane) <= set(part.dims)]
    missing = [part.isnull().all([dim for dim in part.dims if dim not in plane]).transpose(*plane) for part in parts]
    land = np.logical_and.reduce([np.asarray(part.values) for part in missing])
    return np.asarray(land) if land.any() else None
