"""Fields of an analysis or a forecast: what was not explained, what was changed, and what forced the model."""

from __future__ import annotations

from collections.abc import Hashable
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xvar.errors import Fault, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.canvas import Canvas, configuration_of, make_canvas, moment, seconds_of, unit_of_time
from xvar.plot.colours import Scale, difference_scale, field_scale, in_symbols, speed_scale
from xvar.plot.facets import SIZE, Panels, every, make_panels
from xvar.plot.vectors import draw_arrows, draw_key, typical_speed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Fields with a sign, by the end of their names.
SIGNED = ("_innovation", "_residual", "_increment", "_forcing", "growth", "source")


def field(
    data: xr.Dataset,
    variable: Hashable | None = None,
    *,
    window: int = -1,
    step: int = -1,
    interval: int = -1,
    lead_time: int = -1,
    ax: Axes | None = None,
    col: Hashable | None = None,
    row: Hashable | None = None,
    col_wrap: int | None = None,
    size: float = SIZE,
) -> Any:
    """Draw one variable of an analysis or a forecast in its own colours.

    Parameters
    ----------
    data : Dataset
        An analysis or a forecast.
    variable : hashable, optional
        Which variable (..., y, x); by default the one that was assimilated. What has a sign is red above zero and blue
        below.
    window, step, interval, lead_time : int
        Which, along the dimensions that the variable has; by default the last.
    ax, col, row, col_wrap, size
        As for `xvar.plot.motion`.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        Where `data` is no output of xvar, or has no such variable or dimension.
    """
    configuration = configuration_of(data, "an analysis or a forecast")
    name = configuration.variable if variable is None else str(variable)
    if name not in data:
        fields = [str(key) for key, part in data.data_vars.items() if part.ndim >= 2 and "stage" not in part.dims]
        raise InputError(Fault(f"no variable {name!r}", f"one of {', '.join(fields)}", "field(variable)"))
    array = data[name]
    canvas = _canvas_of(array, data, configuration)
    at = {"window": window, "step": step, "interval": interval, "lead_time": lead_time}
    panels = make_panels(array, canvas, at, ax=ax, col=col, row=row, col_wrap=col_wrap, size=size)
    values = list(every(array, panels, canvas))
    scale = _scale(array, values, configuration)
    panels.prepare(canvas)
    moving = _water(data, canvas)
    for (axes, index), part in zip(panels.shown, values, strict=True):
        mesh = canvas.image(axes, part * scale.factor, **scale.style)
        canvas.ground(axes, np.isfinite(part) if moving is None else moving, np.isfinite(part))
        when = _when(data, index)
        if not panels.single:
            axes.set_title(when, fontsize=9)
    panels.bar(mesh, scale)
    panels.title(f"{_what(array)}\n{when}".strip() if panels.single else _what(array))
    return panels.result


def _what(array: xr.DataArray) -> str:
    return "\n".join(wrap(str(array.attrs.get("long_name", str(array.name).replace("_", " "))), 48))


def _canvas_of(array: xr.DataArray, data: xr.Dataset, configuration: Configuration) -> Canvas:
    around = ("window", "step", "interval", "lead_time")
    return make_canvas(array.isel({dim: 0 for dim in around if dim in array.dims}), data, configuration)


def _water(data: xr.Dataset, canvas: Canvas) -> Any:
    """Where something moves, at any time; None where the data have no motion."""
    if "u" not in data:
        return None
    first = data["u"].isel({dim: 0 for dim in ("window", "step") if dim in data["u"].dims})  # every window has it
    return np.isfinite(first.transpose(*canvas.dims).values)


def _scale(array: xr.DataArray, values: list[Any], configuration: Configuration) -> Scale:
    together = np.concatenate([part.ravel() for part in values])
    name = str(array.name)
    units = str(array.attrs.get("units", "1"))
    if not name.endswith(SIGNED):
        return field_scale(xr.DataArray(together, attrs=array.attrs, name=name), configuration)
    if configuration.kind == "rain" and name.endswith(("_innovation", "_residual")):
        known = field_scale(xr.DataArray(together, attrs=array.attrs, name=configuration.variable), configuration)
        if known.factor != 1.0 or "mm h" in known.label:
            return difference_scale(together, "difference of the rain rate (mm h$^{-1}$)", known.factor)
    return difference_scale(together, f"{name.replace('_', ' ')}" + (f" ({in_symbols(units)})" if units != "1" else ""))


def _when(data: xr.Dataset, index: dict[Hashable, int]) -> str:
    """Time of a panel, and its lead time."""
    if "lead_time" in index:
        seconds = seconds_of(data["lead_time"].values[index["lead_time"]])
        length, unit = unit_of_time(seconds)
        return f"+{seconds / length:g} {unit}"
    name = "forcing_time" if "interval" in index else "time" if "step" in index else "forecast_reference_time"
    if name not in data.coords:
        return ""
    own = {dim: place for dim, place in index.items() if dim in data[name].dims}
    return moment(data[name].isel(own).values)


