"""Pictures of analyses, forecasts and scores: ``.var4d.plot``. They need matplotlib, the extra ``xvar[plot]``.

None of them shows or blocks: they return matplotlib's own objects, and draw in the axes that are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from xvar.plot.animation import animation, check_film, write_animation
from xvar.plot.diagnostics import cost, cost_history, skill
from xvar.plot.fields import departure, field, forcing, increment
from xvar.plot.forecasts import forecast
from xvar.plot.motion import motion

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

__all__ = [
    "Plot",
    "animation",
    "check_film",
    "cost",
    "cost_history",
    "departure",
    "field",
    "forcing",
    "forecast",
    "increment",
    "motion",
    "skill",
    "write_animation",
]


class Plot:
    """The pictures of one Dataset.

    Parameters
    ----------
    data : Dataset
        An analysis, a forecast or scores.
    """

    def __init__(self, data: xr.Dataset) -> None:
        self._data = data

    def motion(self, **options: Any) -> Any:
        """Motion over the image of an analysis, see `xvar.plot.motion`."""
        return motion(self._data, **options)

    def field(self, variable: Any = None, **options: Any) -> Any:
        """One variable of an analysis or a forecast, see `xvar.plot.field`."""
        return field(self._data, variable, **options)

    def innovation(self, **options: Any) -> Any:
        """Observation minus background, frame by frame, see `xvar.plot.departure`."""
        return departure(self._data, "innovation", **options)

    def residual(self, **options: Any) -> Any:
        """Observation minus analysis, frame by frame, see `xvar.plot.departure`."""
        return departure(self._data, "residual", **options)

    def increment(self, **options: Any) -> Any:
        """Analysis minus background of the motion, see `xvar.plot.increment`."""
        return increment(self._data, **options)

    def forcing(self, **options: Any) -> Any:
        """Model error of the weak constraint in time, see `xvar.plot.forcing`."""
        return forcing(self._data, **options)

    def cost(self, **options: Any) -> Axes:
        """Terms of the cost function of an analysis before and after, see `xvar.plot.cost`."""
        return cost(self._data, **options)

    def cost_history(self, **options: Any) -> Axes:
        """Terms of the cost function by evaluation, see `xvar.plot.cost_history`."""
        return cost_history(self._data, **options)

    def forecast(self, truth: xr.Dataset | xr.DataArray | None = None, **options: Any) -> Any:
        """Forecast by lead time, above what was observed, see `xvar.plot.forecast`."""
        return forecast(self._data, truth, **options)

    def animation(self, truth: xr.Dataset | xr.DataArray | None = None, **options: Any) -> FuncAnimation:
        """Observed images beside the analysis and its forecast, moving, see `xvar.plot.animation`."""
        return animation(self._data, truth, **options)

    def skill(self, scores: xr.Dataset | None = None, **options: Any) -> Axes:
        """A score against lead time, beside persistence, see `xvar.plot.skill`."""
        return skill(self._data if scores is None else scores, **options)
