"""Arrows and streamlines of a vector field."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.plot.canvas import Canvas
from xvar.plot.colours import known

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pair = tuple[NDArray[Any], NDArray[Any]]
ARROWS = 18  # along the longer side


def components(u: xr.DataArray, v: xr.DataArray, canvas: Canvas, factor: float = 1.0) -> Pair:
    """Return u and v (y, x) in double precision, in the order of the canvas."""
    first, second = (part.transpose(*canvas.dims).values.astype(np.float64) * factor for part in (u, v))
    return first, second


def coarsen(
    y: NDArray[Any], x: NDArray[Any], u: NDArray[Any], v: NDArray[Any], canvas: Canvas, count: int = ARROWS
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], float]:
    """Average a vector field over cells with equal sides on the picture.

    Return the means of y, x, u and v, of the latter NaN if less than half of a cell is known, and the distance between
    cells in units of the canvas's x. Points beyond whole cells are left out at both ends.
    """
    distance = float(max(np.ptp(canvas.x), np.ptp(canvas.y) * canvas.aspect)) / count
    sides, kept = {}, {}
    for name, places, aspect in (("y", canvas.y, canvas.aspect), ("x", canvas.x, 1.0)):
        step = float(np.abs(np.diff(places)).mean())
        side = sides[name] = min(max(1, round(distance / aspect / step)), places.size)
        kept[name] = slice(places.size % side // 2, places.size % side // 2 + places.size // side * side)
    field = xr.Dataset({"u": (("y", "x"), u), "v": (("y", "x"), v)}, {"y": y, "x": x})
    cells = field.isel(kept).coarsen(sides)
    mean = cells.mean().where(2 * cells.count() >= sides["y"] * sides["x"])
    return mean["y"].values, mean["x"].values, mean["u"].values, mean["v"].values, distance


def typical_speed(fields: Iterable[Pair]) -> float:
    """Return the 95th percentile of all speeds; 0 if nothing moves or nothing is known."""
    speed = known(np.hypot(u, v) for u, v in fields)
    return float(np.percentile(speed, 95)) if speed.size else 0.0


def draw_arrows(ax: Axes, canvas: Canvas, u: NDArray[Any], v: NDArray[Any], typical: float, count: int = ARROWS) -> Any:
    """Draw the mean of each cell of a coarser grid; an arrow of the typical speed is as long as a cell is wide."""
    from matplotlib.patheffects import withStroke

    if not typical > 0:
        return None
    x, y, transform = canvas.places(ax)
    y, x, u, v, distance = coarsen(y, x, *_on_map(canvas, u, v, turned=bool(transform)), canvas, count)
    scale = typical * float(np.ptp(canvas.x)) / distance / 0.95
    style: dict[str, Any] = {"angles": "uv", "scale_units": "width", "width": 0.0028, "color": "0.1"}
    arrows = ax.quiver(x, y, u, v, scale=scale, **style, **transform)
    arrows.set_path_effects([withStroke(linewidth=1.4, foreground="white")])
    return arrows


def draw_key(ax: Axes, arrows: Any, typical: float, units: str, *, figure: bool = False) -> None:
    """Draw an arrow of a round speed as a legend, above the axes or at the upper right of the figure."""
    if arrows is None:
        return
    power = 10.0 ** np.floor(np.log10(typical))
    speed = power * max(digit for digit in (1, 2, 5) if digit * power <= typical * (1 + 1e-9))
    # Inside the edge: a notebook crops the figure to axes and labels, which a key is not part of.
    below = 0.12 / ax.figure.get_figure(root=True).get_size_inches()[1]
    x, y, coordinates = (0.93, 1 - below, "figure") if figure else (0.98, 1.03, "axes")
    style: dict[str, Any] = {"labelpos": "W", "coordinates": coordinates, "fontproperties": {"size": 9}}
    ax.quiverkey(arrows, x, y, speed, f"{speed:g} {units}", **style)


def _on_map(canvas: Canvas, u: NDArray[Any], v: NDArray[Any], *, turned: bool) -> Pair:
    """Return components along x and y of the map, of the same length; cartopy turns those of degrees, not of metres."""
    if not turned or canvas.aspect == 1:
        return u, v
    along = u / np.cos(np.deg2rad(canvas.y))[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        keep = np.where(np.hypot(along, v) > 0, np.hypot(u, v) / np.hypot(along, v), 1.0)
    return along * keep, v * keep


def draw_streamlines(ax: Axes, canvas: Canvas, u: NDArray[Any], v: NDArray[Any]) -> None:
    """Draw streamlines, wider where the motion is faster."""
    from matplotlib.axes import Axes as PlainAxes

    speed = np.hypot(u, v)
    fastest = known([speed]).max(initial=0.0)
    if not fastest > 0:
        return
    x, y, transform = canvas.places(ax)
    up, right = (slice(None, None, 1 if values[1] > values[0] else -1) for values in (y, x))
    # streamplot needs equal steps, ascending; degrees of longitude are narrower than those of latitude.
    y, x = (np.linspace(values.min(), values.max(), values.size) for values in (y, x))
    along, across = _on_map(canvas, u, v, turned=True) if transform else (u * canvas.aspect, v)
    # Cartopy resamples to another projection, lines of one width; to its own it would too, at 100 times the cost.
    width: Any = 0.8 if transform else (0.2 + 0.9 * np.nan_to_num(speed) / fastest)[up, right]
    draw = ax.streamplot if transform else partial(PlainAxes.streamplot, ax)
    style: dict[str, Any] = {"density": 1.3, "color": "0.1", "arrowsize": 0.8, "linewidth": width}
    draw(x, y, along[up, right], across[up, right], **style, **transform)
