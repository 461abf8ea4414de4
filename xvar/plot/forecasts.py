"""Forecasts by lead time, above what was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes as AxisNames
from xvar.errors import InputError, Problem, Problems
from xvar.plot.canvas import configuration_of, make_canvas, moment, new_figure
from xvar.plot.colours import field_scale
from xvar.verify.truth import find_truth, read_truth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 2.6  # inches of a panel


def forecast(
    data: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    window: int = -1,
    panels: int = 4,
    figure: Figure | None = None,
) -> Figure:
    """Draw a forecast at several lead times.

    Parameters
    ----------
    data : Dataset
        A forecast.
    truth : Dataset or DataArray, optional
        The observed record, drawn below at the same times; a panel stays empty where it has no frame. Beyond the dotted
        line what the forecast shows comes from outside the grid: there it keeps the last frame.
    window : int
        Which.
    panels : int
        Lead times at most, spread evenly, the last one among them.
    figure : matplotlib Figure, optional
        Where to draw.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InputError
        Where `data` is no forecast, or the truth does not fit it.
    """
    configuration = configuration_of(data, "a forecast, as forecast() gives it")
    name = configuration.variable
    if "lead_time" not in data.dims or name not in data:
        raise InputError(
            Problem(
                "a Dataset without lead_time", "a forecast", 'analysis.var4d.forecast("30min").var4d.plot.forecast()'
            )
        )
    one = data.isel(window=window) if "window" in data.dims else data
    leads = np.unique(np.linspace(0, one.sizes["lead_time"] - 1, max(1, panels)).round().astype(int)[-panels:])
    canvas = make_canvas(one[name].isel(lead_time=0), data, configuration)
    fields = one[name].transpose("lead_time", *canvas.dims).isel(lead_time=leads)
    rows = [("forecast", fields.values)]
    if truth is not None:
        problems = Problems()
        variable = find_truth(truth, name, configuration.kind, problems)
        units = str(one[name].attrs.get("units", "1"))
        axes = AxisNames("time", *canvas.dims)
        known = (
            None if variable is None else read_truth(variable, fields, axes, units, problems, frame=configuration.frame)
        )
        problems.refuse()
        assert known is not None
        rows.append(("observed", known.at(one["time"].values[leads])))
    ratio = float(np.ptp(canvas.y) * canvas.aspect / np.ptp(canvas.x))
    if figure is None:
        figure = new_figure(figsize=(SIDE * len(leads) + 1.2, min(SIDE * ratio, 2 * SIDE) * len(rows) + 0.9))
    drawn = figure.subplots(len(rows), len(leads), sharex=True, sharey=True, squeeze=False)
    every = xr.DataArray(np.concatenate([values.ravel() for _, values in rows]), attrs=fields.attrs)
    scale = field_scale(every, configuration)
    mesh = None
    for row, (label, values) in enumerate(rows):
        for column, lead in enumerate(leads):
            ax = drawn[row, column]
            canvas.prepare(ax, outer=False)
            if not np.isfinite(values[column]).any():
                ax.text(0.5, 0.5, "no truth", transform=ax.transAxes, ha="center", color="0.4")
            mesh = canvas.image(ax, values[column] * scale.factor, **scale.style)
            if row == 0 and "origin" in one:
                origin = one["origin"].transpose("lead_time", *canvas.dims).values[lead]
                if origin.min() < origin.max():
                    ax.contour(canvas.x, canvas.y, origin, [0.5], colors="0.3", linewidths=0.8, linestyles="dotted")
            if row == 0:
                ax.set_title(f"+{one['lead_time'].values[lead] / np.timedelta64(60, 's'):g} min")
            if column == 0:
                ax.set_ylabel(f"{label}\n{canvas.labels[0]}")
            if row == len(rows) - 1:
                ax.set_xlabel(canvas.labels[1])
    assert mesh is not None
    figure.colorbar(mesh, ax=drawn, label=scale.label, shrink=0.85, **scale.bar)
    figure.suptitle(f"{name.replace('_', ' ')}, forecast from {moment(one['forecast_reference_time'].values)}")
    return figure
