"""Arrows and streamlines of a vector field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.plot.canvas import Canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ARROWS = 18  # along the longer side
NICE = np.array([1.0, 2.0, 5.0])


@dataclass(frozen=True)
class Cells:
    """The cells of a coarser grid, each of which has an arrow.

    Attributes
    ----------
    rows, columns : ndarray of int (cell, member)
        Indices of the points of the cells.
    apart : float
        Distance between arrows, in units of x.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    apart: float

    def mean(self, values: NDArray[Any]) -> NDArray[Any]:
        """Mean over each cell, NaN where less than half of it is known."""
        blocks = values[self.rows.ravel()][:, self.columns.ravel()]
        blocks = blocks.reshape(*self.rows.shape, *self.columns.shape)
        known = np.isfinite(blocks).sum(axis=(1, 3))
        mean = np.nansum(blocks, axis=(1, 3)) / np.maximum(known, 1)
        return np.where(2 * known >= self.rows.shape[1] * self.columns.shape[1], mean, np.nan)


def make_cells(canvas: Canvas, count: int = ARROWS) -> Cells:
    """Cells of equal sides on the paper, where a degree of longitude is narrower than one of latitude."""
    width, height = np.ptp(canvas.x), np.ptp(canvas.y) * canvas.aspect
    apart = float(max(width, height)) / count
    every = [
        max(1, round(apart / scale / float(np.abs(np.diff(values)).mean())))
        for values, scale in ((canvas.y, canvas.aspect), (canvas.x, 1.0))
    ]
    return Cells(_members(canvas.y.size, every[0]), _members(canvas.x.size, every[1]), apart)


def _members(size: int, every: int) -> NDArray[np.intp]:
    """Indices (cell, member) of cells along one side, what is over is left out at both ends."""
    count = max(1, size // every)
    every = min(every, size)
    begin = (size - count * every) // 2
    return begin + np.arange(count * every).reshape(count, every)


def typical_speed(fields: list[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """The 95th percentile of the speeds of all fields; 0 where nothing moves, or nothing is known."""
    speed = np.concatenate([np.hypot(u, v).ravel() for u, v in fields])
    speed = speed[np.isfinite(speed)]
    return float(np.percentile(speed, 95)) if speed.size else 0.0


def draw_arrows(
    ax: Axes,
    canvas: Canvas,
    u: NDArray[Any],
    v: NDArray[Any],
    typical: float,
    *,
    count: int = ARROWS,
    colour: str = "0.1",
) -> Any:
    """Arrows on a coarser grid, each the mean of its cell; a typical one is as long as they are apart."""
    from matplotlib.patheffects import withStroke

    if not typical > 0:
        return None
    cells = make_cells(canvas, count)
    x, y, where = canvas.places(ax)
    arrows = ax.quiver(
        x[cells.columns].mean(axis=1),
        y[cells.rows].mean(axis=1),
        *(cells.mean(part) for part in _on_map(canvas, u, v, turned=bool(where))),
        angles="uv",
        scale_units="width",
        scale=typical * float(np.ptp(canvas.x)) / cells.apart / 0.95,
        width=0.0028,
        color=colour,
        **where,
    )
    arrows.set_path_effects([withStroke(linewidth=1.4, foreground="white")])
    return arrows


def draw_key(ax: Axes, arrows: Any, typical: float, units: str, *, figure: bool = False) -> None:
    """The length of a round number, above the axes or at the upper right of the figure."""
    if arrows is None:
        return
    reference = _round(typical)
    # Not at the very edge: a notebook cuts what lies beyond axes and labels, of which a key is none.
    below = 0.12 / ax.figure.get_figure(root=True).get_size_inches()[1]
    place: tuple[float, float, Any] = (0.93, 1 - below, "figure") if figure else (0.98, 1.03, "axes")
    ax.quiverkey(
        arrows,
        place[0],
        place[1],
        reference,
        f"{reference:g} {units}",
        labelpos="W",
        coordinates=place[2],
        fontproperties={"size": 9},
    )


def _on_map(canvas: Canvas, u: NDArray[Any], v: NDArray[Any], *, turned: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Components along x and y of the map, of the same length: a map of degrees is turned by its degrees, no metres."""
    if not turned or canvas.aspect == 1:
        return u, v
    along = u / np.cos(np.deg2rad(canvas.y))[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        keep = np.where(np.hypot(along, v) > 0, np.hypot(u, v) / np.hypot(along, v), 1.0)
    return along * keep, v * keep


def _round(speed: float) -> float:
    """1, 2 or 5 times a power of ten, near a speed."""
    power = 10.0 ** np.floor(np.log10(speed))
    return float(power * NICE[NICE * power <= speed * (1 + 1e-9)][-1])


def draw_streamlines(ax: Axes, canvas: Canvas, u: NDArray[Any], v: NDArray[Any]) -> None:
    """Streamlines, the thicker the faster."""
    from matplotlib.axes import Axes as PlainAxes

    x, y, where = canvas.places(ax)
    up, right = (slice(None, None, 1 if values[1] > values[0] else -1) for values in (y, x))
    # streamplot wants equal steps in the order of the axes; degrees of longitude are narrower than those of latitude.
    y, x = (np.linspace(values.min(), values.max(), values.size) for values in (y, x))
    speed = np.hypot(u, v)
    fastest = np.nanmax(speed) if np.isfinite(speed).any() else 0.0
    if not fastest > 0:
        return
    along, across = _on_map(canvas, u, v, turned=True) if where else (u * canvas.aspect, v)
    # A map of another projection is sampled anew, and its lines all have one width.
    width: Any = 0.8 if where else (0.2 + 0.9 * np.nan_to_num(speed) / fastest)[up, right]
    # Cartopy's own streamplot samples anew where nothing is to be turned too, for a hundred times the work.
    draw = ax.streamplot if where else partial(PlainAxes.streamplot, ax)
    draw(x, y, along[up, right], across[up, right], density=1.3, color="0.1", linewidth=width, arrowsize=0.8, **where)
