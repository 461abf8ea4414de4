"""Background of the state: its fields on the grid of the record, at one time or at the beginning of each window."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.alignment import on_grid
from xvar.cf.times import check_calendar, date_text
from xvar.errors import Faults
from xvar.plan.bridge import Array
from xvar.plan.experiment.quantities import in_units

if TYPE_CHECKING:
    from xvar.cf.record import Record
    from xvar.execution.schedule import Schedule


@dataclass(frozen=True)
class Background:
    """Fields of the background.

    Attributes
    ----------
    fields : mapping of str to array (time, y, x)
        By variable, in the order of the input; one time for all windows, or several.
    seconds : array of float (time,), optional
        Time of each after the first frame of the record; None if there is one.
    """

    fields: Mapping[str, Array]
    seconds: NDArray[np.float64] | None = None

    def at(self, begin: NDArray[np.float64]) -> dict[str, Array]:
        """Return the fields (window, y, x) of windows that begin at some seconds after the first frame."""
        index = np.zeros(len(begin), dtype=int)
        if self.seconds is not None:
            index = np.searchsorted(self.seconds, begin - _SLACK)
        return {name: part[index if len(part) > 1 else np.zeros_like(index)] for name, part in self.fields.items()}


_SLACK = 1e-3  # seconds: times of a record are told apart to milliseconds


def time_of(background: xr.Dataset) -> xr.DataArray | None:
    """Return the dates along a dimension of a background of several times."""
    times: Iterator[xr.DataArray] = (part for part in background.coords.values() if part.ndim == 1)
    for time in times:
        if time.size > 1 and (time.dtype.kind == "M" or time.dtype == object):
            return time
    return None


def read_fields(
    record: Record,
    schedule: Schedule,
    given: xr.Dataset | None,
    names: Sequence[str],
    units: Mapping[str, str],
    staggered: Sequence[str],
    faults: Faults,
    notes: list[str],
) -> Background:
    """Read the fields of the background on the points of the record, some of them converted to `units`.

    Fields are (y, x), or (time, y, x) with a time for the beginning of each window. Variables that are missing are left
    out; staggered ones may be undefined beside land.
    """
    held = [name for name in names if given is not None and name in given]
    if given is None or not held:
        return Background({})
    time = time_of(given[held])
    seconds: NDArray[np.float64] | None = None
    slices: list[dict[Hashable, int]] = [{}]
    if time is not None:
        check_calendar(time, record.times.values, faults, "background")
        since = _seconds(time.values, record.times.values[0])
        order = np.argsort(since)
        seconds, slices = since[order], [{time.dims[0]: int(index)} for index in order]
        _check_times(seconds, schedule, record, faults)
    fields = {}
    for name in held:
        field, label = given[name], f"background {name}"
        check_calendar(field, record.times.values, faults, label)
        of_times = slices if time is not None and time.dims[0] in field.dims else [{}]
        parts = [on_grid(field.isel(one), record.array, record.axes, faults, label) for one in of_times]
        if any(part is None for part in parts):
            continue
        values = np.stack([np.asarray(part.values, dtype="float64") for part in parts if part is not None])
        if name in units:
            values = in_units(values, field, units[name], label, faults, notes)
        fields[name] = _complete(values, record.land, label, faults, staggered=name in staggered)
    return Background(fields, seconds)


def _seconds(dates: Array, origin: Any) -> NDArray[np.float64]:
    if dates.dtype.kind == "M":
        return np.asarray((dates - origin) / np.timedelta64(1, "s"), dtype=np.float64)
    return np.array([(date - origin).total_seconds() for date in dates])


def _check_times(seconds: NDArray[np.float64], schedule: Schedule, record: Record, faults: Faults) -> None:
    """Report windows that begin at a time of which there is no background."""
    first = schedule.frames[:, 0]
    begin = record.times.seconds[first]
    place = np.searchsorted(seconds, begin - _SLACK).clip(max=len(seconds) - 1)
    missing = np.flatnonzero(np.abs(seconds[place] - begin) > _SLACK)
    if missing.size:
        faults.add(
            code="background-time-missing",
            variable="background",
            dimension="time",
            found=f"no background for {missing.size} of {len(begin)} windows, the first at "
            f"{date_text(record.times.values[first[missing[0]]])}",
            expected="a time for the beginning of each window, or one time for all",
            fix="background.isel(time=0), or background.interp(time=...)",
        )


def _complete(values: Array, land: Array | None, label: str, faults: Faults, *, staggered: bool) -> Array:
    """Fill land with numbers, which samplers at the coast and models need; report gaps in the sea."""
    broken = ~np.isfinite(values)
    if not broken.any():
        return values
    at_sea = broken if land is None else broken & ~land
    if at_sea.any() and not staggered:
        faults.add(
            code="background-incomplete",
            variable=label,
            index=tuple(int(axis[0]) for axis in np.nonzero(at_sea)[-2:]),
            found=f"{int(at_sea.sum())} values that are not finite, at sea",
            expected="a complete state, but on land",
            fix="background.fillna(...)",
        )
        return values
    # Nothing flows through a coast.
    return np.where(broken, 0.0 if staggered else values[~broken].mean(), values)
