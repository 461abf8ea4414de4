"""Motion over the image that it moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import InputError, Problem
from xvar.plot.canvas import Canvas, configuration_of, make_canvas, moment, own_axes
from xvar.plot.colours import draw_wheel, field_scale, motion_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = Literal["arrows", "streamlines", "colours"]
STYLES: tuple[Style, ...] = ("arrows", "streamlines", "colours")

ARROWS = 18  # along the longer side
NICE = np.array([1.0, 2.0, 5.0])


def motion(
    data: xr.Dataset,
    *,
    window: int = -1,
    step: int = -1,
    style: Style = "arrows",
    image: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the motion of one window.

    Parameters
    ----------
    data : Dataset
        An analysis.
    window, step : int
        Which; by default the end of the last window.
    style : {"arrows", "streamlines", "colours"}
        Arrows or streamlines over the image, or the colour wheel of Baker et al. (2011): hue for direction, saturation
        for speed.
    image : bool
        Whether the image is drawn under arrows and streamlines.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        In kilometres, or in degrees where the grid is one of latitude and longitude.

    Raises
    ------
    InputError
        Where `data` is no analysis, or there is no such style.
    """
    configuration = configuration_of(data, "an analysis, as assimilate() gives it")
    if style not in STYLES:
        words = ", ".join(map(repr, STYLES))
        raise InputError(Problem(f"style={style!r}", f"one of {words}", "style='arrows'"))
    if not {"u", "v"} <= set(data.data_vars):
        raise InputError(Problem("a Dataset without u and v", "an analysis", "ds.var4d.assimilate().var4d.plot"))
    one = data.isel({dim: index for dim, index in (("window", window), ("step", step)) if dim in data["u"].dims})
    canvas = make_canvas(one["u"], data, configuration)
    u, v = (one[name].transpose(*canvas.dims).values.astype(np.float64) for name in ("u", "v"))
    ax = own_axes(ax)
    canvas.prepare(ax)
    steps = data.sizes.get("step", 1)
    name = configuration.variable
    last = step in (-1, steps - 1) and f"{name}_observed" in data
    field = one[f"{name}_observed"] if last else one[name]
    if style == "colours":
        speed = np.hypot(u, v)
        fastest = float(np.nanmax(speed, initial=0.0, where=np.isfinite(speed))) or 1.0
        canvas.image(ax, motion_colours(u, v, fastest))
        draw_wheel(ax, fastest)
    else:
        if image:
            scale = field_scale(field, configuration)
            mesh = canvas.image(ax, field.transpose(*canvas.dims).values * scale.factor, **scale.style)
            ax.figure.colorbar(mesh, ax=ax, label=scale.label, shrink=0.85, **scale.bar)
        if style == "arrows":
            _arrows(ax, canvas, u, v)
        else:
            _streamlines(ax, canvas, u, v)
    what = str(data["u"].attrs.get("long_name", "motion")).split(",")[0]
    ax.set_title(f"{what}, {moment(one['time'].values)}" if "time" in one.coords else what, loc="left", fontsize=11)
    return ax


def _arrows(ax: Axes, canvas: Canvas, u: NDArray[Any], v: NDArray[Any]) -> None:
    """Arrows on a coarser grid, each the mean of its cell, and the length of a round speed."""
    from matplotlib.patheffects import withStroke

    # Equal distances on the paper, where a degree of longitude is narrower than one of latitude.
    width, height = np.ptp(canvas.x), np.ptp(canvas.y) * canvas.aspect
    apart = max(width, height) / ARROWS
    every = [
        max(1, round(apart / scale / float(np.abs(np.diff(values)).mean())))
        for values, scale in ((canvas.y, canvas.aspect), (canvas.x, 1.0))
    ]
    rows, columns = (_cells(size, part) for size, part in zip(u.shape, every, strict=True))
    y, x = canvas.y[rows].mean(axis=1), canvas.x[columns].mean(axis=1)
    mean = [_block_mean(component, rows, columns) for component in (u, v)]
    speed = np.hypot(*mean)
    if not np.isfinite(speed).any() or not np.nanmax(speed) > 0:
        return
    typical = float(np.nanpercentile(speed, 95))
    # A typical arrow is as long as they are apart.
    arrows = ax.quiver(
        x, y, *mean, angles="uv", scale_units="width", scale=typical * width / apart / 0.95, width=0.0028, color="0.1"
    )
    arrows.set_path_effects([withStroke(linewidth=1.4, foreground="white")])
    reference = _round_speed(typical)
    ax.quiverkey(
        arrows,
        0.98,
        1.03,
        reference,
        f"{reference:g} m/s",
        labelpos="W",
        coordinates="axes",
        fontproperties={"size": 9},
    )


def _cells(size: int, every: int) -> NDArray[np.intp]:
    """Indices (cell, member) of cells along one side, what is over is left out at both ends."""
    count = max(1, size // every)
    every = min(every, size)
    begin = (size - count * every) // 2
    return begin + np.arange(count * every).reshape(count, every)


def _block_mean(values: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[Any]:
    blocks = values[rows.ravel()][:, columns.ravel()]
    blocks = blocks.reshape(*rows.shape, *columns.shape)
    known = np.isfinite(blocks).sum(axis=(1, 3))
    mean = np.nansum(blocks, axis=(1, 3)) / np.maximum(known, 1)
    return np.where(2 * known >= rows.shape[1] * columns.shape[1], mean, np.nan)


def _round_speed(speed: float) -> float:
    """1, 2 or 5 times a power of ten, near a speed."""
    power = 10.0 ** np.floor(np.log10(speed))
    return float(power * NICE[NICE * power <= speed][-1])


def _streamlines(ax: Axes, canvas: Canvas, u: NDArray[Any], v: NDArray[Any]) -> None:
    up, right = (slice(None, None, 1 if values[1] > values[0] else -1) for values in (canvas.y, canvas.x))
    # streamplot wants equal steps in the order of the axes; degrees of longitude are narrower than those of latitude.
    y, x = (np.linspace(values.min(), values.max(), values.size) for values in (canvas.y, canvas.x))
    speed = np.hypot(u, v)
    fastest = np.nanmax(speed) if np.isfinite(speed).any() else 0.0
    if not fastest > 0:
        return
    ax.streamplot(
        x,
        y,
        (u * canvas.aspect)[up, right],
        v[up, right],
        density=1.3,
        color="0.1",
        linewidth=(0.2 + 0.9 * np.nan_to_num(speed) / fastest)[up, right],
        arrowsize=0.8,
    )
