"""Images as observations: of the record, and of other sources, on its grid and at times of their own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import canonical, find_axes, is_lazy
from xvar.cf.grid.coordinates import on_grid
from xvar.cf.kinds import Kind, kind
from xvar.cf.times import check_calendar
from xvar.cf.units import same_units, units_of
from xvar.core.methods.sources import Comparison, Frames
from xvar.execution.batches import WindowBatch
from xvar.plan.bridge import Array, Bridge
from xvar.plan.call import Call
from xvar.plan.experiment.state import State
from xvar.plan.windows import seconds_after
from xvar.quality.control import QualityControl
from xvar.quality.rules import Screen, read_quality


@dataclass(frozen=True, eq=False)
class Images(Comparison):
    r"""Images as observations: of the record, or of another source.

    .. math:: J_o = \sum \rho\left(\frac{T(a\, x + b) - T(y)}{\sigma}\right)

    Parameters
    ----------
    data : DataArray (time, y, x), optional
        Images on the grid of the record, at times of their own; those within a window are used, also between two steps
        of the model. If they are lazy (dask) each window reads its own. Default: the record of the call.
    variable : str, optional
        The observed variable of the state. Default: the name of `data` if it is one, else the variable of the record.
    error : float or DataArray, optional
        Standard deviation σ of the errors of observation, in the units of the variable. Default: for the record
        `observation_error` of the call, otherwise a share of the deviation of the images in the window.
    transform : callable, optional
        T, applied to state and observation alike, such as `SquareRoot`.
    threshold : float, optional
        c of the pseudo-Huber norm ρ, in standard deviations. Default: ρ is quadratic.
    reset : {None, "observation"}
        ``"observation"`` replaces the variable by each image after its misfit was taken (direct insertion, as in the
        paper). This cuts the adjoint of the variable: such a window is no strong-constraint 4D-Var.
    time_interpolation : {"linear", "nearest"}
        How the state is found at an image between two steps.
    gain, offset : Parameter, optional
        a and b, estimated with the state: for an instrument with errors of calibration, or images whose mean drifts.
        A number each; offsets in the units of the variable.
    calibration : {"frame", "window"}
        One gain and offset for each image, or for all images of a window.

    Raises
    ------
    InputError
        If a choice is unknown, or a calibration cannot be estimated.
    """

    data: Any = None
    variable: str | None = None
    error: Any = None

    @property
    def is_default(self) -> bool:
        """Return whether this means the same as leaving `observation` out."""
        own = ((getattr(self, part.name), part.default) for part in fields(self))
        return all(value is default or (isinstance(value, str) and value == default) for value, default in own)


@dataclass(frozen=True)
class _GriddedImages:
    """Images on the points of the record, in its order; `component` and `part` are as in `Frames`."""

    stated: Images
    label: str
    prefix: str  # of its parameters and of its dimension ``step``; empty for the record
    component: str
    part: int | None
    std: Array | None  # broadcastable to all images (time, y, x)

    @property
    def comparison(self) -> Comparison:
        """Comparison with the state, without the images."""
        return Comparison(**{part.name: getattr(self.stated, part.name) for part in fields(Comparison)})


class RecordSource(_GriddedImages):
    """Images of the record."""

    def frames(self, batch: WindowBatch, values: Array, bridge: Bridge) -> Frames:
        """Return the images (window, step, y, x) of a batch as observations."""
        std = None
        if self.std is not None:
            shared = np.zeros_like(batch.numbers[:1, :1])
            std = bridge.tensor(self.std[batch.numbers if len(self.std) > 1 else shared])
        return Frames(self.component, bridge.tensor(values), batch.seconds, std, self.comparison, part=self.part)


@dataclass(frozen=True)
class ImageSource(_GriddedImages):
    """Images beside the record."""

    values: Any  # (time, y, x), numpy, or dask of which each window computes its own images
    dates: Array  # (time,)
    seconds: NDArray[np.float64]  # (time,), after the first frame of the record, ascending
    quality: QualityControl
    units: tuple[float, float] | None  # factor and term of the conversion into those of the variable
    size: int = 1  # most images that a window holds

    def within(self, begin: float, length: float) -> tuple[Array, NDArray[np.float64]]:
        """Return the numbers of the images of a window, and their times after its beginning."""
        time = np.round(self.seconds - begin, 6)
        numbers = np.flatnonzero((time >= 0) & (time <= length + 1e-6))
        return numbers, time[numbers].clip(max=length)

    def frames(self, begin: float, length: float, bridge: Bridge) -> Frames:
        """Return the images of a window; one without values if there are none."""
        import dask

        numbers, time = self.within(begin, length)
        if len(numbers):
            with dask.config.set(scheduler="synchronous"):
                values = np.asarray(self.values[numbers])
            values = self.quality(values[None])[0][0]
            std = None if self.std is None else self.std[numbers if len(self.std) > 1 else slice(None)]
            if self.units is not None:
                values = values * self.units[0] + self.units[1]
        else:
            values, time, std = np.full((1, *bridge.grid.shape), np.nan), np.zeros(1), None
        return Frames(
            component=self.component,
            part=self.part,
            values=bridge.tensor(bridge.without_land(values[None])),
            seconds=tuple(time.tolist()),
            std=None if std is None else bridge.tensor(std[None]),
            comparison=self.comparison,
            prefix=self.prefix,
        )


def read_record_source(call: Call, state: State, images: Images) -> RecordSource | None:
    """Read how the images of the record are compared."""
    record, stated = call.record, call.options.observation_error
    if images.error is not None and stated is not None:
        call.faults.add(
            code="observation-error-twice",
            variable="observation_error",
            found="observation_error= beside Images(error=...)",
            expected="one error of the images of the record",
            fix="leave one of them out",
        )
    error = images.error if stated is None else stated
    std = _error(error, record.array, record.units, record.times.order, call)
    name = images.variable or call.name
    if name not in state.names:
        return None  # reported with the background
    key, part = state.place(name, "observation", call.faults) or ("", None)
    if part is not None and images.reset:
        call.faults.add(
            code="reset-of-one-variable",
            variable="observation",
            found=f'reset="observation" of {name!r}, one of the variables of {key!r}',
            expected="a component of its own",
            fix="leave reset out",
        )
    return RecordSource(images, call.name, "", key, part, std)


def read_images(label: str, images: Images, call: Call, state: State) -> ImageSource | None:
    """Read images beside the record; None if a fault was added."""
    faults, before, data = call.faults, len(call.faults), images.data
    dataset = data if isinstance(data, xr.Dataset) else None
    if dataset is not None and len(dataset.data_vars) == 1:
        data = next(iter(dataset.data_vars.values()))
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
    check_calendar(array, call.record.times.values, faults, label)
    wanted = images.variable or (str(data.name) if str(data.name) in state.names else call.name)
    place = state.place(wanted, label, faults)
    seconds = _seconds(array, axes.time, label, call)
    orders = [np.argsort(seconds, kind="stable"), *_on_points(array, label, call)]
    std = _error(images.error, array, state.units.get(wanted, ""), None, call)
    if place is None or len(faults) > before:
        return None
    for axis, order in enumerate(orders):
        if (np.diff(order) != 1).any():
            array = array.isel({array.dims[axis]: order})
            std = std if std is None or std.shape[axis] == 1 else std.take(order, axis)
    units, what = _units(array, dataset, state.units.get(wanted), label, call)
    screen = Screen.of(label, what, str(array.attrs.get("units", "")), None, time=axes.time)
    source = ImageSource(
        stated=images,
        label=label,
        prefix=f"{label}_",
        component=place[0],
        part=place[1],
        values=array.data if is_lazy(array) else np.asarray(array.values),
        dates=array.coords[axes.time].values,
        seconds=np.sort(seconds),
        std=std,
        quality=QualityControl(screen, read_quality(None, what, faults, images=False)),
        units=units,
    )
    counts = [len(source.within(*window)[0]) for window in call.windows]
    if not max(counts):
        call.notes.append(f"{label}: none of {len(seconds)} images lies in a window")
    return replace(source, size=max(1, *counts)) if len(faults) == before else None


def _error(given: Any, like: xr.DataArray, units: str, order: NDArray[np.intp] | None, call: Call) -> Array | None:
    """Return standard deviations, broadcastable to images (time, y, x) with their units; None if none are stated.

    `order` is the order of the images in time, if it is not that of the input.
    """
    if given is None:
        return None
    if isinstance(given, xr.DataArray):
        dims = like.dims
        if not set(given.dims) <= set(dims) or any(given.sizes[dim] != like.sizes[dim] for dim in given.dims):
            call.faults.add(
                code="observation-error-dimensions",
                variable="observation_error",
                found=f"dimensions {dict(given.sizes)}",
                expected=f"those of the images, {dict(like.sizes)}, or some of them",
                fix="give a standard deviation for every observation, or one number",
            )
            return None
        if order is not None and dims[0] in given.dims:
            given = given.isel({dims[0]: order})
        whole = given.expand_dims([dim for dim in dims if dim not in given.dims]).transpose(*dims)
        values = np.asarray(whole.values, dtype="float64")
        values = call.in_units(values, given, units, "observation_error", difference=True)
    else:
        try:
            values = np.broadcast_to(np.asarray(given, dtype="float64"), like.shape)
            values = values[tuple(slice(0, 1) if step == 0 else slice(None) for step in values.strides)]
        except (TypeError, ValueError):
            call.faults.add(
                code="observation-error-not-a-number",
                variable="observation_error",
                found=f"observation_error={given!r}",
                expected="a number, in the units of the variable, or a DataArray",
                fix="observation_error=0.1",
            )
            return None
    wrong = ~(values > 0)
    if wrong.any():
        index = tuple(int(axis[0]) for axis in np.nonzero(wrong))
        call.faults.add(
            code="observation-error-not-positive",
            variable="observation_error",
            index=index,
            found=f"{int(wrong.sum())} standard deviations that are not positive, the first {values[index]:g}",
            expected="positive numbers in the units of the variable",
            fix="observation_error=0.1; NaN in the data takes an observation out",
        )
    return values


def _seconds(array: xr.DataArray, dim: Hashable, label: str, call: Call) -> NDArray[np.float64]:
    """Return the times of images in seconds after the first frame of the record."""
    known = call.record.times.values
    dates = array.coords[dim].values if dim in array.coords else np.zeros(0)
    if dates.dtype.kind == known.dtype.kind and dates.dtype.kind in "MO":
        return seconds_after(dates, known[0])
    call.faults.add(
        code="images-without-dates",
        variable=label,
        dimension=dim,
        found=f"times of type {dates.dtype}",
        expected=f"dates, as of {call.name!r}",
        fix=f"assign_coords({dim}=pandas.date_range(...))",
    )
    return np.zeros(0)


def _on_points(array: xr.DataArray, label: str, call: Call) -> list[NDArray[np.intp]]:
    """Return the rows and the columns of images that are those of the record; nothing if these are others."""
    shape = array.shape[1:]
    numbers = array.isel({array.dims[0]: 0}, drop=True).copy(data=np.arange(np.prod(shape)).reshape(shape))
    found = on_grid(numbers, call.record.array, call.record.axes, call.faults, label)
    return [] if found is None else [found.values[:, 0] // shape[1], found.values[0] % shape[1]]


def _units(
    array: xr.DataArray, dataset: xr.Dataset | None, units: str | None, label: str, call: Call
) -> tuple[tuple[float, float] | None, Kind]:
    """Return factor and term of the conversion into the units of the variable, and what the images measure."""
    if units is None or "units" not in array.attrs:
        return None, "other"
    own = units_of(array, None, call.faults)
    if own is None or same_units(own, units):
        return None, kind(array, dataset)
    shift, end = (float(value) for value in call.in_units(np.array([0.0, 1.0]), array, units, label))
    return (end - shift, shift), kind(array, dataset)
