"""Motion over the image that it moves."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.errors import Faults
from xvar.plot.canvas import make_canvas
from xvar.plot.colours import draw_wheel, field_scale, known, motion_colours
from xvar.plot.facets import SIZE, make_panels
from xvar.plot.times import last_step, moment
from xvar.plot.vectors import Pair, components, draw_arrows, draw_key, draw_streamlines, typical_speed

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
    """Draw the motion of one window, or of each.

    Parameters
    ----------
    data : Dataset
        An analysis.
    window, step : int
        Index of the window and the step; by default the end of the last window.
    style : {"arrows", "streamlines", "colours"}
        Arrows or streamlines over the image, or the colour wheel of Baker et al. (2011), doi:10.1007/s11263-010-0390-2:
        hue for direction, saturation for speed.
    image : bool
        Whether the image is drawn under arrows and streamlines.
    fastest : float, optional
        Speed in m/s at the rim of the colour wheel, the same for pictures that are compared; higher speeds are darker.
        Default: the highest speed, without outliers.
    ax : matplotlib Axes, optional
        Axes to draw in, plain or of cartopy. Default: new ones, of cartopy if it is installed and the data have a grid
        mapping, or latitude and longitude.
    col, row : hashable, optional
        Dimensions, "window" and "step", with a panel for each of their indices.
    col_wrap : int, optional
        Number of columns, if `col` alone is given.
    size : float
        Height of each such panel, in inches.

    Returns
    -------
    matplotlib Axes or xarray FacetGrid
        In the projection of the data; without cartopy in kilometres, or in degrees on a grid of latitude and longitude.
        Points that are never known are grey, with the coast of the data around them, and those not observed light grey.

    Raises
    ------
    InputError
        If `data` is no analysis, or there is no such style, window, step or dimension.
    """
    configuration = configuration_of(data, "u", "v")
    faults = Faults()
    faults.check_choice("style", style, STYLES, "arrows")
    faults.raise_if_any()
    canvas = make_canvas(data["u"], data, configuration)
    at = {"window": window, "step": step}
    panels = make_panels(data["u"], canvas, at, ax=ax, col=col, row=row, col_wrap=col_wrap, size=size)
    pairs: list[Pair] = []
    images: list[NDArray[Any]] = []
    times = []
    observed, name = f"{configuration.variable}_observed", configuration.variable
    for _, index in panels.shown:
        end = last_step(data, index.get("window", 0)) if "step" in index else 0
        if "step" in index and "step" not in (col, row):
            index["step"] = min(index["step"], end)
        part = data.isel(index, missing_dims="ignore")
        pairs.append(components(part["u"], part["v"], canvas))
        # At the end of a window the image as it was observed.
        under = observed if index.get("step", end) == end and observed in part else name
        images.append(part[under].transpose(*canvas.dims).values)
        times.append(moment(part["time"].values) if "time" in part.coords else "")
    panels.prepare(canvas)
    scale, typical = field_scale(images, data[name], configuration), typical_speed(pairs)
    rim = fastest or _rim(known(np.hypot(*pair) for pair in pairs))
    for axes, pair, values in zip(panels, pairs, images, strict=True):
        moving = np.isfinite(pair[0])
        if style == "colours":
            canvas.image(axes, motion_colours(*pair, rim))
            canvas.ground(axes, moving)
        elif image:
            mesh = canvas.image(axes, values * scale.factor, **scale.style)
            canvas.ground(axes, moving, np.isfinite(values))
        else:
            canvas.ground(axes, moving, np.zeros_like(moving))
        if style == "arrows":
            arrows = draw_arrows(axes, canvas, *pair, typical)
        elif style == "streamlines":
            draw_streamlines(axes, canvas, *pair)
    last = panels.shown[-1][0]
    if style == "colours":
        draw_wheel(last, rim)
    elif image:
        panels.bar(mesh, scale)
    if style == "arrows":
        draw_key(last, arrows, typical, "m/s", figure=not panels.single)
    panels.titles(str(data["u"].attrs.get("long_name", "motion")).split(",")[0], times)
    return panels.result


def _rim(speeds: NDArray[Any]) -> float:
    """Return the highest speed, or the 99th percentile if a few are far above all others."""
    if not speeds.size:
        return 1.0
    highest, usual = float(speeds.max()), float(np.percentile(speeds, 99))
    return (highest if highest <= 1.5 * usual else usual) or 1.0
