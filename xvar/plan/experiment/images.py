"""Images as observations: of the record, and of other sources, at times of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import is_lazy
from xvar.cf.kinds import Kind, kind
from xvar.cf.times import check_calendar
from xvar.cf.units import same_units, units_of
from xvar.core.comparison import Comparison, OfVariables
from xvar.core.methods.frames import Frames
from xvar.errors import Faults
from xvar.execution.batches import WindowBatch
from xvar.plan.bridge import Array, Bridge
from xvar.plan.call import Call, Span
from xvar.plan.experiment.checks import read_image_quality
from xvar.plan.experiment.layout import Layout, along, arrange
from xvar.plan.experiment.operators import of_variables
from xvar.plan.experiment.state import State
from xvar.plan.observation_error import Error, ordered, read_error
from xvar.plan.windows import seconds_after
from xvar.quality.control import QualityControl
from xvar.quality.rules import Screen


@dataclass(frozen=True, eq=False)
class Images(Comparison):
    r"""Images as observations: of the record, or of another source.

    .. math::

        J_o = \sum \rho\left(R^{-1/2} \left(T(\tilde H(x)) - T(y)\right)\right), \qquad
        \tilde H(x) = a\, H(x) + b + \sum_i \beta_i\, p_i

    Parameters
    ----------
    data : DataArray (time, ..., y, x), optional
        Images at times of their own; those within a window are used, also between two steps of the model. If they are
        lazy (dask) each window reads its own. Without an `operator` they are (time, y, x) on the grid of the record.
        With one they may have a dimension of channels before those of the grid, or `coordinates` of their own. Default:
        the record of the call.
    variable : str, optional
        The observed variable of the state, if there is no `operator`. Default: the name of `data` if it is one, else
        the variable of the record.
    coordinates : {"grid", "data"}
        What the `operator` returns is on the grid of the record, or on the coordinates of `data`: a coarser grid, a
        profile, one number a time.
    reset : {None, "observation"}
        ``"observation"`` replaces the variable by each image after its misfit was taken (direct insertion, as in the
        paper). This cuts the adjoint of the variable: such a window is no strong-constraint 4D-Var.
    calibration : {"frame", "window"}
        One `gain` and `offset` for each image, or for all images of a window.
    operator : callable, optional
        H, a function of the state that torch can differentiate: a dict of the tensor (window, 1, \*grid) of each
        variable by its name, coordinates ascending, and of the components (window, component, \*grid) and parameters
        of the model. It returns (window, channel, \*shape) in the order of the dimensions of `data`, of which those
        that are named as in the record ascend; axes of length one may be left out. Default: the `variable`.
    error : float, DataArray or specification of xvar.covariance, optional
        Standard deviation of the errors of observation, in the units of `data`, for each value or for all; or R of an
        image: `xvar.covariance.Matern` in space, `Channels` across channels, or both. R may not be truncated. Default:
        for the record `observation_error` of the call, otherwise a share of the deviation of the images in the window.
    norm : {"quadratic", "huber", "pseudo_huber"}, optional
        The norm rho of residuals. Default: ``"pseudo_huber"`` if there is a `threshold`, else ``"quadratic"``.
    threshold : float, optional
        c of a robust norm, in standard deviations.
    transform : callable, optional
        T, applied to equivalent and observation alike, such as `SquareRoot`; `error` is then that of T(y).
    gain, offset : Parameter, optional
        a and b, estimated with the state: for an instrument with errors of calibration, or images whose mean drifts.
        A number each; offsets in the units of `data`.
    bias : mapping of str to Parameter or Bias, optional
        Coefficients of a bias, one number a window each, estimated with the state (VarBC): of the constant 1, or of the
        predictor of a `Bias`.
    quality : mapping of str, optional
        ``"background_check": k`` rejects values with :math:`|y - H(x_b)| > k \sigma`; ``"range": (low, high)`` values
        outside; other rules of quality control by name, True or False. False switches a rule off. The record has its
        rules in `quality` of the call, and takes the background check alone.
    time_interpolation : {"linear", "nearest"}
        How the state is found at an image between two steps.

    Raises
    ------
    InputError
        If a choice is unknown, or a calibration cannot be estimated.
    """

    data: Any = None
    variable: str | None = None
    coordinates: Literal["grid", "data"] = "grid"
    reset: Literal["observation"] | None = None
    calibration: Literal["frame", "window"] = "frame"

    def __post_init__(self) -> None:
        """Reject unknown choices, and those that exclude one another."""
        super().__post_init__()
        faults = Faults()
        faults.check_choice("calibration", self.calibration, ("frame", "window"), "frame")
        faults.check_choice("reset", self.reset, (None, "observation"), "observation")
        faults.check_choice("coordinates", self.coordinates, ("grid", "data"), "data")
        if self.reset and self.parameters:
            faults.add(
                code="calibration-with-reset",
                found='a gain, an offset or a bias with reset="observation"',
                expected="states that stay in the units of the model",
                fix="leave reset out",
            )
        if self.operator is not None and self.reset:
            faults.add(
                code="operator-with-reset",
                found='an operator with reset="observation"',
                expected="images of the variable that they replace",
                fix="leave reset out",
            )
        if self.coordinates == "data" and (self.data is None or self.operator is None):
            faults.add(
                code="coordinates-without-operator",
                found='coordinates="data" without ' + ("data" if self.data is None else "an operator"),
                expected="an operator that returns values on the coordinates of the data",
                fix="xvar.observation.Images(data, operator=..., coordinates='data')",
            )
        faults.raise_if_any()

    @property
    def is_default(self) -> bool:
        """Return whether this means the same as leaving `observation` out."""
        own = ((getattr(self, part.name), part.default) for part in fields(self))
        return all(value is default or (isinstance(value, str) and value == default) for value, default in own)


@dataclass(frozen=True)
class _Source:
    """Images of a call as they are stated, without their values; `component` and `part` are as in `Frames`."""

    stated: Images
    label: str
    prefix: str  # of its parameters and of its dimension ``step``; empty for the record
    component: str
    part: int | None
    error: Error
    layout: Layout
    units: str | None  # of the values; None: those of the record
    operator: OfVariables | None = None
    predictors: Mapping[str, Any] = field(default_factory=dict)  # of the bias: arrays (time, *shape), or operators

    def _of(self, numbers: Array, part: Array) -> Array:
        """Return the images of some numbers of an array (time, *shape) that may hold one for all."""
        return part[numbers if len(part) > 1 else np.zeros_like(numbers)]

    def _frames(self, values: Array, numbers: Array, seconds: tuple[float, ...], bridge: Bridge) -> Frames:
        """Return images (window, frame, *shape) of some numbers (window, frame) as observations."""
        std = self.error.std
        tensors = {
            name: self.layout.tensor(self._of(numbers, part), bridge) if isinstance(part, np.ndarray) else part
            for name, part in self.predictors.items()
        }
        return Frames(
            component=self.component,
            values=self.layout.tensor(values, bridge),
            seconds=seconds,
            std=None if std is None else self.layout.tensor(self._of(numbers, std), bridge),
            comparison=self.stated,
            prefix=self.prefix,
            part=self.part,
            reset=self.stated.reset is not None,
            calibration=self.stated.calibration,
            channels=self.layout.channels,
            operator=self.operator,
            predictors=tensors,
            covariance=self.error.bind(self.layout.grid or bridge.core_grid(), bridge.device),
        )


class RecordSource(_Source):
    """Images of the record."""

    def frames(self, batch: WindowBatch, values: Array, bridge: Bridge) -> Frames:
        """Return the images (window, step, y, x) of a batch as observations."""
        return self._frames(values, batch.numbers, batch.seconds, bridge)


@dataclass(frozen=True, kw_only=True)
class ImageSource(_Source):
    """Images beside the record."""

    values: Any  # (time, *shape), numpy, or dask of which each window computes its own images
    dates: Array  # (time,)
    seconds: NDArray[np.float64]  # (time,), after the first frame of the record, ascending
    quality: QualityControl
    conversion: tuple[float, float] | None  # factor and term, into the units of the variable
    size: int = 1  # most images that a window holds

    def within(self, window: Span) -> tuple[Array, NDArray[np.float64]]:
        """Return the numbers of the images of a window, and their times after its beginning."""
        inside, time = window.holds(self.seconds)
        numbers = np.flatnonzero(inside)
        return numbers, time[numbers].clip(max=window.length)

    def frames(self, window: Span, bridge: Bridge) -> tuple[Frames, NDArray[np.int32]]:
        """Return the images of a window, one without values if there are none, and what each rule rejected of them."""
        import dask

        numbers, time = self.within(window)
        rejected = np.zeros(len(self.quality.rules), dtype="int32")
        if len(numbers):
            with dask.config.set(scheduler="synchronous"):
                values = np.asarray(self.values[numbers])
            plane = values.shape if values.ndim == 3 else (len(values), -1, 1)
            kept, counts = self.quality(values.reshape(1, *plane))
            values, rejected = kept.reshape(values.shape), counts[0]
            if self.conversion is not None:
                values = values * self.conversion[0] + self.conversion[1]
        else:
            numbers, time = np.zeros(1, dtype=int), np.zeros(1)
            values = np.full((1, *self.layout.shape), np.nan)
        values = self.layout.without_land(values[None], bridge)
        return self._frames(values, numbers[None], tuple(time.tolist()), bridge), rejected


def read_record_source(call: Call, state: State, images: Images) -> RecordSource | None:
    """Read how the images of the record are compared."""
    record, stated, faults = call.record, call.options.observation_error, call.faults
    if images.error is not None and stated is not None:
        faults.add(
            code="observation-error-twice",
            variable="observation_error",
            found="observation_error= beside Images(error=...)",
            expected="one error of the images of the record",
            fix="leave one of them out",
        )
    others = sorted({*(images.quality or {})} - {"background_check"})
    if others:
        faults.add(
            code="quality-of-record",
            variable="observation",
            found=f"Images(quality=...) of the record with {', '.join(map(repr, others))}",
            expected="the background check alone: the other rules of the record are an option of the call",
            fix=f"quality={{{others[0]!r}: ...}} of the call",
        )
    layout = Layout.of_record(record)
    order = record.times.order
    error = read_error(images.error if stated is None else stated, record.array, images, layout, record.units, call)
    predictors = _predictors(images, record.array, layout, "observation", state, call)
    orders = [np.arange(record.array.shape[0]) if order is None else order, *map(np.arange, record.array.shape[1:])]
    if order is not None:  # stated in the order of the input
        error, predictors = error.ordered(orders), {name: ordered(part, orders) for name, part in predictors.items()}
    name = images.variable or call.name
    if images.operator is not None:
        operator = of_variables(images.operator, layout.core_shape, state, call)
        return RecordSource(images, call.name, "", "", None, error, layout, None, operator, predictors)
    if name not in state.names:
        return None  # reported with the background
    key, part = state.place(name, "observation", faults) or ("", None)
    if part is not None and images.reset:
        faults.add(
            code="reset-of-one-variable",
            variable="observation",
            found=f'reset="observation" of {name!r}, one of the variables of {key!r}',
            expected="a component of its own",
            fix="leave reset out",
        )
    return RecordSource(images, call.name, "", key, part, error, layout, None, None, predictors)


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
    arranged = arrange(data, images, label, call)
    if arranged is None:
        return None
    array, orders, layout = arranged
    check_calendar(array, call.record.times.values, faults, label)
    seconds = _seconds(array, label, call)
    orders = [np.argsort(seconds, kind="stable"), *orders]
    wanted = images.variable or (str(data.name) if str(data.name) in state.names else call.name)
    place = ("", None) if images.operator is not None else state.place(wanted, label, faults)
    units = str(array.attrs.get("units", "")) if images.operator is not None else state.units.get(wanted, "")
    error = read_error(images.error, array, images, layout, units, call)
    predictors = _predictors(images, array, layout, label, state, call)
    if place is None or len(faults) > before:
        return None
    for axis, order in enumerate(orders):
        if (np.diff(order) != 1).any():
            array = array.isel({array.dims[axis]: order})
    conversion, what = _units(array, dataset, None if images.operator else state.units.get(wanted), label, call)
    screen = Screen.of(label, what, str(array.attrs.get("units", "")), None, time=array.dims[0])
    source = ImageSource(
        stated=replace(images, data=None, coordinates="grid"),
        label=label,
        prefix=f"{label}_",
        component=place[0],
        part=place[1],
        error=error.ordered(orders),
        layout=layout,
        units=units if images.operator is not None else None,
        operator=None if images.operator is None else of_variables(images.operator, layout.core_shape, state, call),
        predictors={name: ordered(part, orders) for name, part in predictors.items()},
        values=array.data if is_lazy(array) else np.asarray(array.values),
        dates=array.coords[array.dims[0]].values,
        seconds=np.sort(seconds),
        quality=read_image_quality(images.quality, screen, what, label, faults),
        conversion=conversion,
    )
    counts = [len(source.within(window)[0]) for window in call.windows]
    if not max(counts):
        call.notes.append(f"{label}: none of {len(seconds)} images lies in a window")
    return replace(source, size=max(1, *counts)) if len(faults) == before else None


def _predictors(
    images: Images, array: xr.DataArray, layout: Layout, label: str, state: State, call: Call
) -> dict[str, Any]:
    """Return the predictors of a bias by name: arrays broadcastable to the images, operators, None for a constant."""
    found: dict[str, Any] = {}
    for name, parameter in (images.bias or {}).items():
        given = getattr(parameter, "predictor", None)
        if callable(given):
            found[f"bias_{name}"] = of_variables(given, layout.core_shape, state, call)
        elif given is not None:
            found[f"bias_{name}"] = along(given, array, f"{label} predictor {name}", call.faults)
    return found


def _seconds(array: xr.DataArray, label: str, call: Call) -> NDArray[np.float64]:
    """Return the times of images in seconds after the first frame of the record."""
    known, dim = call.record.times.values, array.dims[0]
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
