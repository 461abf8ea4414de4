"""Names and descriptions of scores."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

EACH_WINDOW = "_by_window"


def label_scores(
    data: xr.Dataset,
    fields: Mapping[str, xr.DataArray],
    coordinates: dict[Hashable, Any],
    describe: Callable[[str], dict[str, Any]],
) -> xr.Dataset:
    """Return scores of a result with their attributes and the ends of its windows."""
    scores: dict[Hashable, Any] = {}
    for name, part in fields.items():
        row = name.replace(EACH_WINDOW, "")
        attrs = describe(row)
        if name != row:
            attrs["long_name"] += ", in each window"
        scores[name] = (part.dims, part.values.astype("int64" if part.dtype.kind in "iu" else "float64"), attrs)
    if "forecast_reference_time" in data.coords:
        reference = data["forecast_reference_time"]
        coordinates["forecast_reference_time"] = ("window", np.atleast_1d(reference.values), dict(reference.attrs))
    return xr.Dataset(scores, coordinates, dict(data.attrs))
