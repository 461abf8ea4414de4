"""Results of the windows as Datasets with coordinates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xvar.cf.metadata import attributes, flag_attributes
from xvar.plan.control import parameter_variables
from xvar.plan.points.places import coordinates_of_points
from xvar.plan.points.table import QUALITY, Array, Points
from xvar.plan.solver import diagnostics

if TYPE_CHECKING:
    from xvar.core.methods.points import PointExperiment


def labelled(
    results: Mapping[str, Array],
    table: Mapping[str, Array],
    background: xr.Dataset,
    points: Points,
    names: list[str],
    plane: tuple[Hashable, Hashable],
    begin: np.datetime64,
    seconds: tuple[float, ...],
    experiment: PointExperiment,
) -> xr.Dataset:
    """Results of a window, and its observations, with their coordinates.

    Parameters
    ----------
    results : mapping
        What the solver returns.
    table : mapping
        The observations of the window, with what model and analysis say of them.
    background : Dataset
        The state at the beginning: names, units and coordinates.
    points : Points
        Where and when the observations are.
    names : list of str
        The variables of the state.
    plane : tuple
        Dimensions of the grid.
    begin : datetime64
        When the window begins.
    seconds : tuple of float
        Times of the analysed states since then.
    experiment : PointExperiment
        What was solved.
    """
    times = begin + (np.array(seconds) * 1e9).astype("int64").astype("timedelta64[ns]")
    fields: dict[Hashable, Any] = {}
    for name in names:
        own = dict(background[name].attrs)
        fields[name] = (("window", "step", *plane), results[name], {"long_name": f"analysis of {name}", **own})
        if f"{name}_forcing" in results:
            units = f"{own['units']} s-1" if "units" in own else None
            attrs = attributes("forcing", variable=name, units=units)
            fields[f"{name}_forcing"] = (("window", "interval", *plane), results[f"{name}_forcing"], attrs)
    for name, part in parameter_variables(experiment.parameters, {}, False, None, "float32").items():
        attrs = {**attributes("parameter", variable=name), **part.attrs}
        fields[name] = (("window", *(plane if part.dims else ())), results[name], attrs)
    terms = [name.removeprefix("cost_") for name in results if name.startswith("cost_")]
    minimisations = experiment.minimisations() if experiment.cost_history else ()
    for name, part in diagnostics(tuple(terms), minimisations=minimisations).items():
        if name in results:
            attrs = attributes(name) | dict(part.attrs)
            fields[name] = (("window", *part.dims), np.asarray(results[name]).astype(part.dtype), attrs)
    words = {
        "value": "value as observed",
        "background": "equivalent of the background",
        "analysis": "equivalent of the analysis",
        "std": "standard deviation of the error of observation",
    }
    # One column may hold several variables; where it holds one, it has its units.
    held = sorted({names[index] for index in np.unique(table["variable"])})
    known = {background[name].attrs.get("units") for name in held}
    shared = {"units": known.pop()} if len(known) == 1 and None not in known else {}
    for name, text in words.items():
        fields[f"observation_{name}"] = (
            "observation",
            table[name],
            {"long_name": text, "ancillary_variables": "observation_quality observation_variable", **shared},
        )
    fields["observation_variable"] = (
        "observation",
        table["variable"].astype("int8"),
        {"long_name": "what was observed", **flag_attributes(tuple(names))},
    )
    fields["observation_quality"] = (
        "observation",
        table["quality"],
        {"long_name": "what became of the observation", "standard_name": "quality_flag", **flag_attributes(QUALITY)},
    )
    coordinates: dict[Hashable, Any] = {
        key: part for key, part in background[names[0]].coords.items() if set(part.dims) <= set(plane) and part.ndim
    }
    dates = np.where(np.isnat(table["date"]), begin, table["date"])
    coordinates |= {
        "time": (("window", "step"), times[None].astype("datetime64[ns]"), attributes("time")),
        "forecast_reference_time": (
            "window",
            times[-1:].astype("datetime64[ns]"),
            attributes("forecast_reference_time"),
        ),
        "stage": ("stage", np.array([0, 1], dtype="int8"), attributes("stage")),
        "observation_time": ("observation", dates.astype("datetime64[ns]"), attributes("time")),
    }
    if "cost_history" in fields:
        numbers = np.arange(1, np.shape(results["cost_history"])[1] + 1, dtype="int32")
        coordinates["evaluation"] = ("evaluation", numbers, attributes("evaluation"))
    if any(name.endswith("_forcing") for name in results):
        middle = times[:-1] + (times[1:] - times[:-1]) / 2
        attrs = attributes("forcing_time")
        coordinates["forcing_time"] = (("window", "interval"), middle[None].astype("datetime64[ns]"), attrs)
    for coordinate, place in coordinates_of_points(points.dataset, background[names[0]], plane):
        kept = {key: value for key, value in coordinate.attrs.items() if key in ("units", "standard_name")}
        coordinates[f"observation_{coordinate.name}"] = (
            "observation",
            np.asarray(place.values, dtype="float64")[table["row"]],
            {"long_name": f"{coordinate.name} of the observation", **kept},
        )
    return xr.Dataset(fields, coordinates)


def joined(windows: list[xr.Dataset]) -> xr.Dataset:
    """Windows one after the other, and their observations."""
    if len(windows) == 1:
        return windows[0]
    first = windows[0]
    joined = {}
    for name, variable in first.variables.items():
        dim = next((dim for dim in ("window", "observation") if dim in variable.dims), None)
        parts = [window[name].variable for window in windows]
        joined[name] = variable if dim is None else xr.Variable.concat(parts, dim)
    return xr.Dataset({name: joined[name] for name in first.data_vars}, {name: joined[name] for name in first.coords})


def output_times(length: float, every: float | None) -> tuple[float, ...]:
    """Seconds of the analysed states: the beginning, each `every`, and the end."""
    if every is None:
        return 0.0, length
    times = np.arange(0.0, length * (1 - 1e-9), every)
    return (*(float(time) for time in times), length)
