"""How a file is understood, in words."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xvar.analysis.summary import summary
from xvar.check.understanding import describe
from xvar.plan.configuration import ATTRIBUTE

__all__ = ["describe", "describe_analysis", "is_analysis"]


def is_analysis(data: xr.Dataset) -> bool:
    """Whether a file is what `assimilate` wrote."""
    return ATTRIBUTE in data.attrs and "status" in data


def describe_analysis(data: xr.Dataset) -> dict[str, Any]:
    """What became of an analysis, and what was assumed for it."""
    return {"analysis": str(summary(data)).splitlines()}
