"""The plane of a picture, a map if the data are georeferenced, else kilometres or degrees; its vectors and times."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes as AxisNames
from xvar.cf.axes import find_axes
from xvar.cf.grid import horizontal_grid
from xvar.cf.units import length_factor
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.colours import known
from xvar.plot.georeference import Georeference, cartopy_projection, find_georeference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAND = "0.82"  # never known
HIDDEN = "0.94"  # not observed, though inside the domain: clouds, or beyond the range of the radar

Pair = tuple[NDArray[Any], NDArray[Any]]
ARROWS = 18  # along the longer side
NARROW = 4.0  # inches of a panel that has room for few longitudes
GRID_NORTH = ("northing (km)", "easting (km)")


@dataclass(frozen=True)
class Canvas:
    """Positions of the grid points on a picture, in km or degrees; (x, y) on a map are (scale x - origin, scale y)."""

    y: NDArray[np.float64]  # (y,), in the order of the data
    x: NDArray[np.float64]  # (x,)
    dims: tuple[Hashable, Hashable]  # of y and x
    labels: tuple[str, str]  # of the axes y and x
    aspect: float = 1.0  # height on the picture of a unit of y over the width of a unit of x
    projection: Any = None  # of cartopy, in which rows and columns are straight; None without georeference or cartopy
    scale: float = 1.0
    origin: float = 0.0
    reference: Georeference | None = None
    coastlines: str | None = None  # resolution of Natural Earth

    @property
    def geographic(self) -> bool:
        """True for rows of latitude and columns of longitude, whose unit is that of the axes."""
        return self.scale == 1.0

    @property
    def north(self) -> float | None:
        """Direction of north, or of a northing, in degrees clockwise from the top; None if it is not known."""
        if self.reference is None:
            return 0.0 if self.labels == GRID_NORTH else None
        return self.reference.north(self.aspect)

    @cached_property
    def outlines(self) -> list[NDArray[np.float64]]:
        """Coastlines and borders, each (point, 2) of x and y; empty unless asked for."""
        if self.coastlines is None:
            return []
        if self.reference is None:
            found, fix = "coastlines= for data without georeference", "leave coastlines= out"
            expected = "data with a grid mapping, or with latitude and longitude as coordinates"
            raise InputError(Fault(found, expected, fix, code="no-georeference"))
        return self.reference.outlines(self.coastlines)

    @property
    def shape_ratio(self) -> float:
        """Width of the picture over its height."""
        return float(np.ptp(self.x) / (np.ptp(self.y) * self.aspect))

    @property
    def subplot(self) -> dict[str, Any]:
        """Options of new axes for this plane."""
        return {} if self.projection is None else {"projection": self.projection}

    def panel_size(self, side: float) -> tuple[float, float]:
        """Width and height of a panel with the given longer side."""
        return side * min(1.0, self.shape_ratio), side / max(1.0, self.shape_ratio)

    def moving(self, data: xr.Dataset) -> NDArray[np.bool_]:
        """Points (y, x) where motion is known, the same in every window and step."""
        first = data["u"].isel({"window": 0, "step": 0}, missing_dims="ignore").transpose(*self.dims)
        return np.asarray(np.isfinite(first.values))

    def places(self, ax: Axes) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]:
        """Return x and y in the units of the axes, and the `transform` if the axes have another projection."""
        theirs = getattr(ax, "projection", None)
        if theirs is None:
            return self.x, self.y, {}
        if self.projection is None:
            found, fix = "cartopy axes for data without georeference", "pass plain matplotlib axes, or leave ax= out"
            expected = "data with a grid mapping, or with latitude and longitude as coordinates"
            raise InputError(Fault(found, expected, fix, code="no-georeference"))
        transform = {} if theirs == self.projection else {"transform": self.projection}
        return self.x * self.scale - self.origin, self.y * self.scale, transform

    def prepare(self, ax: Axes, *, left: bool = True, bottom: bool = True) -> None:
        """Set limits, proportions, and labels on the outer sides."""
        x, y, transform = self.places(ax)
        low_x, high_x, low_y, high_y = (*edges(x), *edges(y))
        ax.set_facecolor(LAND)
        if transform:
            ax.set_extent((low_x, high_x, low_y, high_y), crs=self.projection)  # type: ignore[attr-defined]
        else:
            ax.set(xlim=(low_x, high_x), ylim=(low_y, high_y), aspect=self.aspect)
        self._draw_outlines(ax)
        if hasattr(ax, "projection"):
            _graticule(ax, left=left, bottom=bottom)
            return
        if self.reference is not None and not self.geographic:
            self.reference.draw_graticule(ax, self.north or 0.0, left=left, bottom=bottom)
            return
        if left:
            ax.set_ylabel(self.labels[0])
        if bottom:
            ax.set_xlabel(self.labels[1])

    def _draw_outlines(self, ax: Axes) -> None:
        from matplotlib.collections import LineCollection

        if not self.outlines:
            return
        _, _, transform = self.places(ax)
        lines = [line * self.scale - np.array([self.origin, 0.0]) for line in self.outlines]
        if not hasattr(ax, "projection"):
            lines = self.outlines
        style: dict[str, Any] = {"colors": "0.1", "linewidths": 0.6, "zorder": 2.5, "label": "coastlines"}
        if transform:
            style["transform"] = self.projection._as_mpl_transform(ax)
        ax.add_collection(LineCollection(lines, **style), autolim=False)

    def image(self, ax: Axes, values: NDArray[Any], **style: Any) -> Any:
        """Draw a field (y, x), or its colours (y, x, 3)."""
        x, y, transform = self.places(ax)
        return ax.pcolormesh(x, y, values, shading="nearest", rasterized=True, **transform, **style)

    def contour(self, ax: Axes, values: NDArray[Any], **style: Any) -> None:
        """Draw the border of a mask (y, x)."""
        if values.min() < values.max():
            x, y, transform = self.places(ax)
            ax.contour(x, y, values.astype(float), [0.5], **transform, **style)

    def ground(self, ax: Axes, moving: NDArray[np.bool_], seen: NDArray[np.bool_] | None = None) -> None:
        """Draw the coast of the data's own land, and the points that were not observed."""
        from matplotlib.colors import ListedColormap

        if seen is not None and (moving & ~seen).any():
            hidden = np.where(moving & ~seen, 1.0, np.nan)
            self.image(ax, hidden, cmap=ListedColormap([HIDDEN]), vmin=0, vmax=1)
        self.contour(ax, moving, colors="0.35", linewidths=0.5)


