"""``xvar info``: how a record is read, or the summary of an analysis."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xvar.analysis.summary import summary
from xvar.check import describe
from xvar.plan.configuration import ATTRIBUTE


def facts(data: xr.Dataset, variable: str | None, **options: Any) -> dict[str, Any]:
    """Return the facts of a file by name; `options` say how a record is read."""
    if ATTRIBUTE in data.attrs and "status" in data:
        return {"analysis": str(summary(data)).splitlines()}
    return describe(data, variable, **options)
