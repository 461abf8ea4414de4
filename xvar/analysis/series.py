"""One record (time, y, x) from the windows of an analysis."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import numpy as np
import xarray as xr

from xvar.analysis.outputs import configuration_of
from xvar.cf.conventions import to_cf
from xvar.cf.metadata import STATUS
from xvar.errors import Fault, Faults, InputError
from xvar.plan.images import STEADY

Shared = Literal["last", "first"]
SHARED: tuple[Shared, ...] = ("last", "first")
WITHOUT_RESULT = [STATUS.index(word) for word in ("not_run", "failed")]


def series(data: xr.Dataset, *, shared: Shared = "last") -> xr.Dataset:
    """Join the analyses of all windows into one record (time, y, x).

    Parameters
    ----------
    data : Dataset
        An analysis.
    shared : {"last", "first"}
        Window of a frame that several windows share: the last one, which begins with it, or the first one, which ends
        with it.

    Returns
    -------
    Dataset
        The variables with steps, on one ``time`` dimension, each time once, with the steady motion of the window if the
        analysis has one, and ``window``, the window of each time. Windows that failed or were not run are left out.

    Raises
    ------
    InputError
        If `data` is no analysis, or no window has a result.
    """
    configuration_of(data, "step", "status")
    faults = Faults()
    faults.check_choice("shared", shared, SHARED, "last")
    faults.raise_if_any()
    times = data["time"].values
    failed = np.isin(data["status"].values, WITHOUT_RESULT)
    chosen: dict[Any, tuple[int, int]] = {}
    for window, step in zip(*np.nonzero(data["time"].notnull().values & ~failed[:, None]), strict=True):
        if shared == "last" or times[window, step] not in chosen:
            chosen[times[window, step]] = (window, step)
    if not chosen:
        fix = "print(analysis.var4d.summary())"
        raise InputError(Fault("no window with a result", "at least one", fix, "status", code="no-result"))
    moments = sorted(chosen)
    windows, steps = (xr.DataArray([chosen[moment][axis] for moment in moments], dims="time") for axis in (0, 1))
    stepped: list[Hashable] = [name for name, part in data.data_vars.items() if {"window", "step"} <= set(part.dims)]
    stepped += [name for name in STEADY if name in data]
    mappings = [name for name, part in data.data_vars.items() if "grid_mapping_name" in part.attrs]
    record = data[[*stepped, *mappings]].drop_vars(["time", "forecast_reference_time"]).isel(window=windows, step=steps)
    record = record.assign_coords(time=("time", np.array(moments, dtype=times.dtype), dict(data["time"].attrs)))
    record["window"] = ("time", windows.values.astype("int32"), {"long_name": "window of the frame"})
    needed = {dim for part in record.data_vars.values() for dim in part.dims}
    record = record.drop_vars([name for name, part in record.coords.items() if not set(part.dims) <= needed])
    return to_cf(record, data, action=f"series(shared={shared!r})")
