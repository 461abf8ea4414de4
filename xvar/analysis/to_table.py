"""Motion or a forecast as a table with a row for each point."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xvar.analysis.exported import Exported, Of, text_of
from xvar.analysis.outputs import SHOWN, Part


def to_table(
    data: xr.Dataset, of: Of | None = None, *, every: int | None = None, part: Part = SHOWN, window: int = -1
) -> pd.DataFrame:
    """Return the motion, or a forecast, as a table with a row for each point (and lead time).

    Parameters
    ----------
    data : Dataset
        An analysis, a forecast without members, or a nowcast.
    of : {"motion", "forecast"}, optional
        Default: the forecast, if there is one.
    every : int, optional
        Points from one row to the next along both axes. Default: 40 along the longer side.
    part : {"steady", "total"}
        Part of the motion, as in `xvar.plot.maps.motion`.
    window : int
        Which window; default: the last.

    Returns
    -------
    DataFrame
        Columns ``time``, ``latitude``, ``longitude`` in degrees; of the motion ``u``, ``v``, ``eastward``,
        ``northward``, ``speed`` in m s-1 and ``direction`` in degrees towards which it goes, clockwise from north; of a
        forecast ``lead_minutes`` and the variable in its own units. Points without a value are left out.
        ``.to_csv(path, index=False)`` writes it.

    Raises
    ------
    InputError
        If `data` is no such output, or its positions are unknown.
    """
    exported = Exported.read(data, of, window, part)
    kept = exported.kept(every)
    place = {"latitude": exported.latitude[kept].ravel(), "longitude": exported.longitude[kept].ravel()}
    if exported.of == "motion":
        fields = {name: field[kept].ravel() for name, field in exported.motion().items()}
        return pd.DataFrame({"time": exported.moment, **place, **fields}).dropna(ignore_index=True)
    tables = []
    for lead in range(exported.variable.sizes["lead_time"]):
        at = exported.variable.isel(lead_time=lead)
        columns: dict[str, Any] = {
            "time": text_of(at["time"].values),
            "lead_minutes": float(at["lead_time"].values / np.timedelta64(60, "s")),
            **place,
            exported.configuration.variable: at.transpose(*exported.plane).values[kept].ravel(),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables).dropna(ignore_index=True)