def explain(holder: Axes | Figure, *, land: bool = False, hidden: str = "", dotted: str = "") -> None:
    """Draw the legend of greys and of the dotted line, below the axes or the panels of a figure."""
    from matplotlib.figure import Figure as AnyFigure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    edge: dict[str, Any] = {"edgecolor": "0.35", "linewidth": 0.5}
    handles: list[Any] = [Patch(facecolor=LAND, label="never known: land or no data", **edge)] if land else []
    handles += [Patch(facecolor=HIDDEN, label=hidden, **edge)] if hidden else []
    handles += [Line2D([], [], color="0.3", linewidth=0.8, linestyle="dotted", label=dotted)] if dotted else []
    if not handles:
        return
    style: dict[str, Any] = {"handles": handles, "fontsize": 8, "frameon": False, "ncols": len(handles)}
    if isinstance(holder, AnyFigure):
        holder.legend(loc="outside lower right", **style)
    else:  # below the labels of the axes
        holder.legend(loc="upper right", bbox_to_anchor=(0, 0, 1, 0), borderaxespad=4.5, **style)


def edges(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the outer limits of the cells around equidistant points."""
    half = abs(values[1] - values[0]) / 2
    return float(values.min() - half), float(values.max() + half)


def _graticule(ax: Any, *, left: bool, bottom: bool) -> None:
    """Draw lines of latitude and longitude, labelled outside."""
    from cartopy.mpl.ticker import LongitudeLocator

    sides = {side: axis for side, axis, shown in (("left", "y", left), ("bottom", "x", bottom)) if shown}
    style = {"linewidth": 0.4, "color": "0.3", "alpha": 0.4, "linestyle": ":"}
    outside = {"x_inline": False, "y_inline": False, "rotate_labels": False}
    lines = ax.gridlines(draw_labels=sides or False, **style, **outside)
    width = ax.get_position().width * ax.figure.get_figwidth()  # inches
    if width < NARROW:
        lines.xlocator = LongitudeLocator(nbins=4)
    lines.xlabel_style = lines.ylabel_style = {"size": 8}


def make_canvas(
    array: xr.DataArray, data: xr.Dataset, configuration: Configuration, coastlines: str | None = None
) -> Canvas:
    """Return the plane of a variable (..., y, x) of an output, with coastlines of a resolution of Natural Earth.

    Rows and columns are straight, so that motion along x points to the right.
    """
    around = ("window", "step", "interval", "member", "lead_time")
    field = array.isel(dict.fromkeys(around, 0), missing_dims="ignore")
    faults = Faults()
    axes = faults.require(find_axes(field.expand_dims("time"), faults))
    names = AxisNames(time="window", y=axes.y, x=axes.x)
    grid = faults.require(horizontal_grid(field, names, faults, configuration.dx, configuration.dy, mapping=data))
    dims = (axes.y, axes.x)
    located = all(dim in field.coords for dim in dims)
    if grid.kind == "geographic" and located:
        latitude, longitude = (np.asarray(field[dim].values, dtype=np.float64) for dim in dims)
        stretch = float(1 / max(np.cos(np.deg2rad(latitude.mean())), 0.05))
        middle = float((longitude.min() + longitude.max()) / 2)
        labels = ("latitude (degrees north)", "longitude (degrees east)")
        reference = find_georeference(field, names, grid, data, latitude, longitude)
        plane = reference and cartopy_projection(reference, geographic=True)
        return Canvas(
            latitude, longitude, dims, labels, stretch, plane, origin=middle, reference=reference, coastlines=coastlines
        )
    y, x = (_kilometres(field, dim, step) for dim, step in zip(dims, grid.spacing, strict=True))
    reference = find_georeference(field, names, grid, data, y, x)
    plane = reference and cartopy_projection(reference, geographic=False)
    standard = tuple(str(field[dim].attrs.get("standard_name", "")) if dim in field.coords else "" for dim in dims)
    projected = standard == ("projection_y_coordinate", "projection_x_coordinate")
    labels = GRID_NORTH if projected else (f"{axes.y} (km)", f"{axes.x} (km)")
    return Canvas(y, x, dims, labels, projection=plane, scale=1e3, reference=reference, coastlines=coastlines)


def _kilometres(field: xr.DataArray, dim: Hashable, step: float) -> NDArray[np.float64]:
    factor = None if dim not in field.coords else length_factor(str(field[dim].attrs.get("units", "")))
    if factor is None:
        return np.arange(field.sizes[dim], dtype=np.float64) * (step / 1e3)
    return np.asarray(field[dim].values, dtype=np.float64) * factor / 1e3


def new_figure(**options: Any) -> Figure:
    """Return a new figure of pyplot, which notebooks and windows show."""
    from matplotlib import pyplot

    return pyplot.figure(**{"layout": "constrained", **options})


def own_axes(ax: Axes | None, canvas: Canvas | None = None) -> Axes:
    """Return the given axes, or new ones."""
    if ax is not None:
        return ax
    if canvas is None:
        return new_figure().add_subplot()
    height = float(np.clip(5.4 / canvas.shape_ratio, 2.2, 7.0))
    made: Axes = new_figure(figsize=(7.0, height + 1.1), layout="compressed").add_subplot(**canvas.subplot)
    return made


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


def round_speed(typical: float) -> float:
    """Return the highest speed of one digit, 1, 2 or 5, that is not above the typical one."""
    power = 10.0 ** np.floor(np.log10(typical))
    return float(power * max(digit for digit in (1, 2, 5) if digit * power <= typical * (1 + 1e-9)))


def draw_key(ax: Axes, arrows: Any, typical: float, units: str, *, figure: bool = False) -> None:
    """Draw an arrow of a round speed as a legend, above the axes or at the upper right of the figure."""
    from matplotlib import rcParams

    if arrows is None:
        return
    speed = round_speed(typical)
    # Inside the edge: a notebook crops the figure to axes and labels, which a key is not part of.
    below = 0.12 / ax.figure.get_figure(root=True).get_size_inches()[1]
    x, y, coordinates = (0.93, 1 - below, "figure") if figure else (0.98, 1.03, "axes")
    style: dict[str, Any] = {"labelpos": "W", "coordinates": coordinates, "fontproperties": {"size": 9}}
    style["color"] = rcParams["text.color"]  # on dark paper, too
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


def last_step(data: xr.Dataset, window: int = 0) -> int:
    """Return the step of the last frame of a window, which may have fewer frames than others."""
    if "step" not in data["time"].dims:
        return data.sizes["step"] - 1
    times = data["time"].isel({"window": window}, missing_dims="ignore")
    return int(np.flatnonzero(times.notnull().values)[-1])


def moment(value: Any) -> str:
    """Return a time in UTC to the minute, empty if it is missing."""
    return "" if pd.isnull(value) else f"{str(value).replace('T', ' ')[:16]} UTC"


def seconds_of(leads: Any) -> NDArray[np.float64]:
    """Return lead times in seconds."""
    return np.asarray(np.asarray(leads) / np.timedelta64(1, "s"), dtype=np.float64)


def unit_of_time(longest: float) -> tuple[float, str]:
    """Return the length in seconds and the name of the unit for times up to the longest, in seconds."""
    units = ((86400.0, "d"), (3600.0, "h"))
    return next(((length, name) for length, name in units if longest >= 2 * length), (60.0, "min"))


def lead_label(seconds: float, longest: float) -> str:
    """Return a lead time in the unit of the longest one, such as "+10 min"."""
    length, unit = unit_of_time(longest)
    return f"+{seconds / length:g} {unit}"
