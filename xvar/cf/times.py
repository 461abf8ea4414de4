"""Times of the frames by their own calendar, the interval of an amount of rain, durations that a user writes."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, attribute, in_memory, is_date
from xvar.cf.faults import add
from xvar.cf.units import convert, is_parsable
from xvar.errors import Faults

#: Share of the time between frames below which a deviation is rounding, and shows in no motion.
ROUNDING = 0.01

Place = tuple[Hashable, Hashable]  # the variable and the dimension of a fault

#: First digits of a number that spells a date.
_CENTURIES = ("18", "19", "20", "21")

_INTERVAL = re.compile(r"\b(?:time|\w*time\w*)\s*:\s*sum\b[^:()]*\(\s*interval\s*:\s*(?P<count>[\d.]+)\s*(?P<unit>\w+)")


@dataclass(frozen=True)
class Times:
    """Times (time,) of the frames of a record."""

    values: NDArray[Any]  # ascending datetime64 or cftime
    seconds: NDArray[np.float64]  # since the first
    order: NDArray[np.intp] | None = None  # indices that sort the frames; None if they are sorted
    note: str = ""  # the change for the history


def read_times(array: xr.DataArray, axes: Axes, faults: Faults, sort: bool = False) -> Times | None:
    """Return the times of the frames: decoded, complete, unique and ascending, or sorted; None if a fault was added."""
    dim = axes.time
    coordinate = _time_coordinate(array, dim)
    if coordinate is None:
        add(faults, "time-missing", f"no time coordinate on dimension {str(dim)!r}", array.name, dim)
        return None
    place = (array.name if coordinate.name == dim else coordinate.name, dim)
    values = _dates(coordinate, place, faults)
    if values is None:
        return None
    missing = np.flatnonzero(pd.isnull(values))
    if missing.size:
        found = f"{missing.size} missing time(s) (NaT), the first at index {missing[0]}"
        add(faults, "time-missing-value", found, *place, int(missing[0]), coordinate=str(coordinate.name))
        return None
    if values.size < 2:
        add(faults, "too-few-frames", f"{values.size} frame{'' if values.size == 1 else 's'}", *place)
        return None
    _check_precision(coordinate, values, place, faults)
    return _ordered(values, place, faults, sort)


def _check_precision(coordinate: xr.DataArray, values: NDArray[Any], place: Place, faults: Faults) -> None:
    """Refuse times of a file that keeps too few digits of them to distinguish frames."""
    dtype, units = (coordinate.encoding.get(key) for key in ("dtype", "units"))
    if dtype is None or np.dtype(dtype) not in (np.float32, np.float16) or units is None:
        return
    import cftime

    last = values.max()
    date = last if hasattr(last, "calendar") else pd.Timestamp(last).to_pydatetime()
    numbers = [cftime.date2num(date + datetime.timedelta(days=day), str(units)) for day in (0, 1)]
    digits = float(np.spacing(np.dtype(dtype).type(numbers[0]))) * 86400 / float(numbers[1] - numbers[0])
    cadence = float(np.median(np.abs(np.diff(_seconds(values)))))
    if digits > ROUNDING * cadence:
        found = f"{np.dtype(dtype)} times of {str(units)!r}: rounded to {digits:g} s, frames are {cadence:g} s apart"
        add(faults, "time-rounded", found, *place, share=ROUNDING)


def _ordered(values: NDArray[Any], place: Place, faults: Faults, sort: bool) -> Times | None:
    count = len(faults)
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    for position in np.flatnonzero(ranked[1:] == ranked[:-1])[:1]:
        first, second = sorted((int(order[position]), int(order[position + 1])))
        found = f"time {date_text(values[first])} twice, at indices {first} and {second}"
        add(faults, "time-repeated", found, *place, second)
    steps = np.flatnonzero(values[1:] < values[:-1])
    if steps.size and not sort:
        index = int(steps[0]) + 1
        words = "descending times" if steps.size == values.size - 1 else "times out of order"
        found = f"{words}: {date_text(values[index])} at index {index} after {date_text(values[index - 1])}"
        add(faults, "time-unordered", found, *place, index)
    if len(faults) > count:
        return None
    if not steps.size:
        return Times(values, _seconds(values))
    moved = int(np.count_nonzero(order != np.arange(order.size)))
    return Times(ranked, _seconds(ranked), order, f"frames sorted by {place[1]}: {moved} of {order.size} moved")


def check_calendar(field: xr.DataArray, times: NDArray[Any], faults: Faults, label: str) -> None:
    """Add a fault if a field has a time of another calendar than the times of a record."""
    for coordinate in filter(is_date, field.coords.values()):
        names = [xr.DataArray(values).dt.calendar for values in (coordinate.values, times)]
        theirs, ours = (re.sub("^(proleptic_)?gregorian$", "standard", name) for name in names)
        if theirs != ours:
            found = f"calendar {theirs!r}; the record has {ours!r}"
            add(faults, "calendar-differs", found, label, coordinate.name, ours=ours)


def _time_coordinate(array: xr.DataArray, dim: Hashable) -> xr.DataArray | None:
    """Return the coordinate named as the time dimension, unless it holds durations; else the one of dates."""
    own: xr.DataArray | None = None
    if dim in array.coords:  # get() makes one up
        own = array.coords[dim]
        if own.dtype.kind != "m":
            return own
    along: list[xr.DataArray] = [c for c in array.coords.values() if c.dims == (dim,) and c.name != dim]
    named = [c for c in along if c.attrs.get("standard_name") == "time" or c.attrs.get("axis") == "T"]
    dated = named or [c for c in along if is_date(c)]
    return dated[0] if len(dated) == 1 else own


def _dates(coordinate: xr.DataArray, place: Place, faults: Faults) -> NDArray[Any] | None:
    """Return the values of a coordinate of dates; add a fault for any other."""
    dtype, label = coordinate.dtype, str(coordinate.name)
    # Types of pandas are none of numpy; the index gives their elements.
    kind = dtype.kind if isinstance(dtype, np.dtype) else "O"
    if kind == "M":
        return np.asarray(coordinate.values)
    if kind in "iuf":
        found, expected, fix = _undecoded(coordinate)
        add(faults, "time-not-decoded", found, *place, expected=expected, fix=fix)
        return None
    expected = "datetime64 without a time zone (UTC), or cftime dates of one calendar"
    fix = f"ds[{label!r}] = pandas.to_datetime(ds[{label!r}].values, utc=True).tz_localize(None)"
    values = np.asarray(list(coordinate.to_index()), dtype=object)
    first = values.flat[0] if values.size else None
    if kind == "m":
        since = [str(name) for name, c in coordinate.coords.items() if c.ndim == 0 and is_date(c)]
        start = f"ds[{since[0]!r}]" if len(since) == 1 else "numpy.datetime64('2020-01-01')"
        found, expected = f"durations, first {pd.Timedelta(coordinate.values.flat[0])}", "dates"
        fix = f"ds = ds.assign_coords({label}={start} + ds[{label!r}])" + ("" if since else ", or since when it is")
    elif hasattr(first, "calendar"):
        calendars = {str(getattr(value, "calendar", None)) for value in values.flat if not pd.isnull(value)}
        if len(calendars) == 1:
            return values
        found = f"times of several calendars: {', '.join(sorted(calendars))}"
    elif getattr(first, "tzinfo", None) is not None or isinstance(dtype, pd.DatetimeTZDtype):
        found = f"times with a time zone ({dtype}), first {first}"
    else:
        found = f"times of dtype {dtype}, first {first!r} ({type(first).__name__})"
    add(faults, "time-not-dates", found, *place, expected=expected, fix=fix)
    return None


def _undecoded(coordinate: xr.DataArray) -> tuple[str, str, str]:
    """Return what was found in a coordinate of numbers, what was expected, and the fix."""
    import cftime

    dtype, times, units = coordinate.dtype, f"ds[{str(coordinate.name)!r}]", coordinate.attrs.get("units")
    decode = "ds = xarray.decode_cf(ds)"
    if units is not None:
        try:
            cftime.num2date(0, str(units), str(coordinate.attrs.get("calendar", "standard")))
        except (ValueError, TypeError, KeyError):  # the last of an empty calendar
            found = f"time units {str(units)!r}, which cannot be decoded"
            return found, "units such as 'seconds since 1970-01-01'", "write attrs['units'] and decode again"
        return f"{dtype} times that are not decoded, units {str(units)!r}", "decoded dates", decode
    digits = _digits_of_dates(coordinate)
    if digits is not None:
        found = f"{dtype} times that spell dates, first {int(coordinate.values.flat[0])}"
        fix = f"{times} = pandas.to_datetime({times}.values.astype('int64').astype(str), format={digits!r})"
        return found, "datetime64, or cftime dates of one calendar", fix
    fix = f"{times}.attrs['units'] = 'seconds since 2020-01-01'; {decode}"
    return f"{dtype} times without units", "dates: time has no CF units; decode_times?", fix


def _digits_of_dates(coordinate: xr.DataArray) -> str | None:
    """Return the format of numbers that spell dates, such as 202406011200; None for others."""
    values = np.asarray(coordinate.values).ravel()
    if not values.size or not np.isfinite(values).all() or (values != np.floor(values)).any():
        return None
    texts = [str(int(value)) for value in values]
    fmt = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(texts[0]))
    if fmt is not None and all(text.startswith(_CENTURIES) for text in texts):
        with contextlib.suppress(ValueError):
            pd.to_datetime(texts, format=fmt)
            return fmt
    return None


def _seconds(values: NDArray[Any]) -> NDArray[np.float64]:
    since = values - values[0]
    if values.dtype.kind == "M":
        return np.asarray(since / np.timedelta64(1, "s"), dtype=np.float64)
    return np.array([step.total_seconds() for step in since], dtype=np.float64)


def date_text(value: Any) -> str:
    """Return a date as text."""
    text = str(value)
    # datetime64[ns] prints nine decimals that nobody wrote.
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_duration(value: object, name: str, faults: Faults) -> float | None:
    """Return a positive duration in seconds of a timedelta or a text such as "15min"; None with a fault for others."""
    known = isinstance(value, datetime.timedelta) or (isinstance(value, str) and bool(re.search(r"[^\W\d_]|:", value)))
    if isinstance(value, np.timedelta64):
        # Months and years have no length in seconds, and a bare count has no unit.
        known = np.datetime_data(value.dtype)[0] not in ("Y", "M", "generic")
    span: Any = value if known else None
    seconds: float | None = None
    with contextlib.suppress(ValueError):
        # NaN for None and "NaT", which the check below refuses.
        seconds = float(pd.Timedelta(span).total_seconds())
    if seconds is not None and seconds > 0:
        return seconds
    found = f"{name}={value!r}" + (", which is not positive" if seconds is not None and seconds <= 0 else "")
    add(faults, "duration-invalid", found, name=name)
    return None


def interval_of(
    array: xr.DataArray, time: Hashable, seconds: NDArray[np.float64], dataset: xr.Dataset | None = None
) -> float | None:
    """Return the seconds over which each value of an amount fell, None if nothing states them.

    ``cell_methods`` state them (``time: sum (interval: 5 minutes)``), else the bounds of time in `dataset`, else the
    time between frames if that is regular; a missing frame makes no other irregular. `seconds` are those of frames.
    """
    stated = _INTERVAL.search(str(attribute(array, "cell_methods") or ""))
    if stated is not None and is_parsable(stated["unit"]):
        return float(convert(float(stated["count"]), stated["unit"], "s"))
    own = array.coords.get(time)
    name = None if own is None else attribute(own, "bounds")
    if dataset is not None and name in dataset.variables:
        bounds = in_memory(dataset[name])
        if not is_date(dataset[name]) or bounds.ndim != 2 or bounds.shape[1] != 2:
            return None
        widths = (bounds[:, 1] - bounds[:, 0]).astype("m8[us]") / np.timedelta64(1, "s")
        first = float(widths[0])
        return first if first > 0 and bool((np.abs(widths - first) <= ROUNDING * first).all()) else None
    steps = np.diff(seconds)
    cadence = float(np.median(steps))
    parts = steps / cadence
    regular = np.abs(parts - np.round(parts)) <= ROUNDING * np.maximum(np.round(parts), 1)
    return cadence if bool((regular & (parts > 0.5)).all()) else None
