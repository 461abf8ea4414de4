"""Forecasts by lead time, ensembles and their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.analysis.probability import probability as probability_of
from xvar.analysis.probability import with_members
from xvar.analysis.verify.truth import true_frames
from xvar.cf.axes import Axes as AxisNames
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.canvas import Canvas, edges, explain, lead_label, make_canvas, moment, new_figure, own_axes, seconds_of
from xvar.plot.colours import field_scale, in_symbols
from xvar.plot.diagnostics import finish_axes, lead_axis, thinned
from xvar.plot.facets import Window, check_index, select
from xvar.plot.maps import facet_over, field

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 2.6  # inches, longer side of a panel of a forecast
BANDS = ((0.05, 0.95), (0.25, 0.75))  # quantiles
STAMPS, MAPS = (4, 7), (3, 5)  # least and largest number of panels in a row
STAMP, MAP = 1.7, 2.8  # inches, their heights


def forecast(
    data: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    window: Window = -1,
    member: int = 0,
    panels: int = 4,
    coastlines: str | None = None,
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
    window : int or time
        Index of the window, or a time that it holds.
    member : int
        Index of the member of an ensemble.
    panels : int
        Largest number of lead times, the last one among them, and all of them the same number of frames apart.
    coastlines : {"10m", "50m", "110m"}, optional
        As for `xvar.plot.motion`.
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
        return field(data, name, window=window, member=member, ax=ax, coastlines=coastlines)  # type: ignore[no-any-return]
    one = select(data, "window", window)
    one = select(one, "member", member)
    count = one.sizes["lead_time"]
    stride = (count - 1) // max(1, panels) + 1
    leads = np.arange(count)[::-1][::stride][::-1]
    canvas = make_canvas(data[name], data, configuration, coastlines)
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
            mesh = canvas.image(panel, scale.convert(values), **scale.style)
            if row == 0 and "origin" in one:
                style = {"colors": "0.3", "linewidths": 0.8, "linestyles": "dotted"}
                canvas.contour(panel, one["origin"].values[column], **style)
            if column == 0:
                panel.set_title(label, loc="left", fontsize=10)
            panel.set_title(lead_label(seconds[column], seconds[-1]) if row == 0 else "")
    figure.colorbar(mesh, ax=drawn, label=scale.label, shrink=0.85, **scale.bar)
    outside = "origin" in one and bool((one["origin"].values > 0).any())
    hidden = any((~np.isfinite(values)).any() and np.isfinite(values).any() for _, values in rows)
    words = "beyond: from outside the grid, the last frame kept"
    explain(figure, land=hidden, dotted=words if outside else "")
    figure.suptitle(f"{name.replace('_', ' ')}, forecast from {moment(one['forecast_reference_time'].values)}")
    return figure


def observed_at(
    times: NDArray[Any], truth: xr.Dataset | xr.DataArray, like: xr.DataArray, configuration: Configuration
) -> NDArray[Any]:
    """Return the observed frames (time, y, x) at times of a forecast (lead_time, y, x), NaN without a truth.

    Raise InputError if the truth does not fit the forecast.
    """
    faults = Faults()
    axes = AxisNames("time", like.dims[-2], like.dims[-1])
    return faults.require(true_frames(truth, configuration, like, axes, faults, configuration.frame)).at(times)


def fan(
    data: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    point: tuple[float, float] | None = None,
    window: Window = -1,
    ax: Axes | None = None,
) -> Axes:
    """Draw quantiles of an ensemble against lead time, at a point or of the mean over the area.

    Parameters
    ----------
    data : Dataset
        A forecast with members, or its accumulation.
    truth : Dataset or DataArray, optional
        The observed record. The mean is then over the points that are observed.
    point : (y, x), optional
        Coordinates as in the file, of which the nearest grid point is drawn; default: the mean over the area.
    window, ax
        As for `xvar.plot.cost_history`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If `data` has no members, there is no such window, the point is outside the grid, or the truth does not fit.
    """
    configuration = with_members(data)
    name = configuration.variable
    canvas = make_canvas(data[name], data, configuration)
    one = select(data, "window", window).transpose("member", "lead_time", *canvas.dims, ...)
    fields = one[name].astype("float64")
    fields = fields.where(fields.notnull().all("member"))
    if truth is not None:
        seen = fields.isel(member=0, drop=True)
        seen = seen.copy(data=observed_at(one["time"].values, truth, seen, configuration))
        fields = fields.where(seen.notnull() | seen.isnull().all(canvas.dims))
        fields = xr.concat([seen.where(fields[0].notnull()).expand_dims("member"), fields], "member", coords="minimal")
    place = "mean over the area"
    if point is not None:
        fields, place = _nearest(fields, canvas, point)
    scale = field_scale([fields.values], one[name], configuration)
    means = scale.convert(fields.mean([dim for dim in canvas.dims if dim in fields.dims]).values)
    ax = own_axes(ax)
    times, members = lead_axis(ax, one), means[-one.sizes["member"] :]
    for number, levels in enumerate(BANDS):
        style: dict[str, Any] = {"color": "C0", "alpha": 0.2 + 0.2 * number, "linewidth": 0}
        label = f"{levels[0]:.0%} to {levels[1]:.0%}"
        ax.fill_between(times, *np.quantile(members, levels, axis=0), label=label, **style)
    ax.plot(times, np.median(members, axis=0), color="C0", label="median")
    if truth is not None:
        ax.plot(times, means[0], color="black", marker="o", markersize=4, label="observed")
    if configuration.kind == "rain":
        ax.set_ylim(bottom=max(0.0, ax.get_ylim()[0]))
    start = moment(one["forecast_reference_time"].values)
    title = f"{name.replace('_', ' ')}, {place}\n{len(members)} members from {start}"
    ax.set_ylabel(scale.label)
    ax.set_title(title, fontsize=11)
    return finish_axes(ax)


def _nearest(fields: xr.DataArray, canvas: Canvas, point: tuple[float, float]) -> tuple[xr.DataArray, str]:
    """Return the fields at the grid point next to a point, and its place in words."""
    words = []
    for dim, wanted in zip(canvas.dims, point, strict=True):
        places = np.asarray(fields[dim].values, dtype=np.float64)  # indices of a dimension without coordinates
        low, high = edges(places)
        if not low <= wanted <= high:
            expected = f"{dim} between {low:g} and {high:g}, as in the file"
            raise InputError(Fault(f"{dim} {wanted:g}", expected, "leave point= out", code="point-outside-the-grid"))
        index = int(np.abs(places - wanted).argmin())
        fields = fields.isel({dim: index})
        words.append(f"{dim} {places[index]:g}")
    return fields, ", ".join(words)


def probability(data: xr.Dataset, *, above: float = 1.0, **options: Any) -> Any:
    """Draw maps of the probability of an event, the share of members at or above a threshold.

    Parameters
    ----------
    data : Dataset
        A forecast with members, its accumulation, or a nowcast with probabilities.
    above : float
        The threshold: in mm h-1 for rain, else in the units of the variable. Of a nowcast one of its own.
    **options
        ``window``, ``lead_time`` and ``**panels``, as for `xvar.plot.field`; without ``lead_time``, ``ax``, ``col`` and
        ``row`` there is a panel for each lead time.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        If `data` has no members or probabilities, or the threshold is no number.
    """
    product = probability_of(data, above)
    (name,) = (key for key in product.data_vars if str(key).startswith("probability_of_"))
    return field(product, name, **facet_over("lead_time", options, **_wrapped(product.sizes["lead_time"], MAPS, MAP)))


def stamps(data: xr.Dataset, **options: Any) -> Any:
    """Draw all members at one lead time, a panel each.

    Parameters
    ----------
    data : Dataset
        A forecast with members, or its accumulation.
    **options
        ``window``, ``lead_time``, ``col_wrap``, ``size`` and ``coastlines``, as for `xvar.plot.field`.

    Returns
    -------
    xarray FacetGrid

    Raises
    ------
    InputError
        If `data` has no members, or there is no such window or lead time.
    """
    name = with_members(data).variable
    return field(data, name, **{**_wrapped(data.sizes["member"], STAMPS, STAMP), **options, "col": "member"})


def _wrapped(count: int, limits: tuple[int, int], size: float) -> dict[str, Any]:
    """Return `size` and the `col_wrap` that leaves the last row fullest."""
    low, high = (min(count, limit) for limit in limits)
    columns = min(range(low, high + 1), key=lambda number: (-count % number, abs(2 * number - low - high)))
    return {"col_wrap": columns, "size": size}


def rank_histogram(scores: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw how often the truth has each rank among the members, at the first, middle and last lead time.

    All ranks are equally frequent if the truth is like one more member. A dome is of too much spread, a U of too
    little, a slope of a bias.

    Parameters
    ----------
    scores : Dataset
        Scores of a forecast with members.
    ax : matplotlib Axes, optional
        Axes to draw in.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If the scores are of no ensemble.
    """
    frequency = _of_an_ensemble(scores, "rank_histogram")
    ax = own_axes(ax)
    limits, seconds = np.arange(frequency.sizes["rank"] + 1) - 0.5, seconds_of(scores["lead_time"])
    for number, lead in enumerate(sorted({0, (len(seconds) - 1) // 2, len(seconds) - 1})):
        style: dict[str, Any] = {"color": f"C{number}", "label": lead_label(seconds[lead], seconds[-1])}
        ax.stairs(frequency.isel(lead_time=lead).values, limits, baseline=None, linewidth=1.6, **style)
    ax.axhline(1 / frequency.sizes["rank"], color="0.4", linestyle="--", label="reliable")
    ax.set(xlabel="rank of the truth among the members", ylabel="relative frequency", xlim=limits[[0, -1]])
    ax.set_ylim(bottom=0)
    ax.set_xticks(thinned(np.arange(len(limits) - 1)))
    ax.set_title("rank histogram", fontsize=11)
    return finish_axes(ax)


def reliability(scores: xr.Dataset, *, lead_time: int = -1, ax: Axes | None = None) -> Axes:
    """Draw the observed frequency of events by their forecast probability, and the number of forecasts of each.

    Parameters
    ----------
    scores : Dataset
        Scores of a forecast with members.
    lead_time : int
        Index of the lead time.
    ax : matplotlib Axes, optional
        Axes to draw in; the numbers are in its upper left corner.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If the scores are of no ensemble or without thresholds, or there is no such lead time.
    """
    _of_an_ensemble(scores, "observed_frequency")
    index = check_index(lead_time, "lead_time", scores)
    one, seconds = scores.isel(lead_time=index), seconds_of(scores["lead_time"])
    ax = own_axes(ax)
    counts = ax.inset_axes((0.1, 0.74, 0.34, 0.22))
    share, units = one["probability"].values, in_symbols(one["threshold"].attrs.get("units", ""))
    limits = np.concatenate([share[:1], (share[1:] + share[:-1]) / 2, share[-1:]])
    for number, threshold in enumerate(one["threshold"].values):
        colour, label = f"C{number}", f"at {threshold:g} {units}"
        event = one.isel(threshold=number)
        ax.plot(share, event["observed_frequency"].values, marker="o", markersize=4, color=colour, label=label)
        forecasts = (event["forecast_frequency"] * one["number_of_pairs"]).round()
        counts.stairs(forecasts.where(forecasts > 0).values, limits, baseline=None, color=colour)
    ax.plot([0, 1], [0, 1], color="0.4", linestyle="--", label="reliable")
    counts.set(yscale="log", xlim=(0, 1), xticks=())
    counts.set_title("number of forecasts", fontsize=8)
    counts.tick_params(labelsize=7)
    ax.set(xlabel="forecast probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1), aspect=1)
    ax.set_title(f"reliability, {lead_label(seconds[index], seconds[-1])}", fontsize=11)
    return finish_axes(ax, loc="lower right")


def _of_an_ensemble(scores: xr.Dataset, name: str) -> xr.DataArray:
    if name not in scores:
        fix = 'analysis.var4d.forecast("30min", members=20).var4d.verify(truth)'
        raise InputError(Fault(f"scores without {name!r}", "scores of an ensemble", fix, name, code="unknown-score"))
    return scores[name]
