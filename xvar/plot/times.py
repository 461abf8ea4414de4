"""Times of outputs as titles and axes show them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray


def last_step(data: xr.Dataset, window: int = 0) -> int:
    """Return the step of the last frame of a window, which may have fewer frames than others."""
    if "step" not in data["time"].dims:
        return data.sizes["step"] - 1
    times = data["time"].isel({"window": window}, missing_dims="ignore")
    return int(np.flatnonzero(times.notnull().values)[-1])


def moment(value: Any) -> str:
    """Return a time in UTC to the minute, empty if it is missing."""
    return "" if pd.isnull(value) else f"{str(value).replace('T', ' ')[:16]} UTC"


def seconds_of(leads: Any) -> NDArray[np.float64]:
    """Return lead times in seconds."""
    return np.asarray(np.asarray(leads) / np.timedelta64(1, "s"), dtype=np.float64)


def unit_of_time(longest: float) -> tuple[float, str]:
    """Return the length in seconds and the name of the unit for times up to the longest, in seconds."""
    units = ((86400.0, "d"), (3600.0, "h"))
    return next(((length, name) for length, name in units if longest >= 2 * length), (60.0, "min"))


def lead_label(seconds: float, longest: float) -> str:
    """Return a lead time in the unit of the longest one, such as "+10 min"."""
    length, unit = unit_of_time(longest)
    return f"+{seconds / length:g} {unit}"
