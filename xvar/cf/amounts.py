"""Interval over which an amount of rain fell, to convert it to a rate."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import attribute, in_memory, is_date
from xvar.cf.units import convert, is_parsable

#: Deviation of a time between frames from a whole number of intervals that is rounding.
REGULAR = 0.01

_STATED = re.compile(r"\b(?:time|\w*time\w*)\s*:\s*sum\b[^:()]*\(\s*interval\s*:\s*(?P<count>[\d.]+)\s*(?P<unit>\w+)")


def interval_of(
    array: xr.DataArray, time: Hashable, seconds: NDArray[np.float64], dataset: xr.Dataset | None = None
) -> float | None:
    """Return the seconds over which each value of an amount fell, None if nothing states them.

    ``cell_methods`` state them (``time: sum (interval: 5 minutes)``), else the bounds of time in `dataset`, else the
    time between frames if that is regular; a missing frame makes no other irregular. `seconds` are those of frames.
    """
    stated = _STATED.search(str(attribute(array, "cell_methods") or ""))
    if stated is not None and is_parsable(stated["unit"]):
        return float(convert(float(stated["count"]), stated["unit"], "s"))
    bounds = array.coords.get(time)
    name = None if bounds is None else attribute(bounds, "bounds")
    if dataset is not None and name in dataset.variables:
        return _width(in_memory(dataset[name])) if is_date(dataset[name]) else None
    steps = np.diff(seconds)
    cadence = float(np.median(steps))
    parts = steps / cadence
    regular = np.abs(parts - np.round(parts)) <= REGULAR * np.maximum(np.round(parts), 1)
    return cadence if bool((regular & (parts > 0.5)).all()) else None


def _width(bounds: NDArray[Any]) -> float | None:
    """Return the seconds between the bounds if all are as far apart."""
    if bounds.ndim != 2 or bounds.shape[1] != 2:
        return None
    widths = (bounds[:, 1] - bounds[:, 0]).astype("m8[us]") / np.timedelta64(1, "s")
    first = float(widths[0])
    return first if first > 0 and bool((np.abs(widths - first) <= REGULAR * first).all()) else None
