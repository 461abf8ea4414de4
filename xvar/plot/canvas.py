"""The plane that pictures are drawn in: a map where the data say which, else kilometres or degrees."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes as AxisNames
from xvar.cf.axes import find_axes
from xvar.cf.geodesy import mapping_attributes, mapping_name, projection
from xvar.cf.grid import horizontal_grid
from xvar.cf.units import length_factor
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import ATTRIBUTE, Configuration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAND = "0.82"  # nothing is known there, and nothing moves
HIDDEN = "0.94"  # not observed, though something moves there: clouds, or beyond the reach of the radar


@dataclass(frozen=True)
class Canvas:
    """Positions of the grid points on the paper.

    Attributes
    ----------
    y, x : ndarray (y,), (x,)
        In km or degrees, in the order of the data.
    dims : tuple
        Names of the dimensions of y and x.
    labels : tuple of str
        Of the axes of y and x.
    aspect : float
        Height on the paper of a unit of y over the width of a unit of x.
    projection : cartopy Projection, optional
        That of the data, so that its rows and columns are straight: None where the data do not say, or cartopy is not
        installed.
    scale, origin : float
        A place on the map is ``scale * x - origin``.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    dims: tuple[Hashable, Hashable]
    labels: tuple[str, str]
    aspect: float
    projection: Any = None
    scale: float = 1.0
    origin: float = 0.0

    @property
    def shape_ratio(self) -> float:
        """Width of the picture over its height."""
        return float(np.ptp(self.x) / (np.ptp(self.y) * self.aspect))

    @property
    def subplot(self) -> dict[str, Any]:
        """Options of new axes for this plane."""
        return {} if self.projection is None else {"projection": self.projection}

    def places(self, ax: Axes) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]:
        """Places x and y as these axes count them, and the options that say so: axes may be of another projection."""
        theirs = getattr(ax, "projection", None)
        if theirs is None:
            return self.x, self.y, {}
        if self.projection is None:
            raise InputError(
                Fault(
                    "cartopy axes for data that do not say where on the Earth they are",
                    "data with a grid mapping, or with latitude and longitude as coordinates",
                    "plain matplotlib axes, or no ax=",
                )
            )
        y = self.y * self.scale if self.scale != 1 else self.y
        return self.x * self.scale - self.origin, y, {} if theirs == self.projection else {"transform": self.projection}

    def prepare(self, ax: Axes, *, left: bool = True, bottom: bool = True) -> None:
        """Limits, proportions, and labels on the outer sides."""
        x, y, foreign = self.places(ax)
        limits = []
        for values in (x, y):
            half = abs(values[1] - values[0]) / 2
            limits.append((values.min() - half, values.max() + half))
        ax.set_facecolor(LAND)
        if foreign:
            ax.set_extent((*limits[0], *limits[1]), crs=self.projection)  # type: ignore[attr-defined]
        else:
            ax.set_xlim(*limits[0])
            ax.set_ylim(*limits[1])
            ax.set_aspect(self.aspect)
        if hasattr(ax, "projection"):
            _graticule(ax, left=left, bottom=bottom)
            return
        if left:
            ax.set_ylabel(self.labels[0])
        if bottom:
            ax.set_xlabel(self.labels[1])

    def image(self, ax: Axes, values: NDArray[Any], **style: Any) -> Any:
        """A field (y, x), or its colours (y, x, 3)."""
        x, y, where = self.places(ax)
        return ax.pcolormesh(x, y, values, shading="nearest", rasterized=True, **where, **style)

    def ground(self, ax: Axes, moving: NDArray[np.bool_], seen: NDArray[np.bool_] | None = None) -> None:
        """The land of the data itself with its coast, and what was not seen: nothing is fetched from anywhere."""
        from matplotlib.colors import ListedColormap

        if seen is not None and (moving & ~seen).any():
            hidden = np.where(moving & ~seen, 1.0, np.nan)
            self.image(ax, hidden, cmap=ListedColormap([HIDDEN]), vmin=0, vmax=1)
        if moving.any() and not moving.all():
            x, y, where = self.places(ax)
            ax.contour(x, y, moving.astype(float), [0.5], colors="0.35", linewidths=0.5, **where)


def _graticule(ax: Any, *, left: bool, bottom: bool) -> None:
    """Lines of latitude and longitude, labelled outside."""
    lines = ax.gridlines(
        draw_labels={**({"left": "y"} if left else {}), **({"bottom": "x"} if bottom else {})} or False,
        linewidth=0.4,
        color="0.3",
        alpha=0.4,
        linestyle=":",
        x_inline=False,
        y_inline=False,
        rotate_labels=False,
    )
    lines.xlabel_style = lines.ylabel_style = {"size": 8}


