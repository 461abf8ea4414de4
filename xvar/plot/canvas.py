"""The plane that pictures are drawn in: kilometres, or degrees where the axes are latitude and longitude."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes as AxisNames
from xvar.cf.axes import find_axes
from xvar.cf.grid import horizontal_grid
from xvar.cf.units import length_factor
from xvar.configuration import ATTRIBUTE, Configuration
from xvar.errors import InputError, Problem, Problems

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAND = "0.82"


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
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    dims: tuple[Hashable, Hashable]
    labels: tuple[str, str]
    aspect: float

    def prepare(self, ax: Axes, *, outer: bool = True) -> None:
        """Limits, proportions and labels."""
        for values, limit in ((self.x, ax.set_xlim), (self.y, ax.set_ylim)):
            half = abs(values[1] - values[0]) / 2
            limit(values.min() - half, values.max() + half)
        ax.set_aspect(self.aspect)
        ax.set_facecolor(LAND)
        if outer:
            ax.set_ylabel(self.labels[0])
            ax.set_xlabel(self.labels[1])

    def image(self, ax: Axes, values: NDArray[Any], **style: Any) -> Any:
        """A field (y, x), or its colours (y, x, 3)."""
        return ax.pcolormesh(self.x, self.y, values, shading="nearest", rasterized=True, **style)


def make_canvas(field: xr.DataArray, data: xr.Dataset, configuration: Configuration) -> Canvas:
    """The plane of a field (y, x).

    The axes of a projection are drawn as they are, so that motion along x points to the right: no map library is
    needed and nothing is fetched.
    """
    problems = Problems()
    axes = find_axes(field.expand_dims("time"), problems)
    problems.refuse()
    assert axes is not None
    names = AxisNames(time="window", y=axes.y, x=axes.x)
    grid = horizontal_grid(field, names, problems, configuration.dx, configuration.dy, mapping=data)
    problems.refuse()
    assert grid is not None
    dims = (axes.y, axes.x)
    if grid.kind == "geographic" and all(dim in field.coords for dim in dims):
        latitude, longitude = (np.asarray(field[dim].values, dtype=np.float64) for dim in dims)
        stretch = 1 / max(np.cos(np.deg2rad(latitude.mean())), 0.05)
        return Canvas(
            latitude, longitude, dims, ("latitude (degrees north)", "longitude (degrees east)"), float(stretch)
        )
    places = [_kilometres(field, dim, step) for dim, step in zip(dims, grid.spacing, strict=True)]
    return Canvas(places[0], places[1], dims, (f"{axes.y} (km)", f"{axes.x} (km)"), 1.0)


def _kilometres(field: xr.DataArray, dim: Hashable, step: float) -> NDArray[np.float64]:
    factor = None if dim not in field.coords else length_factor(str(field[dim].attrs.get("units", "")))
    if factor is None:
        return np.arange(field.sizes[dim], dtype=np.float64) * (step / 1e3)
    return np.asarray(field[dim].values, dtype=np.float64) * factor / 1e3


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
            Problem(f"a Dataset without the attribute {ATTRIBUTE}", wanted, "ds.var4d.assimilate().var4d.plot")
        )
    return Configuration.from_json(text)


def new_figure(**options: Any) -> Figure:
    """A figure of pyplot, which notebooks and windows show."""
    from matplotlib import pyplot

    return pyplot.figure(layout="constrained", **options)


def own_axes(ax: Axes | None) -> Axes:
    """The axes to draw in, new ones where none are given."""
    if ax is not None:
        return ax
    return new_figure().subplots()


def moment(value: Any) -> str:
    """A time as a title has it."""
    return f"{str(value).replace('T', ' ')[:16]} UTC"
