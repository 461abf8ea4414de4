"""Interpretation of a record in words and numbers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.axes import is_lazy
from xvar.cf.record import Record, as_dataset, read_record
from xvar.errors import Faults
from xvar.plan.method import explain_method
from xvar.plan.options import Options
from xvar.plan.windows import read_windows
from xvar.quality.rules import read_quality
from xvar.quality.screening import screen_record


def describe(
    data: xr.Dataset | xr.DataArray,
    variable: Hashable | None = None,
    *,
    land: Any = None,
    units: str | None = None,
    dx: float | None = None,
    dy: float | None = None,
    sort: bool = False,
    strict: bool = False,
) -> dict[str, Any]:
    """Describe the record that would be assimilated: variable, axes, spacing, units, times and gaps, missing values.

    Parameters
    ----------
    data, variable, land, units, dx, dy, sort, strict
        As for `xvar.assimilation.assimilate`.

    Returns
    -------
    dict
        Words and numbers by the name of the fact.

    Raises
    ------
    InputError
        With all faults of the record.
    """
    faults = Faults()
    dataset, name = as_dataset(data, faults)
    record = read_record(
        dataset,
        variable if name is None else name,
        faults,
        land=land,
        units=units,
        dx=dx,
        dy=dy,
        sort=sort,
    )
    if record is not None:
        record = screen_record(record, dataset, read_quality(None, record.kind, faults), faults, strict=strict)
    faults.raise_if_any()
    assert record is not None
    return facts(record, Options.read({}, faults))


def facts(record: Record, options: Options) -> dict[str, Any]:
    """Describe a record that was read, and the method of a call; raise InputError if it holds no window."""
    faults = Faults()
    seconds, times = record.times.seconds, record.times.values
    schedule = read_windows(seconds, record.axes.time, None, None, "drop", faults)
    faults.raise_if_any()
    assert schedule is not None
    rows, columns = record.grid.shape
    dy_metres, dx_metres = record.grid.spacing
    steps = np.diff(seconds)
    gaps = np.flatnonzero(steps > 1.5 * record.cadence)
    uneven = "" if np.ptp(steps) <= 1e-3 * record.cadence else f", from {steps.min():g} to {steps.max():g} s"
    lines = (f"{_moment(times[i])} to {_moment(times[i + 1])}" for i in gaps[:5])
    directions = ["ascending" if up else "descending" for up in record.grid.ascending]
    return {
        "variable": str(record.name),
        "kind": record.kind,
        "method": explain_method(options, record.kind),
        "units": record.units,
        "axes": f"time {record.axes.time!r}, y {record.axes.y!r}, x {record.axes.x!r}",
        "grid": f"{rows} rows x {columns} columns, {record.grid.kind}",
        "spacing": f"dy {dy_metres:.6g} m, dx {dx_metres:.6g} m, {record.grid.description}",
        "orientation": f"y {directions[0]}, x {directions[1]}",
        "frames": f"{seconds.size}, from {_moment(times[0])} to {_moment(times[-1])}",
        "cadence": f"{record.cadence:g} s{uneven}",
        "gaps": ", ".join(lines) or "none",
        "missing": _missing(record),
        "windows": f"{len(schedule.frames)} of {schedule.frames.shape[1]} frames by default",
        "notes": list(record.notes),
    }


def _missing(record: Record) -> str:
    if is_lazy(record.array):
        return "unknown: the data are lazy"
    if record.array.dtype.kind != "f":
        return "none: the values are integers"
    return f"{np.isnan(record.array.values).mean():.2%} of the values"


def _moment(time: Any) -> str:
    return str(time).partition(".")[0]
