"""Pictures of analyses, forecasts and scores: ``.var4d.plot``. They need matplotlib, the extra ``xvar[plot]``.

All of them return matplotlib's own objects and draw in the axes that are given; none shows or blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import xarray as xr

from xvar.plot.animation import animation, write_animation
from xvar.plot.diagnostics import cost, cost_history, skill
from xvar.plot.forecasts import fan, forecast, probability, rank_histogram, reliability, stamps
from xvar.plot.maps import field, forcing, increment, innovation, motion, residual

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Plot",
    "animation",
    "cost",
    "cost_history",
    "fan",
    "field",
    "forcing",
    "forecast",
    "increment",
    "innovation",
    "motion",
    "probability",
    "rank_histogram",
    "reliability",
    "residual",
    "skill",
    "stamps",
    "write_animation",
]


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that calls a function with the Dataset as its first argument."""

    @functools.wraps(function)
    def method(self: Plot, *arguments: Any, **options: Any) -> Any:
        return function(self._data, *arguments, **options)

    return method


class Plot:
    """Pictures of one Dataset: each method is the function of `xvar.plot` with its name.

    Parameters
    ----------
    data : Dataset
        An analysis, a forecast or scores.
    """

    def __init__(self, data: xr.Dataset) -> None:
        self._data = data

    motion = _method(motion)
    field = _method(field)
    innovation = _method(innovation)
    residual = _method(residual)
    increment = _method(increment)
    forcing = _method(forcing)
    cost = _method(cost)
    cost_history = _method(cost_history)
    forecast = _method(forecast)
    animation = _method(animation)
    fan = _method(fan)
    probability = _method(probability)
    stamps = _method(stamps)
    rank_histogram = _method(rank_histogram)
    reliability = _method(reliability)

    def skill(self, scores: xr.Dataset | None = None, **options: Any) -> Axes:
        """Draw a score against lead time, see `xvar.plot.skill`; by default of the Dataset itself."""
        return skill(self._data if scores is None else scores, **options)
