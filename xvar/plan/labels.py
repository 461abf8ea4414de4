"""Labels of an analysis: names, dimensions, coordinates and attributes, by the output contract."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial as bound
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import in_memory, is_lazy
from xvar.cf.conventions import to_cf
from xvar.cf.metadata import attributes, flag_attributes
from xvar.cf.record import Record
from xvar.execution.schedule import Schedule
from xvar.plan.call import Plan
from xvar.plan.configuration import ATTRIBUTE
from xvar.plan.uncertainty import attributes_of_errors
from xvar.quality.rules import NAMES


def label(arrays: Mapping[str, Any], plan: Plan, dataset: xr.Dataset, record: Record) -> xr.Dataset:
    """Return the results (window, ...) of a solver with names, dimensions, coordinates and attributes.

    The dataset is the input, whose attributes are kept; arrays are lazy if its record is.
    """
    dims = record.axes.places
    own = record.array.attrs
    describe = bound(attributes, kind=record.kind, grid_kind=record.grid.kind, standard_name=own.get("standard_name"))
    mapping = {key: value for key, value in own.items() if key == "grid_mapping"}
    fields: dict[Hashable, Any] = {}
    for name, part in plan.solver.outputs.items():
        if part.entry == "analysis":
            attrs = {"units": record.units} | {key: value for key, value in own.items() if key != "units"}
        else:
            units = record.units if part.units is None else part.units
            attrs = describe(part.entry, variable=part.of or str(record.name), units=units)
            attrs |= part.attrs
            if part.entry in ("standard_error", "samples", "members"):
                attrs |= attributes_of_errors(name, part, fields[part.of][2])
            attrs |= mapping if part.dims[-2:] == ("y", "x") else {}
        fields[name] = (("window", *(dims.get(dim, dim) for dim in part.dims)), arrays[name], attrs)
    result = xr.Dataset(fields, _coordinates(record, plan))
    if plan.label_observations is not None:
        result = plan.label_observations(result)
    configuration = plan.configuration
    result.attrs = {ATTRIBUTE: configuration.to_json()}
    return to_cf(result, dataset, action=f'assimilate("{record.name}")', configuration=configuration.to_json())


def _coordinates(record: Record, plan: Plan) -> dict[Hashable, Any]:
    """Return the coordinates of the grid as they are in the input, and those of the windows."""
    plane, schedule = set(record.axes.space), plan.schedule
    time = record.array.coords.get(record.axes.time)
    # Coordinates of the grid are small; in memory they bring no chunks that contradict those of the results.
    coords = {key: part for key, part in record.array.coords.items() if set(part.dims) <= plane}
    kept = {key: part.copy(data=in_memory(part)) if is_lazy(part) else part for key, part in coords.items()}
    frames = _times(record.times.values, schedule)
    of_time = {**({} if time is None else time.attrs), **attributes("time")}
    last = record.times.values[schedule.frames.max(axis=1)]
    rules = np.array([NAMES.index(rule.name) for rule in plan.rules], dtype="int8")
    coordinates: dict[Hashable, Any] = {
        **kept,
        "time": (("window", "step"), frames, of_time),
        "forecast_reference_time": ("window", last, attributes("forecast_reference_time")),
        "stage": ("stage", np.array([0, 1], dtype="int8"), attributes("stage")),
        "rule": ("rule", rules, attributes("rule", **flag_attributes(NAMES))),
    }
    if plan.evaluations:
        numbers = np.arange(1, plan.evaluations + 1, dtype="int32")
        coordinates["evaluation"] = ("evaluation", numbers, attributes("evaluation"))
    if any("member" in part.dims for part in plan.solver.outputs.values()):
        numbers = np.arange(plan.members, dtype="int32")
        coordinates["member"] = ("member", numbers, attributes("member"))
    if plan.sampling is not None:
        attrs, numbers = attributes("observation_type", **flag_attributes(plan.sources)), np.arange(len(plan.sources))
        coordinates["observation_type"] = ("observation_type", numbers.astype("int8"), attrs)
    if plan.forced:
        first = np.minimum(np.array(plan.forced).astype(int), frames.shape[1] - 2)
        middles = frames[:, first] + (frames[:, first + 1] - frames[:, first]) * (np.array(plan.forced) - first)
        coordinates["forcing_time"] = (("window", "interval"), middles, attributes("forcing_time"))
    return coordinates


def _times(times: NDArray[Any], schedule: Schedule) -> NDArray[Any]:
    """Return the time of each step of each window; NaT if a window has fewer frames than the longest."""
    table = times[schedule.frames]  # a copy
    table[schedule.frames < 0] = np.datetime64("NaT", "s") if table.dtype.kind == "M" else None
    return table
