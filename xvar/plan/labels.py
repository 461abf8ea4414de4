"""An analysis with its labels: names, dimensions, coordinates and attributes of what was solved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial as bound
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.conventions import to_cf
from xvar.cf.metadata import attributes
from xvar.cf.units import are_convertible
from xvar.execution.schedule import Schedule
from xvar.plan import Plan
from xvar.plan.configuration import ATTRIBUTE
from xvar.plan.record import Record


def labelled(
    arrays: Mapping[str, Any],
    plan: Plan,
    dataset: xr.Dataset,
    record: Record,
    schedule: Schedule,
    save: Sequence[str],
) -> xr.Dataset:
    """The output contract: names, dimensions, coordinates and attributes.

    Parameters
    ----------
    arrays : mapping of str to array (window, ...)
        What was solved, lazy where the record is.
    plan : Plan
        Which of them is what.
    dataset : Dataset
        The input, whose attributes go on.
    record : Record
        How it was understood.
    schedule : Schedule
        The frames of each window.
    save : sequence of {"increment", "innovation", "residual"}
        What follows from these and is to be there too.
    """
    dims = {"y": record.axes.y, "x": record.axes.x}
    own = record.array.attrs
    describe = bound(
        attributes,
        variable=str(record.name),
        units=record.units,
        kind=record.kind,
        grid_kind=record.grid.kind,
        standard_name=own.get("standard_name"),
    )
    mapping = {key: value for key, value in own.items() if key == "grid_mapping"}
    fields: dict[Hashable, Any] = {}
    for name, part in plan.variables.items():
        if part.entry == "analysis":
            attrs = {"units": record.units} | {key: value for key, value in own.items() if key != "units"}
        else:
            own_words = {} if part.of is None else {"variable": part.of}
            if part.entry in ("background", "increment"):
                own_words["units"] = {"u": "m s-1", "v": "m s-1", str(record.name): record.units}.get(str(part.of), "")
            if part.entry in ("forcing", "source"):
                own_words["units"] = _per_second("m s-1" if part.of in ("u", "v") else record.units)
            attrs = describe(part.entry, **own_words) | dict(part.attrs)
            attrs |= mapping if part.dims[-2:] == ("y", "x") else {}
        fields[name] = (("window", *(dims.get(dim, dim) for dim in part.dims)), arrays[name], attrs)
    result = xr.Dataset(fields, _coordinates(record, schedule, plan))
    if save:
        result = _with_saved(result, record, schedule, save, describe, cycled=plan.configuration.cycled)
    configuration = plan.configuration
    result.attrs = {ATTRIBUTE: configuration.to_json()}
    return to_cf(result, dataset, action=f'assimilate("{record.name}")', configuration=configuration.to_json())


def _coordinates(record: Record, schedule: Schedule, plan: Plan) -> dict[Hashable, Any]:
    """Coordinates of the grid as they are in the input, and those of the windows."""
    plane = {record.axes.y, record.axes.x}
    time = record.array.coords.get(record.axes.time)
    kept = {key: part for key, part in record.array.coords.items() if set(part.dims) <= plane}
    attrs = dict(time.attrs) if time is not None else {}
    coordinates: dict[Hashable, Any] = {
        **kept,
        "time": (("window", "step"), _times(record.times.values, schedule), {**attrs, **attributes("time")}),
        "forecast_reference_time": (
            "window",
            record.times.values[schedule.frames.max(axis=1)],
            attributes("forecast_reference_time"),
        ),
        "stage": ("stage", np.array([0, 1], dtype="int8"), attributes("stage")),
    }
    if plan.evaluations:
        numbers = np.arange(1, plan.evaluations + 1, dtype="int32")
        coordinates["evaluation"] = ("evaluation", numbers, attributes("evaluation"))
    if plan.forced:
        frames = _times(record.times.values, schedule)
        first = [min(int(share), frames.shape[1] - 2) for share in plan.forced]
        rest = [share - index for share, index in zip(plan.forced, first, strict=True)]
        lengths = frames[:, [index + 1 for index in first]] - frames[:, first]
        coordinates["forcing_time"] = (
            ("window", "interval"),
            frames[:, first] + lengths * np.array(rest),
            attributes("forcing_time"),
        )
    return coordinates


def _per_second(units: str) -> str:
    """Units of a change in a second; a change of temperature is in kelvin, whatever its scale."""
    if units == "m s-1":
        return "m s-2"
    return "K s-1" if are_convertible(units, "K") else f"({units}) s-1"


def _times(times: NDArray[Any], schedule: Schedule) -> NDArray[Any]:
    """Time of each step of each window; not a time where a window has fewer frames than the longest."""
    table = times[schedule.frames]
    missing = schedule.frames < 0
    if missing.any():
        table = table.copy()
        table[missing] = np.datetime64("NaT", "s") if table.dtype.kind == "M" else None
    return table


def _with_saved(
    result: xr.Dataset, record: Record, schedule: Schedule, save: Sequence[str], describe: Any, *, cycled: bool
) -> xr.Dataset:
    """Add what was asked for beside the motion of images, which is controlled at the last frame."""
    plane = (record.axes.y, record.axes.x)
    shape = (*schedule.frames.shape, *record.grid.shape)
    frames = record.array.data[np.maximum(schedule.frames, 0).ravel()].reshape(shape)
    observed = xr.DataArray(frames, dims=("window", "step", *plane)).where(
        xr.DataArray(schedule.frames >= 0, dims=("window", "step"))
    )
    name = record.name
    if "increment" in save:
        for component in ("u", "v"):
            analysed = result[component].isel(step=-1)
            if cycled:  # else the background is rest
                analysed = (analysed - result[f"{component}_background"]).assign_attrs(result[component].attrs)
            result[f"{component}_increment"] = analysed.assign_attrs(
                long_name=f"increment of the {result[component].attrs['long_name']}"
            )
            result[f"{component}_increment"].attrs.pop("standard_name", None)
    for word, reference in (("innovation", result[f"{name}_observed"]), ("residual", result[name])):
        if word in save:
            difference = (observed - reference).transpose("window", "step", *plane).astype(result[name].dtype)
            result[f"{name}_{word}"] = difference.assign_attrs(describe(word))
    return result
