"""One record from the windows of an analysis."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import numpy as np
import xarray as xr

from xvar.cf.conventions import to_cf
from xvar.errors import Faults
from xvar.plan.configuration import ATTRIBUTE

Shared = Literal["last", "first"]
SHARED: tuple[Shared, ...] = ("last", "first")


def series(data: xr.Dataset, *, shared: Shared = "last") -> xr.Dataset:
    """The analyses of all windows as one record (time, y, x).

    Parameters
    ----------
    data : Dataset
        An analysis.
    shared : {"last", "first"}
        Which window a frame is taken from that several windows share: the last one, in which most is known of what led
        to it, or the first one, in which it is nearest to the end of the window.

    Returns
    -------
    Dataset
        The variables of the analysis that have steps, on one ``time`` dimension, each time once, and ``window``, the
        window that each came from. Windows that failed or were not run have no part in it.

    Raises
    ------
    InputError
        Where `data` is no analysis, or no window has a result.
    """
    faults = Faults()
    if ATTRIBUTE not in data.attrs or "step" not in data.dims:
        faults.add(
            found=f"a Dataset with dimensions ({', '.join(map(str, data.dims))})",
            expected="an analysis, as assimilate() gives it",
            fix="ds.var4d.assimilate().var4d.series()",
        )
    if shared not in SHARED:
        faults.add(found=f"shared={shared!r}", expected='"last" or "first"', fix='shared="last"')
    faults.raise_if_any()
    times = data["time"].values
    status = np.asarray(data["status"].values)
    chosen: dict[Any, tuple[int, int]] = {}
    for window, step in np.ndindex(times.shape):
        moment = times[window, step]
        if moment != moment or moment is None or status[window] in (0, 5):
            continue
        if shared == "last" or moment not in chosen:
            chosen[moment] = (window, step)
    if not chosen:
        faults.add(found="no window with a result", expected="one at least", fix='see analysis["status"]')
        faults.raise_if_any()
    moments = sorted(chosen)
    windows, steps = (xr.DataArray([chosen[moment][axis] for moment in moments], dims="time") for axis in (0, 1))
    stepped: list[Hashable] = [name for name, part in data.data_vars.items() if {"window", "step"} <= set(part.dims)]
    mappings = [name for name, part in data.data_vars.items() if "grid_mapping_name" in part.attrs]
    record = data[[*stepped, *mappings]].drop_vars(["time", "forecast_reference_time"]).isel(window=windows, step=steps)
    record = record.assign_coords(time=("time", np.array(moments, dtype=times.dtype), dict(data["time"].attrs)))
    record["window"] = ("time", windows.values.astype("int32"), {"long_name": "window that the frame is taken from"})
    needed = {dim for part in record.data_vars.values() for dim in part.dims}
    record = record.drop_vars([name for name, part in record.coords.items() if not set(part.dims) <= needed])
    return to_cf(record, data, action=f"series(shared={shared!r})")
