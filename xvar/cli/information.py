"""How a file is understood, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.record import read_record
from xvar.errors import Problems
from xvar.windows import make_schedule


def describe(
    data: xr.Dataset, variable: str | None, *, units: str | None, dx: float | None, dy: float | None
) -> dict[str, Any]:
    """What would be assimilated.

    Raises
    ------
    InputError
        With all that stands in the way.
    """
    problems = Problems()
    record = read_record(data, variable, problems, units=units, dx=dx, dy=dy)
    problems.refuse()
    assert record is not None
    seconds, times = record.times.seconds, record.times.values
    schedule = make_schedule(seconds, record.axes.time, None, None, "drop", problems)
    problems.refuse()
    assert schedule is not None
    rows, columns = record.grid.shape
    dy_metres, dx_metres = record.grid.spacing
    gaps = np.flatnonzero(np.diff(seconds) > 1.5 * record.cadence)
    missing = np.isnan(record.array.values) if record.array.dtype.kind == "f" else np.zeros(1, dtype=bool)
    return {
        "variable": str(record.name),
        "kind": record.kind,
        "units": record.units,
        "axes": f"time {record.axes.time!r}, y {record.axes.y!r}, x {record.axes.x!r}",
        "grid": f"{rows} rows x {columns} columns, {record.grid.kind}",
        "spacing": f"dy {dy_metres:.6g} m, dx {dx_metres:.6g} m, {record.grid.description}",
        "orientation": ", ".join(
            f"{name} {'ascending' if up else 'descending'}"
            for name, up in zip(("y", "x"), record.grid.ascending, strict=True)
        ),
        "frames": f"{seconds.size}, from {_moment(times[0])} to {_moment(times[-1])}",
        "cadence": f"{record.cadence:g} s",
        "gaps": ", ".join(f"{_moment(times[i])} to {_moment(times[i + 1])}" for i in gaps[:5]) or "none",
        "missing": f"{missing.mean():.2%} of the values",
        "windows": f"{len(schedule.frames)} of {schedule.frames.shape[1]} frames by default",
        "notes": list(record.notes),
    }


def _moment(time: Any) -> str:
    return str(time).partition(".")[0]