def departure(
    data: xr.Dataset,
    what: str,
    *,
    window: int = -1,
    step: int | None = None,
    ax: Axes | None = None,
    col: Hashable | None = None,
    row: Hashable | None = None,
    **options: Any,
) -> Any:
    r"""Draw the innovations or the residuals of a window.

    .. math:: d_k = y_k - H(x_b), \qquad r_k = y_k - H(x_a)

    Parameters
    ----------
    data : Dataset
        An analysis with ``save=("innovation", "residual")``.
    what : {"innovation", "residual"}
        Which.
    window, step : int
        Which; without `step`, `ax`, `col` and `row` there is a panel for each frame of the window.
    ax, col, row, **options
        As for `xvar.plot.motion`.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        Where the analysis was made without them.
    """
    configuration = configuration_of(data, "an analysis, as assimilate() gives it")
    name = f"{configuration.variable}_{what}"
    _require(data, name, f"assimilate(..., save=({what!r},))")
    if step is None and ax is None and col is None and row is None:
        col = "step"
    place = -1 if step is None else step
    return field(data, name, window=window, step=place, ax=ax, col=col, row=row, **options)


def _require(data: xr.Dataset, name: str, fix: str) -> None:
    if name not in data:
        raise InputError(Fault(f"an analysis without {name!r}", "one that was made with it", fix))


def increment(data: xr.Dataset, **options: Any) -> Any:
    """Draw the increment of the motion, analysis minus background: arrows over its length.

    Parameters
    ----------
    data : Dataset
        An analysis with ``save=("increment",)``.
    **options
        ``window``, ``ax``, ``col``, ``row``, ``col_wrap`` and ``size``, as for `xvar.plot.motion`.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        Where the analysis was made without it.
    """
    configuration = configuration_of(data, "an analysis, as assimilate() gives it")
    _require(data, "u_increment", "assimilate(..., save=('increment',))")
    return _vectors(data, configuration, "_increment", 1.0, "m s$^{-1}$", "increment of the motion", options)


def forcing(
    data: xr.Dataset,
    *,
    window: int = -1,
    interval: int | None = None,
    ax: Axes | None = None,
    col: Hashable | None = None,
    row: Hashable | None = None,
    **options: Any,
) -> Any:
    """Draw the model error that the weak constraint found, in time: arrows over its length.

    Parameters
    ----------
    data : Dataset
        An analysis with ``constraint="weak"``. The forcing of a motion is drawn as what it adds in the time between two
        frames; of another model the forcing of the assimilated variable is drawn.
    window, interval : int
        Which; without `interval`, `ax`, `col` and `row` there is a panel for each interval of the window.
    ax, col, row, **options
        As for `xvar.plot.motion`.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid

    Raises
    ------
    InputError
        Where the analysis has no model error.
    """
    configuration = configuration_of(data, "an analysis, as assimilate() gives it")
    if interval is None and ax is None and col is None and row is None:
        col = "interval"
    place = -1 if interval is None else interval
    options |= {"window": window, "interval": place, "ax": ax, "col": col, "row": row}
    if "u_forcing" in data and "v_forcing" in data:
        seconds = configuration.frame
        length, unit = unit_of_time(2 * seconds)
        label = f"m s$^{{-1}}$ in {seconds / length:g} {unit}"
        return _vectors(data, configuration, "_forcing", seconds, label, "model error forcing", options)
    _require(data, f"{configuration.variable}_forcing", 'assimilate(..., constraint="weak")')
    return field(data, f"{configuration.variable}_forcing", **options)


def _vectors(
    data: xr.Dataset,
    configuration: Configuration,
    suffix: str,
    factor: float,
    units: str,
    title: str,
    options: dict[str, Any],
) -> Any:
    """Arrows over their length."""
    arrays = [data[f"{component}{suffix}"] for component in "uv"]
    canvas = _canvas_of(arrays[0], data, configuration)
    at = {dim: options.pop(dim, -1) for dim in ("window", "interval")}
    panels: Panels = make_panels(arrays[0], canvas, at, **options)
    pairs = list(zip(*(every(array, panels, canvas) for array in arrays), strict=True))
    pairs = [(u.astype(np.float64) * factor, v.astype(np.float64) * factor) for u, v in pairs]
    scale = speed_scale(np.concatenate([np.hypot(*pair).ravel() for pair in pairs]), f"{title} ({units})")
    typical = typical_speed(pairs)
    panels.prepare(canvas)
    for (axes, index), pair in zip(panels.shown, pairs, strict=True):
        mesh = canvas.image(axes, np.hypot(*pair), **scale.style)
        canvas.ground(axes, np.isfinite(pair[0]))
        arrows = draw_arrows(axes, canvas, pair[0], pair[1], typical)
        when = _when(data, index)
        if not panels.single:
            axes.set_title(when, fontsize=9)
    panels.bar(mesh, scale)
    draw_key(panels.shown[-1][0], arrows, typical, units, figure=not panels.single)
    panels.title(f"{title}\n{when}".strip() if panels.single else title)
    return panels.result
