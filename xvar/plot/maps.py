"""Maps of an analysis or a forecast: the motion, variables, innovations and residuals, increment and model error."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import SHOWN, Part, configuration_of, motion_of
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.canvas import Pair, draw_streamlines, last_step, lead_label, seconds_of, unit_of_time
from xvar.plot.colours import (
    RATE,
    SPEED,
    Scale,
    difference_scale,
    draw_wheel,
    field_scale,
    in_symbols,
    known,
    motion_colours,
    probability_scale,
    speed_scale,
)
from xvar.plot.facets import PanelOptions, Panels, Window, make_panels

if TYPE_CHECKING:
    from typing_extensions import Unpack

Style = Literal["arrows", "streamlines", "colours"]
STYLES: tuple[Style, ...] = ("arrows", "streamlines", "colours")
#: Signed fields, by the end of their names.
SIGNED = ("_innovation", "_residual", "_increment", "_forcing", "growth", "source")


def motion(
    data: xr.Dataset,
    *,
    window: Window = -1,
    step: int = -1,
    style: Style = "arrows",
    part: Part = SHOWN,
    image: bool = True,
    fastest: float | None = None,
    **panels: Unpack[PanelOptions],
) -> Any:
    """Draw the motion of one window, or of each.

    Parameters
    ----------
    data : Dataset
        An analysis.
    window : int or time
        Index of the window, by default the last, or a time, such as "2018-01-03 23:00", at which it ends or that it
        holds.
    step : int
        Index of the step; by default the end of the window.
    style : {"arrows", "streamlines", "colours"}
        Arrows or streamlines over the image, or the colour wheel of Baker et al. (2011), doi:10.1007/s11263-010-0390-2:
        hue for direction, saturation for speed.
    part : {"steady", "total"}
        The steady motion of the window, if the analysis has one, or the total at the step, which of rain follows the
        noise of the newest pair of images.
    image : bool
        Whether the image is drawn under arrows and streamlines.
    fastest : float, optional
        Speed in m s-1 at the rim of the colour wheel, the same for pictures that are compared; higher speeds are
        darker. Default: the highest speed, without outliers.
    **panels
        ``ax``, axes to draw in, plain or of cartopy; by default new ones, of cartopy if it is installed and the data
        have a grid mapping, or 1-D latitude and longitude. ``col`` and ``row``, dimensions, "window" and "step", with a
        panel for each of their indices; ``col_wrap``, the number of columns if ``col`` alone is given; ``size``, the
        height of each such panel in inches. ``coastlines``, "10m", "50m" or "110m": coastlines and borders of Natural
        Earth at 1 : 10, 50 or 110 million, which cartopy downloads once and keeps; by default none, and no download.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid
        In the projection of the data, or on the rows and columns of 2-D latitude and longitude; without georeference
        in kilometres. Points that are never known are grey, with the coast of the data around them, and those not
        observed light grey. There are arrows and streamlines only where the image was observed.

    Raises
    ------
    InputError
        If `data` is no analysis, or there is no such style, part, window, step or dimension.
    """
    configuration = configuration_of(data, "u", "v")
    faults = Faults()
    faults.check_choice("style", style, STYLES, "arrows")
    faults.raise_if_any()
    at = {"window": window, "step": step}
    drawn = make_panels(data["u"], data, configuration, at, **panels)
    at_end = "step" not in (panels.get("col"), panels.get("row"))
    images = _images(data, configuration.variable, drawn, at_end=at_end)
    u, v = motion_of(data, part)
    pairs = drawn.pairs(u, v)
    moving = [np.isfinite(along) for along, _ in pairs]
    if style == "colours":
        rim = fastest or _rim(known(np.hypot(*pair) for pair in pairs))
        for axes, pair, mask in zip(drawn, pairs, moving, strict=True):
            drawn.canvas.image(axes, motion_colours(*pair, rim))
            drawn.canvas.ground(axes, mask)
        draw_wheel(axes, rim, drawn.canvas.north)
    elif image:
        drawn.images(images, field_scale(images, data[configuration.variable], configuration), moving)
    else:
        for axes, mask in zip(drawn, moving, strict=True):
            drawn.canvas.ground(axes, mask, np.zeros_like(mask))
    observed = [_observed(pair, values) for pair, values in zip(pairs, images, strict=True)] if image else pairs
    if style == "arrows":
        drawn.arrows(observed, SPEED)
    elif style == "streamlines":
        for axes, pair in zip(drawn, observed, strict=True):
            draw_streamlines(axes, drawn.canvas, *pair)
    moments = drawn.moments(data, "forecast_reference_time" if "lead_time" in data.dims else "time")  # of a nowcast
    drawn.titles(str(u.attrs.get("long_name", "motion")).split(",")[0], moments)
    return drawn.result


def _observed(pair: Pair, image: NDArray[Any]) -> Pair:
    """Return vectors where an image has values, NaN elsewhere."""
    u, v = (np.where(np.isfinite(image), part, np.nan) for part in pair)
    return u, v


def _images(data: xr.Dataset, name: str, panels: Panels, *, at_end: bool) -> list[NDArray[Any]]:
    """Return the image of each panel, at the end of a window as it was observed.

    With `at_end` a panel whose step is beyond the last frame of a shorter window shows that frame.
    """
    images = []
    for _, index in panels.shown:
        end = last_step(data, index.get("window", 0)) if "step" in index else 0
        if "step" in index and at_end:
            index["step"] = min(index["step"], end)
        observed = f"{name}_observed" if index.get("step", end) == end and f"{name}_observed" in data else name
        images.append(data[observed].isel(index, missing_dims="ignore").transpose(*panels.canvas.dims).values)
    return images


def _rim(speeds: NDArray[Any]) -> float:
    """Return the highest speed, or the 99th percentile if a few are far above all others."""
    if not speeds.size:
        return 1.0
    highest, usual = float(speeds.max()), float(np.percentile(speeds, 99))
    return (highest if highest <= 1.5 * usual else usual) or 1.0


def field(
    data: xr.Dataset,
    variable: Hashable | None = None,
    *,
    window: Window = -1,
    step: int = -1,
    interval: int = -1,
    lead_time: int = -1,
    member: int = 0,
    **panels: Unpack[PanelOptions],
) -> Any:
    """Draw one variable of an analysis or a forecast in its own colours.

    Parameters
    ----------
    data : Dataset
        An analysis or a forecast.
    variable : hashable, optional
        Name of a variable (..., y, x); by default the assimilated one. Signed fields are red above zero and blue below.
    window, step, interval, lead_time : int
        Index along the dimensions that the variable has, by default the last; or a time of the window.
    member : int
        Index of the member of an ensemble.
    **panels
        As for `xvar.plot.motion`.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        If `data` is no output of xvar, or has no such variable, index or dimension.
    """
    configuration = configuration_of(data)
    name = configuration.variable if variable is None else str(variable)
    if name not in data:
        fields = [str(key) for key, part in data.data_vars.items() if part.ndim >= 2 and "stage" not in part.dims]
        expected = f"one of {', '.join(fields)}"
        raise InputError(Fault(f"no variable {name!r}", expected, "leave it out", code="unknown-variable"))
    array = data[name]
    at = {"window": window, "step": step, "interval": interval, "lead_time": lead_time, "member": member}
    drawn = make_panels(array, data, configuration, at, **panels)
    values = drawn.values(array)
    moves = drawn.canvas.moving(data) if "u" in data else None
    moving = [np.isfinite(part) if moves is None else moves for part in values]
    drawn.images(values, _scale(array, values, configuration), moving)
    title = str(array.attrs.get("long_name", name.replace("_", " ")))
    if "threshold" in data.coords and data["threshold"].ndim == 0:
        threshold = data["threshold"]
        limit = f"{float(threshold):g} {in_symbols(threshold.attrs.get('units', ''))}".replace(
            " ", "\N{NO-BREAK SPACE}"
        )
        title = title.replace("the threshold", limit).replace("_", " ")
    times = _times(data, drawn)
    if "member" in array.dims and len({index["member"] for _, index in drawn.shown}) > 1 == len(set(times)):
        title = f"{title}, {times[0]}"
        times = [f"member {number}" for number in drawn.values(data["member"])]
    drawn.titles(fill(title, 48), times)
    return drawn.result


def _scale(array: xr.DataArray, values: list[Any], configuration: Configuration) -> Scale:
    name, units = str(array.name), str(array.attrs.get("units", "1"))
    if name.startswith("probability_of_"):
        return probability_scale("probability")
    if not name.endswith(SIGNED):
        return field_scale(values, array, configuration)
    if configuration.kind == "rain" and name.endswith(("_innovation", "_residual")):
        rate = field_scale(values, array, configuration)
        if "rain rate" in rate.label:
            return difference_scale(values, f"difference of the rain rate ({RATE})", rate.factor)
    return difference_scale(values, name.replace("_", " ") + (f" ({in_symbols(units)})" if units != "1" else ""))


def _times(data: xr.Dataset, panels: Panels) -> list[str]:
    """Return the time, or the lead time, of each panel."""
    index = panels.shown[0][1]
    if "lead_time" in index:
        return [lead_label(seconds, seconds) for seconds in seconds_of(panels.values(data["lead_time"]))]
    name = "forcing_time" if "interval" in index else "time" if "step" in index else "forecast_reference_time"
    return panels.moments(data, name)


def _departure(what: str, estimate: str, symbol: str) -> Callable[..., Any]:
    """Return the picture of observation minus an estimate."""

    def draw(data: xr.Dataset, **options: Any) -> Any:
        name = f"{configuration_of(data).variable}_{what}"
        _require(data, name, f"ds.var4d.assimilate(save=({what!r},))")
        return field(data, name, **facet_over("step", options))

    draw.__name__ = draw.__qualname__ = what
    draw.__doc__ = rf"""Draw the {what}s of a window, observation minus {estimate} :math:`y_k - H({symbol})`.

    Parameters
    ----------
    data : Dataset
        An analysis with ``save=("{what}",)``.
    **options
        ``window``, ``step`` and ``**panels``, as for `xvar.plot.motion`; without ``step``, ``ax``, ``col`` and ``row``
        there is a panel for each frame of the window.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        If the analysis was made without them.
    """
    return draw


innovation = _departure("innovation", "background", "x_b")
residual = _departure("residual", "analysis", "x_a")


def facet_over(dim: str, options: dict[str, Any], **usual: Any) -> dict[str, Any]:
    """Return options with a panel for each index of a dimension, unless they state the index or the panels."""
    if all(options.get(name) is None for name in (dim, "ax", "col", "row")):
        options = {**usual, **options, "col": dim}
    return {name: value for name, value in options.items() if name != dim or value is not None}


def _require(data: xr.Dataset, name: str, fix: str) -> None:
    if name not in data:
        raise InputError(Fault(f"an analysis without {name!r}", "an analysis with it", fix, name, code="not-saved"))


def increment(data: xr.Dataset, **options: Any) -> Any:
    """Draw the increment of the motion, analysis minus background: arrows over its length.

    Parameters
    ----------
    data : Dataset
        An analysis with ``save=("increment",)``.
    **options
        ``window`` and ``**panels``, as for `xvar.plot.motion`.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        If the analysis was made without it.
    """
    configuration_of(data)
    _require(data, "u_increment", "ds.var4d.assimilate(save=('increment',))")
    return _vectors(data, "_increment", 1.0, SPEED, "increment of the motion", options)


def forcing(data: xr.Dataset, **options: Any) -> Any:
    """Draw the model error of the weak constraint in time: arrows over its length.

    Parameters
    ----------
    data : Dataset
        An analysis with ``constraint="weak"``. The forcing of a motion is drawn as its change of the motion between two
        frames; of another model the forcing of the assimilated variable is drawn.
    **options
        ``window``, ``interval`` and ``**panels``, as for `xvar.plot.motion`; without ``interval``, ``ax``, ``col`` and
        ``row`` there is a panel for each interval of the window.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        If the analysis has no model error.
    """
    configuration = configuration_of(data)
    options = facet_over("interval", options)
    if {"u_forcing", "v_forcing"} <= set(data.data_vars):
        seconds = configuration.frame
        length, unit = unit_of_time(2 * seconds)
        label = f"{SPEED} in {seconds / length:g} {unit}"
        return _vectors(data, "_forcing", seconds, label, "model error forcing", options)
    name = f"{configuration.variable}_forcing"
    _require(data, name, 'ds.var4d.assimilate(constraint="weak")')
    return field(data, name, **options)


def _vectors(data: xr.Dataset, suffix: str, factor: float, units: str, title: str, options: dict[str, Any]) -> Any:
    """Draw arrows over their length."""
    u, v = (data[f"{component}{suffix}"] for component in "uv")
    at = {dim: options.pop(dim, -1) for dim in ("window", "interval")}
    panels = make_panels(u, data, configuration_of(data), at, **options)
    pairs = panels.pairs(u, v, factor)
    lengths = [np.hypot(*pair) for pair in pairs]
    panels.images(lengths, speed_scale(lengths, f"{title} ({units})"), [np.isfinite(length) for length in lengths])
    panels.arrows(pairs, units)
    panels.titles(title, _times(data, panels))
    return panels.result
