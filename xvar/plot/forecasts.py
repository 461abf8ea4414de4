"""Forecasts by lead time, above what was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xvar.analysis.verify.truth import find_truth, read_truth
from xvar.cf.axes import Axes as AxisNames
from xvar.errors import Fault, Faults, InputError
from xvar.plot.canvas import configuration_of, make_canvas, moment, new_figure, seconds_of, unit_of_time
from xvar.plot.colours import field_scale
from xvar.plot.fields import field

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 2.6  # inches of a panel


def forecast(
    data: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    window: int = -1,
    panels: int = 4,
    figure: Figure | None = None,
    ax: Axes | None = None,
) -> Figure | Axes:
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
    ax : matplotlib Axes, optional
        Where to draw the last lead time alone, without the truth.

    Returns
    -------
    matplotlib Figure, or Axes where they were given

    Raises
    ------
    InputError
        Where `data` is no forecast, or the truth does not fit it.
    """
    configuration = configuration_of(data, "a forecast, as forecast() gives it")
    name = configuration.variable
    if "lead_time" not in data.dims or name not in data:
        raise InputError(
            Fault("a Dataset without lead_time", "a forecast", 'analysis.var4d.forecast("30min").var4d.plot.forecast()')
        )
    one = data.isel(window=window) if "window" in data.dims else data
    if ax is not None:
        return field(data, name, window=window, ax=ax)  # type: ignore[no-any-return]
    leads = np.unique(np.linspace(0, one.sizes["lead_time"] - 1, max(1, panels)).round().astype(int)[-panels:])
    canvas = make_canvas(one[name].isel(lead_time=0), data, configuration)
    fields = one[name].transpose("lead_time", *canvas.dims).isel(lead_time=leads)
    rows = [("forecast", fields.values)]
    if truth is not None:
        faults = Faults()
        variable = find_truth(truth, name, configuration.kind, faults)
        units = str(one[name].attrs.get("units", "1"))
        axes = AxisNames("time", *canvas.dims)
        known = (
            None if variable is None else read_truth(variable, fields, axes, units, faults, frame=configuration.frame)
        )
        faults.raise_if_any()
        assert known is not None
        rows.append(("observed", known.at(one["time"].values[leads])))
    if figure is None:
        width, height = SIDE * min(1.0, canvas.shape_ratio), SIDE / max(1.0, canvas.shape_ratio)
        figure = new_figure(figsize=(width * len(leads) + 1.7, height * len(rows) + 0.9), layout="compressed")
    drawn = figure.subplots(len(rows), len(leads), sharex=True, sharey=True, squeeze=False, subplot_kw=canvas.subplot)
    every = xr.DataArray(np.concatenate([values.ravel() for _, values in rows]), attrs=fields.attrs, name=name)
    scale = field_scale(every, configuration)
    length, unit = unit_of_time(seconds_of(one["lead_time"].values[-1]))
    mesh: Any = None
    for row, (label, values) in enumerate(rows):
        for column, lead in enumerate(leads):
            panel = drawn[row, column]
            canvas.prepare(panel, left=column == 0, bottom=row == len(rows) - 1)
            if not np.isfinite(values[column]).any():
                panel.text(0.5, 0.5, "no truth", transform=panel.transAxes, ha="center", color="0.4")
            mesh = canvas.image(panel, values[column] * scale.factor, **scale.style)
            if row == 0 and "origin" in one:
                origin = one["origin"].transpose("lead_time", *canvas.dims).values[lead]
                if origin.min() < origin.max():
                    x, y, where = canvas.places(panel)
                    panel.contour(x, y, origin, [0.5], colors="0.3", linewidths=0.8, linestyles="dotted", **where)
            title = f"+{seconds_of(one['lead_time'].values[lead]) / length:g} {unit}" if row == 0 else ""
            if column == 0:
                panel.set_title(label, loc="left", fontsize=10)
            panel.set_title(title)
    figure.colorbar(mesh, ax=drawn, label=scale.label, shrink=0.85, **scale.bar)
    figure.suptitle(f"{name.replace('_', ' ')}, forecast from {moment(one['forecast_reference_time'].values)}")
    return figure
