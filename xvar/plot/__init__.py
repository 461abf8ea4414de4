"""Pictures of analyses, forecasts and scores: ``.var4d.plot``. They need matplotlib, the extra ``xvar[plot]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from xvar.plot.diagnostics import cost, skill
from xvar.plot.forecasts import forecast
from xvar.plot.motion import motion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Plot", "cost", "forecast", "motion", "skill"]


class Plot:
    """The pictures of one Dataset.

    Parameters
    ----------
    data : Dataset
        An analysis, a forecast or scores.
    """

    def __init__(self, data: xr.Dataset) -> None:
        self._data = data

    def motion(self, **options: Any) -> Axes:
        """Motion over the image of an analysis, see `xvar.plot.motion`."""
        return motion(self._data, **options)

    def cost(self, **options: Any) -> Axes:
        """Terms of the cost function of an analysis before and after, see `xvar.plot.cost`."""
        return cost(self._data, **options)

    def forecast(self, truth: xr.Dataset | xr.DataArray | None = None, **options: Any) -> Figure:
        """Forecast by lead time, above what was observed, see `xvar.plot.forecast`."""
        return forecast(self._data, truth, **options)

    def skill(self, scores: xr.Dataset | None = None, **options: Any) -> Axes:
        """A score against lead time, beside persistence, see `xvar.plot.skill`."""
        return skill(self._data if scores is None else scores, **options)
