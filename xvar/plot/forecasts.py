"""Forecasts by lead time, above the observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.analysis.verify.truth import true_frames
from xvar.cf.axes import Axes as AxisNames
from xvar.errors import Faults
from xvar.plan.configuration import Configuration
from xvar.plot.canvas import make_canvas, new_figure
from xvar.plot.colours import field_scale
from xvar.plot.facets import select
from xvar.plot.fields import field
from xvar.plot.times import lead_label, moment, seconds_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 2.6  # inches, longer side of a panel


def forecast(
    data: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    window: int = -1,
    member: int = 0,
    panels: int = 4,
    figure: Figure | None = None,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Draw a forecast at several lead times.

    Parameters
    ----------
    data : Dataset
        A forecast. Beyond the dotted line it comes from outside the grid, and keeps the last frame.
    truth : Dataset or DataArray, optional
        The observed record, drawn below at the same times; a panel stays empty if it has no frame.
    window : int
        Index of the window.
    member : int
        Index of the member of an ensemble.
    panels : int
        Largest number of lead times, spread evenly, the last one among them.
    figure : matplotlib Figure, optional
        Figure to draw in.
    ax : matplotlib Axes, optional
        Axes for the last lead time alone, without the truth.

    Returns
    -------
    matplotlib Figure, or Axes if they were given

    Raises
    ------
    InputError
        If `data` is no forecast, there is no such window, or the truth does not fit the forecast.
    """
    configuration = configuration_of(data, "lead_time", output="forecast")
    name = configuration.variable
    if ax is not None:
        return field(data, name, window=window, member=member, ax=ax)  # type: ignore[no-any-return]
    one = select(data, "window", window)
    one = select(one, "member", member)
    leads = np.unique(np.linspace(0, one.sizes["lead_time"] - 1, max(1, panels)).round().astype(int)[-panels:])
    canvas = make_canvas(data[name], data, configuration)
    one = one.isel(lead_time=leads).transpose("lead_time", *canvas.dims, ...)
    rows = [("forecast", one[name].values)]
    if truth is not None:
        rows.append(("observed", observed_at(one["time"].values, truth, one[name], configuration)))
    if figure is None:
        width, height = canvas.panel_size(SIDE)
        figure = new_figure(figsize=(width * len(leads) + 1.7, height * len(rows) + 0.9), layout="compressed")
    drawn = figure.subplots(len(rows), len(leads), sharex=True, sharey=True, squeeze=False, subplot_kw=canvas.subplot)
    scale = field_scale((values for _, values in rows), one[name], configuration)
    seconds = seconds_of(one["lead_time"])
    mesh: Any = None
    for row, (label, fields) in enumerate(rows):
        for column, values in enumerate(fields):
            panel = drawn[row, column]
            canvas.prepare(panel, left=column == 0, bottom=row == len(rows) - 1)
            if not np.isfinite(values).any():
                panel.text(0.5, 0.5, "no truth", transform=panel.transAxes, ha="center", color="0.4")
            mesh = canvas.image(panel, values * scale.factor, **scale.style)
            if row == 0 and "origin" in one:
                style = {"colors": "0.3", "linewidths": 0.8, "linestyles": "dotted"}
                canvas.contour(panel, one["origin"].values[column], **style)
            if column == 0:
                panel.set_title(label, loc="left", fontsize=10)
            panel.set_title(lead_label(seconds[column], seconds[-1]) if row == 0 else "")
    figure.colorbar(mesh, ax=drawn, label=scale.label, shrink=0.85, **scale.bar)
    figure.suptitle(f"{name.replace('_', ' ')}, forecast from {moment(one['forecast_reference_time'].values)}")
    return figure


def observed_at(
    times: NDArray[Any], truth: xr.Dataset | xr.DataArray, like: xr.DataArray, configuration: Configuration
) -> NDArray[Any]:
    """Return the observed frames (time, y, x) at times of a forecast (lead_time, y, x), NaN without a truth.

    Raise InputError if the truth does not fit the forecast.
    """
    faults = Faults()
    axes = AxisNames("time", *like.dims[1:])
    return faults.require(true_frames(truth, configuration, like, axes, faults, configuration.frame)).at(times)
