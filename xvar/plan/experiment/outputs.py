"""Outputs of the methods advection and model: their table, and labels of observations beside the record."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.metadata import attributes, flag_attributes
from xvar.execution.dispatch import is_deferred
from xvar.plan.control import parameter_variable
from xvar.plan.experiment.points import QUALITY, coordinates_of_points
from xvar.plan.experiment.record import PointRecord
from xvar.plan.solver import Variable, backgrounds, diagnostics
from xvar.plan.windows import windows_of

if TYPE_CHECKING:
    from xvar.cf.record import Record
    from xvar.core.cost_history import Minimisation
    from xvar.core.methods.experiment import Experiment
    from xvar.execution.schedule import Schedule
    from xvar.plan.experiment.images import ImageSource
    from xvar.plan.experiment.observations import Observed
    from xvar.plan.experiment.state import State

_WORDS = {
    "value": "value as observed",
    "std": "standard deviation of the error of observation",
    "background": "equivalent of the background",
    "analysis": "equivalent of the analysis",
}


def output_variables(
    record: Record,
    state: State,
    background: xr.Dataset | None,
    experiment: Experiment,
    observed: Observed,
    save: Sequence[str],
    dtype: str,
    minimisations: Sequence[Minimisation],
    *,
    cycled: bool,
) -> dict[str, Variable]:
    """Return the variables of an analysis by name; those of the state have the attributes of the background."""
    name = str(record.name)
    variables: dict[str, Variable] = {}
    if not isinstance(record, PointRecord):
        variables[f"{name}_observed"] = Variable(("y", "x"), dtype, "observed")
    for part in state.names:
        variables |= _of_state(part, name, state, background, experiment, save, dtype)
    variables |= _diagnostics(state, experiment, observed, minimisations)
    for label in observed.labels(name):
        dim = "step" if label == name else f"{label}_step"
        for word in (word for word in save if word != "increment"):
            variables[f"{label}_{word}"] = Variable((dim, "y", "x"), dtype, word, of=label)
    if cycled:
        variables |= _with_units(backgrounds(state.names, dtype), name, state)
    for key, parameter in experiment.parameters.items():
        plane: tuple[str, ...] = ("y", "x") if parameter.is_field else ()
        variables[key] = parameter_variable(key, parameter, plane, "1", dtype)
    for key, (parameter, dims) in observed.calibrations.items():
        units = record.units if key.endswith("offset") else "1"
        variables[key] = parameter_variable(key, parameter, dims, units, dtype)
    if observed.points is not None:
        for word in ("background", "analysis"):
            variables[f"observation_{word}"] = Variable(("point",), dtype, f"observation_{word}")
    return variables


def _of_state(
    part: str,
    name: str,
    state: State,
    background: xr.Dataset | None,
    experiment: Experiment,
    save: Sequence[str],
    dtype: str,
) -> dict[str, Variable]:
    """Return the variables of one variable of the state."""
    entry = "analysis" if part == name else part if state.advection and part in ("u", "v") else "state"
    attrs: dict[str, Any] = {}
    if entry == "state" and background is not None:
        kept = ("units", "long_name", "standard_name")
        attrs = {key: value for key, value in background[part].attrs.items() if key in kept}
    variables = {part: Variable(("step", "y", "x"), dtype, entry, of=part, attrs=attrs)}
    units = {"units": f"{state.units[part]} s-1"} if entry == "state" and part in state.units else {}
    if any(part in state.components[key] for key in experiment.model_error):
        variables[f"{part}_forcing"] = Variable(("interval", "y", "x"), dtype, "forcing", of=part, attrs=units)
    if "increment" in save:
        variables[f"{part}_increment"] = Variable(("y", "x"), dtype, "increment", of=part)
    return _with_units(variables, name, state) if entry == "state" else variables


def _with_units(variables: dict[str, Variable], name: str, state: State) -> dict[str, Variable]:
    """Return increments and backgrounds with the units of their variables."""
    own = {part: units for part, units in state.units.items() if part != name}
    return {
        key: replace(part, attrs={"units": own[part.of], **part.attrs})
        if part.entry in ("background", "increment") and part.of in own
        else part
        for key, part in variables.items()
    }


def _diagnostics(
    state: State, experiment: Experiment, observed: Observed, minimisations: Sequence[Minimisation]
) -> dict[str, Variable]:
    """Return the diagnostic variables: the terms of J in their order, and numbers."""
    terms = ["background", *(["model_error"] if experiment.model_error else [])]
    terms += ["parameters"] if experiment.parameters or observed.calibrations else []
    terms += [penalty.name for penalty in experiment.penalties]
    terms += ["divergence" for part in experiment.background_error.values() if getattr(part, "divergence", 0)]
    named = (*dict.fromkeys(terms), "observation")
    motion = {"u", "v"} <= set(state.names) and (state.advection or observed.record is not None)
    return diagnostics(named, motion=motion, minimisations=minimisations)


@dataclass(frozen=True)
class ObservationLabels:
    """Labels of the observations beside the record."""

    record: Record
    schedule: Schedule
    state: State
    observed: Observed

    def add_to(self, result: xr.Dataset) -> xr.Dataset:
        """Return an analysis with its observations.

        The solver returns the equivalents of the points as (window, point). They become one dimension ``observation``;
        within a resumable run, which stores by windows, they stay as they are, and ``observation_window`` and
        ``observation_point`` are their places.
        """
        for source in self.observed.images:
            result.coords[f"{source.label}_time"] = self._times(source)
        return result if self.observed.points is None else self._with_points(result)

    def _times(self, source: ImageSource) -> xr.Variable:
        """Return the times of the images of a source (window, image)."""
        windows = windows_of(self.schedule, self.record)
        nothing = np.datetime64("NaT") if source.dates.dtype.kind == "M" else None
        dates = np.full((len(windows), source.size), nothing, dtype=source.dates.dtype)
        for row, window in enumerate(windows):
            numbers, _ = source.within(*window)
            dates[row, : len(numbers)] = source.dates[numbers]
        return xr.Variable(("window", f"{source.label}_step"), dates, attributes("time"))

    def _with_points(self, result: xr.Dataset) -> xr.Dataset:
        assert self.observed.points is not None
        columns, names = self.observed.points, self.state.names
        rows, windows, places = self._rows()
        padded = {name: result[f"observation_{name}"] for name in ("background", "analysis")}
        fields: dict[Hashable, Any] = {}
        held = {self.state.units.get(names[index]) for index in np.unique(columns.variable)}
        about = {"ancillary_variables": "observation_quality observation_variable"}
        if len(held) == 1 and None not in held:
            about["units"] = str(held.pop())
        for name, words in _WORDS.items():
            attrs = {"long_name": words, **about}
            if name not in padded:
                fields[f"observation_{name}"] = ("observation", getattr(columns, name)[rows], attrs)
            elif is_deferred():
                fields[f"observation_{name}"] = padded[name].assign_attrs(attrs)
            else:
                fields[f"observation_{name}"] = ("observation", _gathered(padded[name].data, windows, places), attrs)
        flags = {"variable": ("observed variable", names), "quality": ("outcome of the observation", QUALITY)}
        if len(self.observed.sources.points) > 1:
            flags["source"] = ("source of the observation", tuple(self.observed.sources.points))
        for name, (words, meanings) in flags.items():
            attrs = {"long_name": words, **flag_attributes(tuple(meanings))}
            fields[f"observation_{name}"] = ("observation", getattr(columns, name)[rows].astype("int8"), attrs)
        fields["observation_quality"][2]["standard_name"] = "quality_flag"
        if len(self.schedule.frames) > 1 or is_deferred():
            words = "window in which the observation lies, counted from zero; -1: in none"
            fields["observation_window"] = ("observation", windows.astype("int32"), {"long_name": words})
        if is_deferred():
            words = "place of the observation among the points of its window; -1: it was not used"
            fields["observation_point"] = ("observation", places.astype("int32"), {"long_name": words})
        result = result.drop_vars([f"observation_{name}" for name in padded])
        return result.assign(fields).assign_coords(self._coordinates(rows))

    def _rows(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Return the row of each observation of the result, its window, and its place in the window; -1 for none."""
        assert self.observed.points is not None
        columns, windows = self.observed.points, windows_of(self.schedule, self.record)
        everything = np.arange(len(columns.value))
        parts = [everything if len(windows) == 1 else columns.within(*window) for window in windows]
        places = []
        for window, part in zip(windows, parts, strict=True):
            used = self.observed.points.used(*window)
            places.append(np.where(np.isin(part, used), np.searchsorted(used, part), -1))
        number = np.repeat(np.arange(len(windows)), [len(part) for part in parts])
        rest = np.setdiff1d(everything, np.concatenate(parts))  # in no window
        nowhere = np.full(len(rest), -1)
        return np.concatenate([*parts, rest]), np.concatenate([number, nowhere]), np.concatenate([*places, nowhere])

    def _coordinates(self, rows: NDArray[np.intp]) -> dict[str, Any]:
        """Return time and place of each observation."""
        assert self.observed.points is not None
        columns = self.observed.points
        dates = np.where(np.isnat(columns.date), self.record.times.values[0], columns.date)[rows]
        coordinates: dict[str, Any] = {
            "observation_time": ("observation", dates.astype("datetime64[ns]"), attributes("time"))
        }
        found: dict[str, tuple[NDArray[np.float64], dict[str, Any]]] = {}
        for number, table in enumerate(self.observed.sources.points.values()):
            assert table.dataset is not None
            for coordinate, place in coordinates_of_points(table.dataset, self.record):
                kept = {key: part for key, part in coordinate.attrs.items() if key in ("units", "standard_name")}
                attrs = {"long_name": f"{coordinate.name} of the observation", **kept}
                values, _ = found.setdefault(str(coordinate.name), (np.full(len(columns.value), np.nan), attrs))
                values[columns.source == number] = place.values
        for name, (values, attrs) in found.items():
            coordinates[f"observation_{name}"] = ("observation", values[rows], attrs)
        return coordinates


def _gathered(padded: Any, windows: NDArray[np.intp], places: NDArray[np.intp]) -> Any:
    """Return one value an observation of an array (window, point), numpy or dask; NaN for those without a place."""
    flat = np.where(places >= 0, windows * padded.shape[1] + places, 0)
    values = padded.reshape(-1)[flat]
    if hasattr(padded, "dask"):
        import dask.array

        return dask.array.where(places >= 0, values, np.asarray(np.nan, padded.dtype))
    return np.where(places >= 0, values, np.asarray(np.nan, padded.dtype))
