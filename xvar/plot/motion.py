"""Motion over the image that it moves."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import SHOWN, Part, configuration_of, motion_of
from xvar.errors import Faults
from xvar.plot.canvas import last_step
from xvar.plot.colours import draw_wheel, field_scale, known, motion_colours
from xvar.plot.facets import SIZE, Panels, make_panels
from xvar.plot.vectors import draw_streamlines

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
    part: Part = SHOWN,
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
    part : {"steady", "total"}
        The steady motion of the window, if the analysis has one, or the total at the step, which of rain follows the
        noise of the newest pair of images.
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
        If `data` is no analysis, or there is no such style, part, window, step or dimension.
    """
    configuration = configuration_of(data, "u", "v")
    faults = Faults()
    faults.check_choice("style", style, STYLES, "arrows")
    faults.raise_if_any()
    at = {"window": window, "step": step}
    panels = make_panels(data["u"], data, configuration, at, ax=ax, col=col, row=row, col_wrap=col_wrap, size=size)
    images = _images(data, configuration.variable, panels, at_end="step" not in (col, row))
    u, v = motion_of(data, part)
    pairs = panels.pairs(u, v)
    moving = [np.isfinite(along) for along, _ in pairs]
    if style == "colours":
        rim = fastest or _rim(known(np.hypot(*pair) for pair in pairs))
        for axes, pair, mask in zip(panels, pairs, moving, strict=True):
            panels.canvas.image(axes, motion_colours(*pair, rim))
            panels.canvas.ground(axes, mask)
        draw_wheel(axes, rim)
    elif image:
        panels.images(images, field_scale(images, data[configuration.variable], configuration), moving)
    else:
        for axes, mask in zip(panels, moving, strict=True):
            panels.canvas.ground(axes, mask, np.zeros_like(mask))
    if style == "arrows":
        panels.arrows(pairs, "m/s")
    elif style == "streamlines":
        for axes, pair in zip(panels, pairs, strict=True):
            draw_streamlines(axes, panels.canvas, *pair)
    panels.titles(str(u.attrs.get("long_name", "motion")).split(",")[0], panels.moments(data, "time"))
    return panels.result


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
