"""Outputs of the methods advection and model: their table, and labels of observations beside the record."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.metadata import attributes, flag_attributes
from xvar.cf.record import Record
from xvar.core.methods.experiment import Experiment
from xvar.core.parameters import Parameter
from xvar.core.solve import Minimisation
from xvar.execution.dispatch import is_deferred
from xvar.plan.call import Call, Span, Variable, backgrounds, diagnostics, per_second
from xvar.plan.experiment.images import ImageSource
from xvar.plan.experiment.observations import Observed
from xvar.plan.experiment.places import coordinates_of_points
from xvar.plan.experiment.points import QUALITY, PointSource
from xvar.plan.experiment.record import PointRecord
from xvar.plan.experiment.state import State

_WORDS = {
    "value": "value as observed",
    "std": "standard deviation of the error of observation",
    "background": "equivalent of the background",
    "analysis": "equivalent of the analysis",
}


def output_variables(
    call: Call, state: State, experiment: Experiment, observed: Observed, minimisations: Sequence[Minimisation]
) -> dict[str, Variable]:
    """Return the variables of an analysis by name; those of the state have the attributes of the background."""
    name, dtype, plane = call.name, call.configuration.dtype, call.plane
    variables: dict[str, Variable] = {}
    if not isinstance(call.record, PointRecord):
        variables[f"{name}_observed"] = Variable(plane, dtype, "observed")
    for part in state.names:
        variables |= _of_state(part, call, state, experiment)
    moves = state.advection or (observed.record is not None and observed.record.operator is None)
    motion = {"u", "v"} <= set(state.names) and call.record.is_plane and moves
    variables |= diagnostics(_terms(experiment, observed), motion=motion, minimisations=minimisations)
    for source in observed.images:
        label, steps, units = source.label, (f"{source.prefix}step", *source.layout.dims), source.units
        words = (word for word in call.options.save if word in ("innovation", "residual"))
        variables |= {f"{label}_{word}": Variable(steps, dtype, word, label, units) for word in words}
        if {"innovation", "residual"} <= set(call.options.save):
            variables[f"{label}_observation_error"] = Variable(steps[:1], dtype, "observation_error", label, units)
    if call.cycled:
        variables |= backgrounds({part: state.units.get(part, "") for part in state.names}, dtype, plane)
    for key, parameter in experiment.parameters.items():
        variables[key] = _of_parameter(key, parameter, plane if parameter.is_field else (), "1", dtype)
    for key, (parameter, dims, units) in observed.calibrations.items():
        own = call.record.units if units is None else units
        variables[key] = _of_parameter(key, parameter, dims, own, dtype)
    if observed.points is not None:
        entries = ("observation_background", "observation_analysis")
        variables |= {entry: Variable(("point",), dtype, entry) for entry in entries}
        if observed.points.background_check:
            variables["observation_rejected"] = Variable(("point",), "float32", "observation_rejected")
    if observed.checks:
        variables["rejected_by_check"] = Variable(("observation_type", "check"), "int32", "rejected_by_check")
    return variables


def _of_parameter(name: str, parameter: Parameter, dims: tuple[str, ...], units: str | None, dtype: str) -> Variable:
    """Return the variable of an estimated parameter, with its prior; `units` are those if it states none."""
    stated = {"units": parameter.units or units, "long_name": parameter.long_name}
    attrs: dict[str, Any] = {key: word for key, word in stated.items() if word}
    attrs["prior"] = float(np.mean(parameter.prior))
    spread = getattr(parameter.error, "std", None) if parameter.is_field else parameter.error
    if isinstance(spread, (int, float)):
        attrs["prior_standard_deviation"] = float(spread)
    if parameter.positive:
        attrs["comment"] = "its logarithm was estimated: the standard deviation of the prior is that of the logarithm"
    return Variable(dims, dtype, "parameter", of=name, attrs=attrs)


def _of_state(part: str, call: Call, state: State, experiment: Experiment) -> dict[str, Variable]:
    """Return the variables of one variable of the state."""
    dtype, plane = call.configuration.dtype, call.plane
    is_motion = state.advection and part in ("u", "v")
    entry = "analysis" if part == call.name else part if is_motion else "state"
    attrs: dict[str, Any] = {}
    units = state.units.get(part, "")
    if entry == "state" and call.background is not None:
        kept = ("units", "long_name", "standard_name")
        attrs = {key: value for key, value in call.background[part].attrs.items() if key in kept}
    variables = {part: Variable(("step", *plane), dtype, entry, part, units, attrs)}
    if any(part in state.components[key] for key in experiment.model_error):
        rate = f"{units} s-1" if entry == "state" and units else per_second(units)
        variables[f"{part}_forcing"] = Variable(("interval", *plane), dtype, "forcing", part, rate)
    if "increment" in call.options.save:
        variables[f"{part}_increment"] = Variable(plane, dtype, "increment", part, units)
    return variables


def _terms(experiment: Experiment, observed: Observed) -> tuple[str, ...]:
    """Return the terms of J in their order."""
    terms = ["background", *(["model_error"] if experiment.model_error else [])]
    terms += ["parameters"] if experiment.parameters or observed.calibrations else []
    terms += [penalty.name for penalty in experiment.penalties]
    terms += ["divergence" for part in experiment.background_error.values() if getattr(part, "divergence", 0)]
    return (*dict.fromkeys(terms), "observation")


def label_observations(result: xr.Dataset, call: Call, observed: Observed) -> xr.Dataset:
    """Return an analysis with its observations beside the record.

    The solver returns the equivalents of the points as (window, point). They become one dimension ``observation``;
    within a resumable run, which stores by windows, they stay as they are, and ``observation_window`` and
    ``observation_point`` are their places.
    """
    for source in observed.beside:
        result.coords[f"{source.label}_time"] = _times(source, call.windows)
        result = result.assign_coords({key: part for key, part in source.layout.coords.items() if key in result.dims})
    for dim, words in (("check", observed.checks), ("observation_type", observed.labels)):
        if observed.checks:
            numbers = np.arange(len(words), dtype="int8")
            result.coords[dim] = (dim, numbers, attributes(dim, **flag_attributes(tuple(words))))
    if observed.points is None:
        return result
    return _with_points(result, call, observed.points)


def _times(source: ImageSource, windows: Sequence[Span]) -> xr.Variable:
    """Return the times of the images of a source (window, image)."""
    nothing = np.datetime64("NaT") if source.dates.dtype.kind == "M" else None
    dates = np.full((len(windows), source.size), nothing, dtype=source.dates.dtype)
    for row, window in enumerate(windows):
        numbers, _ = source.within(window)
        dates[row, : len(numbers)] = source.dates[numbers]
    return xr.Variable(("window", f"{source.label}_step"), dates, attributes("time"))


def _with_points(result: xr.Dataset, call: Call, points: PointSource) -> xr.Dataset:
    """Return an analysis with value, equivalents, outcome, time and place of each point."""
    names, units = points.observed, points.units
    rows, windows, places = _rows(points, call.windows)
    fields: dict[Hashable, Any] = {}
    held = {units.get(names[index]) for index in np.unique(points.variable)}
    about = {"ancillary_variables": "observation_quality observation_variable"}
    if len(held) == 1 and None not in held:
        about["units"] = str(held.pop())
    for name, words in _WORDS.items():
        key, attrs = f"observation_{name}", {"long_name": words, **about}
        if key not in result:
            fields[key] = ("observation", getattr(points, name)[rows], attrs)
        elif is_deferred():
            fields[key] = result[key].assign_attrs(attrs)
        else:
            fields[key] = ("observation", _gathered(result[key].data, windows, places), attrs)
    flags = {"variable": ("observed variable", names), "quality": ("outcome of the observation", QUALITY)}
    if len(points.tables) > 1:
        flags["source"] = ("source of the observation", tuple(points.tables))
    for name, (words, meanings) in flags.items():
        attrs = {"long_name": words, **flag_attributes(tuple(meanings))}
        fields[f"observation_{name}"] = ("observation", getattr(points, name)[rows].astype("int8"), attrs)
    fields["observation_quality"][2]["standard_name"] = "quality_flag"
    if points.background_check and not is_deferred():
        dims, quality, attrs = fields["observation_quality"]
        rejected = xr.Variable(dims, _gathered(result["observation_rejected"].data, windows, places)) == 1
        judged = xr.Variable(dims, quality).where(~rejected, QUALITY.index("background_check")).astype("int8")
        fields["observation_quality"] = (dims, judged.data, attrs)
        result = result.drop_vars("observation_rejected")
    if len(call.windows) > 1 or is_deferred():
        words = "window in which the observation lies, counted from zero; -1: in none"
        fields["observation_window"] = ("observation", windows.astype("int32"), {"long_name": words})
    if is_deferred():
        words = "place of the observation among the points of its window; -1: it was not used"
        fields["observation_point"] = ("observation", places.astype("int32"), {"long_name": words})
    result = result.drop_vars(["observation_background", "observation_analysis"])
    return result.assign(fields).assign_coords(_coordinates(points, call.record, rows))


def _rows(points: PointSource, windows: Sequence[Span]) -> tuple[NDArray[np.intp], ...]:
    """Return the row of each observation of the result, its window, and its place in the window; -1 for none."""
    everything = np.arange(len(points.value))
    parts = [everything if len(windows) == 1 else points.within(window) for window in windows]
    places = []
    for window, part in zip(windows, parts, strict=True):
        used = points.used(window)
        places.append(np.where(np.isin(part, used), np.searchsorted(used, part), -1))
    number = np.repeat(np.arange(len(windows)), [len(part) for part in parts])
    rest = np.setdiff1d(everything, np.concatenate(parts))  # in no window
    nowhere = np.full(len(rest), -1)
    return np.concatenate([*parts, rest]), np.concatenate([number, nowhere]), np.concatenate([*places, nowhere])


def _coordinates(points: PointSource, record: Record, rows: NDArray[np.intp]) -> dict[str, Any]:
    """Return time and place of each observation."""
    dates = np.where(np.isnat(points.date), record.times.values[0], points.date)[rows]
    found: dict[str, tuple[NDArray[np.float64], dict[str, Any]]] = {}
    for number, table in enumerate(points.tables.values()):
        assert table.dataset is not None
        for coordinate, place in coordinates_of_points(table.dataset, record):
            kept = {key: part for key, part in coordinate.attrs.items() if key in ("units", "standard_name")}
            attrs = {"long_name": f"{coordinate.name} of the observation", **kept}
            values, _ = found.setdefault(str(coordinate.name), (np.full(len(points.value), np.nan), attrs))
            values[points.source == number] = place.values
    return {
        "observation_time": ("observation", dates.astype("datetime64[ns]"), attributes("time")),
        **{f"observation_{name}": ("observation", values[rows], attrs) for name, (values, attrs) in found.items()},
    }


def _gathered(padded: Any, windows: NDArray[np.intp], places: NDArray[np.intp]) -> Any:
    """Return one value an observation of an array (window, point), numpy or dask; NaN for those without a place."""
    flat = np.where(places >= 0, windows * padded.shape[1] + places, 0)
    return xr.Variable("observation", padded.reshape(-1)[flat]).where(places >= 0).data
