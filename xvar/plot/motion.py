"""Motion over the image that it moves."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Fault, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.canvas import configuration_of, last_step, make_canvas, moment
from xvar.plot.colours import draw_wheel, field_scale, motion_colours
from xvar.plot.facets import SIZE, Panels, make_panels
from xvar.plot.vectors import draw_arrows, draw_key, draw_streamlines, typical_speed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = Literal["arrows", "streamlines", "colours"]
STYLES: tuple[Style, ...] = ("arrows", "streamlines", "colours")


def motion(
    data: xr.Dataset,
    *,
    window: int = -1,
    step: int = -1,
    style: Style = "arrows",
    image: bool = True,
    fastest: float | None = None,
    ax: Axes | None = None,
    col: Hashable | None = None,
    row: Hashable | None = None,
    col_wrap: int | None = None,
    size: float = SIZE,
) -> Any:
    """Draw the motion of a window, or of each.

    Parameters
    ----------
    data : Dataset
        An analysis.
    window, step : int
        Which; by default the end of the last window.
    style : {"arrows", "streamlines", "colours"}
        Arrows or streamlines over the image, or the colour wheel of Baker et al. (2011), doi:10.1007/s11263-010-0390-2:
        hue for direction, saturation for speed.
    image : bool
        Whether the image is drawn under arrows and streamlines.
    fastest : float, optional
        Speed in m/s at the rim of the colour wheel, so that pictures can be compared; what is faster is darker.
        Default: the 99th percentile of what is shown.
    ax : matplotlib Axes, optional
        Where to draw, plain or of cartopy. Default: new ones, of cartopy where the data have a grid mapping, or
        latitude and longitude, and it is installed.
    col, row : hashable, optional
        Dimensions, "window" and "step", with a panel for each of their values.
    col_wrap : int, optional
        Columns, where `col` alone is given.
    size : float
        Height of each such panel, in inches.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid
        In the projection of the data; without cartopy in kilometres, or in degrees where the grid is one of latitude
        and longitude. Grey is what is never known, with the coast of the data around it, and light grey what was not
        observed.

    Raises
    ------
    InputError
        Where `data` is no analysis, or there is no such style, window, step or dimension.
    """
    configuration = configuration_of(data, "an analysis, as assimilate() gives it")
    if style not in STYLES:
        words = ", ".join(map(repr, STYLES))
        raise InputError(Fault(f"style={style!r}", f"one of {words}", "style='arrows'"))
    if not {"u", "v"} <= set(data.data_vars):
        raise InputError(Fault("a Dataset without u and v", "an analysis", "ds.var4d.assimilate().var4d.plot"))
    first = {dim: 0 for dim in ("window", "step") if dim in data["u"].dims}
    canvas = make_canvas(data["u"].isel(first), data, configuration)
    panels = make_panels(
        data["u"], canvas, {"window": window, "step": step}, ax=ax, col=col, row=row, col_wrap=col_wrap, size=size
    )
    ends = [last_step(data, index.get("window", 0)) if "step" in index else 0 for _, index in panels.shown]
    if "step" not in (col, row):
        for (_, index), end in zip(panels.shown, ends, strict=True):
            index.update({"step": min(index["step"], end)} if "step" in index else {})
    parts = [data.isel({dim: place for dim, place in index.items() if dim in data.dims}) for _, index in panels.shown]
    pairs = [_components(part, canvas.dims) for part in parts]
    panels.prepare(canvas)
    images = [
        image_under(part, configuration, last=index.get("step", end) == end)
        for part, (_, index), end in zip(parts, panels.shown, ends, strict=True)
    ]
    if style == "colours":
        known = [np.hypot(*pair) for pair in pairs]
        together = np.concatenate([speed[np.isfinite(speed)] for speed in known])
        rim = fastest or _rim(together)
        for (axes, _), pair in zip(panels.shown, pairs, strict=True):
            canvas.image(axes, motion_colours(*pair, rim))
            canvas.ground(axes, np.isfinite(pair[0]))
        draw_wheel(panels.shown[-1][0], rim)
    elif image:
        everything = xr.DataArray(
            np.concatenate([field.values.ravel() for field in images]), attrs=images[0].attrs, name=images[0].name
        )
        scale = field_scale(everything, configuration)
        for (axes, _), field, pair in zip(panels.shown, images, pairs, strict=True):
            values = field.transpose(*canvas.dims).values
            mesh = canvas.image(axes, values * scale.factor, **scale.style)
            canvas.ground(axes, np.isfinite(pair[0]), np.isfinite(values))
        panels.bar(mesh, scale)
    if style != "colours" and not image:
        for (axes, _), pair in zip(panels.shown, pairs, strict=True):
            canvas.ground(axes, np.isfinite(pair[0]), np.zeros(pair[0].shape, dtype=bool))
    if style == "arrows":
        typical = typical_speed(pairs)
        for (axes, _), pair in zip(panels.shown, pairs, strict=True):
            arrows = draw_arrows(axes, canvas, *pair, typical)
        draw_key(panels.shown[-1][0], arrows, typical, "m/s", figure=not panels.single)
    elif style == "streamlines":
        for (axes, _), pair in zip(panels.shown, pairs, strict=True):
            draw_streamlines(axes, canvas, *pair)
    _titles(panels, parts, str(data["u"].attrs.get("long_name", "motion")).split(",")[0])
    return panels.result


def _components(part: xr.Dataset, dims: tuple[Hashable, Hashable]) -> tuple[NDArray[Any], NDArray[Any]]:
    u, v = (part[name].transpose(*dims).values.astype(np.float64) for name in ("u", "v"))
    return u, v


def image_under(part: xr.Dataset, configuration: Configuration, *, last: bool) -> xr.DataArray:
    """The image (y, x) that the motion of a step moves: at the end of a window the one that was observed."""
    name = configuration.variable
    return part[f"{name}_observed"] if last and f"{name}_observed" in part else part[name]


def _titles(panels: Panels, parts: list[xr.Dataset], what: str) -> None:
    for (axes, _), part in zip(panels.shown, parts, strict=True):
        when = moment(part["time"].values) if "time" in part.coords else ""
        if panels.single:
            panels.title(f"{what}\n{when}" if when else what)
            return
        axes.set_title(when, fontsize=9)
    panels.title(what)


def _rim(speeds: NDArray[Any]) -> float:
    """The highest speed, or where a few are far above all others what these do not exceed."""
    if not speeds.size:
        return 1.0
    highest, usual = float(speeds.max()), float(np.percentile(speeds, 99))
    return (highest if highest <= 1.5 * usual else usual) or 1.0