def make_canvas(field: xr.DataArray, data: xr.Dataset, configuration: Configuration) -> Canvas:
    """The plane of a field (y, x).

    The axes of a projection are drawn as they are, so that motion along x points to the right.
    """
    faults = Faults()
    axes = find_axes(field.expand_dims("time"), faults)
    faults.raise_if_any()
    assert axes is not None
    names = AxisNames(time="window", y=axes.y, x=axes.x)
    grid = horizontal_grid(field, names, faults, configuration.dx, configuration.dy, mapping=data)
    faults.raise_if_any()
    assert grid is not None
    dims = (axes.y, axes.x)
    if grid.kind == "geographic" and all(dim in field.coords for dim in dims):
        latitude, longitude = (np.asarray(field[dim].values, dtype=np.float64) for dim in dims)
        stretch = 1 / max(np.cos(np.deg2rad(latitude.mean())), 0.05)
        middle = float((longitude.min() + longitude.max()) / 2)
        return Canvas(
            latitude,
            longitude,
            dims,
            ("latitude (degrees north)", "longitude (degrees east)"),
            float(stretch),
            _geographic(middle),
            origin=middle,
        )
    places = [_kilometres(field, dim, step) for dim, step in zip(dims, grid.spacing, strict=True)]
    return Canvas(
        places[0],
        places[1],
        dims,
        (f"{axes.y} (km)", f"{axes.x} (km)"),
        1.0,
        _projected(field, data, places) if all(dim in field.coords for dim in dims) else None,
        scale=1e3,
    )


def _kilometres(field: xr.DataArray, dim: Hashable, step: float) -> NDArray[np.float64]:
    factor = None if dim not in field.coords else length_factor(str(field[dim].attrs.get("units", "")))
    if factor is None:
        return np.arange(field.sizes[dim], dtype=np.float64) * (step / 1e3)
    return np.asarray(field[dim].values, dtype=np.float64) * factor / 1e3


def _geographic(middle: float) -> Any:
    """Latitude and longitude as they are, cut on the other side of the Earth."""
    if find_spec("cartopy") is None:
        return None
    from cartopy.crs import PlateCarree

    return PlateCarree(central_longitude=middle)


def _projected(field: xr.DataArray, data: xr.Dataset, places: list[NDArray[np.float64]]) -> Any:
    """The projection of the grid mapping."""
    if find_spec("cartopy") is None:
        return None
    name = mapping_name(field)
    attributes = None if name is None else mapping_attributes(data, name) or mapping_attributes(field, name)
    reference = None if attributes is None else projection(attributes)
    if reference is None or not reference.is_projected:
        return None
    from cartopy.crs import Projection

    result = Projection(reference.to_wkt())
    y, x = (values * 1e3 for values in places)
    margin = 0.05 * max(np.ptp(y), np.ptp(x))
    # A mapping of CF has no area of use: the one of the data is where the map ends.
    result.bounds = (x.min() - margin, x.max() + margin, y.min() - margin, y.max() + margin)
    result.threshold = margin / 10
    return result


def configuration_of(data: xr.Dataset, wanted: str) -> Configuration:
    """The choices of the call that made a Dataset.

    Raises
    ------
    InputError
        Where it is no output of xvar.
    """
    text = data.attrs.get(ATTRIBUTE)
    if text is None:
        raise InputError(
            Fault(f"a Dataset without the attribute {ATTRIBUTE}", wanted, "ds.var4d.assimilate().var4d.plot")
        )
    return Configuration.from_json(text)


def new_figure(**options: Any) -> Figure:
    """A figure of pyplot, which notebooks and windows show."""
    from matplotlib import pyplot

    return pyplot.figure(**{"layout": "constrained", **options})


def own_axes(ax: Axes | None, canvas: Canvas | None = None) -> Axes:
    """The axes to draw in, new ones where none are given."""
    if ax is not None:
        return ax
    if canvas is None:
        return new_figure().add_subplot()
    height = float(np.clip(5.4 / canvas.shape_ratio, 2.2, 7.0))
    made: Axes = new_figure(figsize=(7.0, height + 1.1), layout="compressed").add_subplot(**canvas.subplot)
    return made


def last_step(data: xr.Dataset, window: int) -> int:
    """The step of the last frame of a window, which may have fewer frames than others."""
    if "step" not in data["time"].dims:
        return data.sizes["step"] - 1
    times = data["time"].isel({dim: window for dim in ("window",) if dim in data["time"].dims})
    return int(np.flatnonzero(times.notnull().values)[-1])


def moment(value: Any) -> str:
    """A time as a title has it."""
    if pd.isnull(value):
        return ""
    return f"{str(value).replace('T', ' ')[:16]} UTC"


def seconds_of(lead: Any) -> float:
    """Seconds of a lead time."""
    return float(np.asarray(lead) / np.timedelta64(1, "s"))


def unit_of_time(seconds: float) -> tuple[float, str]:
    """The unit in which times up to this long are told: its seconds and its name."""
    for length, name in ((86400.0, "d"), (3600.0, "h")):
        if seconds >= 2 * length:
            return length, name
    return 60.0, "min"
