"""One panel, or one for each window, step, interval or lead time, in xarray's FacetGrid."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Fault, InputError
from xvar.plan.configuration import Configuration
from xvar.plot.canvas import Canvas, Pair, draw_arrows, draw_key, explain, make_canvas, moment, own_axes, typical_speed
from xvar.plot.colours import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A window: its index, or a time; of the windows that hold the time, the one that ends first.
Window = int | str | np.datetime64 | pd.Timestamp
SIZE = 3.2  # inches, height of a panel
LABEL = 24  # characters beside the colour bar of one row of panels that fit in one line


class PanelOptions(TypedDict, total=False):
    """Options of all maps, which `xvar.plot.motion` documents."""

    ax: Axes | None
    col: Hashable | None
    row: Hashable | None
    col_wrap: int | None
    size: float
    coastlines: str | None


@dataclass(frozen=True)
class Panels:
    """Axes of a picture: the object for the user, and each panel with the index of its field beside y and x."""

    canvas: Canvas
    result: Any  # Axes or FacetGrid
    shown: list[tuple[Axes, dict[Hashable, int]]]

    @property
    def single(self) -> bool:
        """True for one panel without facets."""
        return not hasattr(self.result, "axs")

    def __iter__(self) -> Iterator[Axes]:
        return (ax for ax, _ in self.shown)

    def values(self, array: xr.DataArray) -> list[NDArray[Any]]:
        """Return the part of an array that each panel shows, (y, x) or a scalar."""
        parts = (array.isel(index, missing_dims="ignore") for _, index in self.shown)
        return [part.transpose(*self.canvas.dims, missing_dims="ignore").values for part in parts]

    def pairs(self, u: xr.DataArray, v: xr.DataArray, factor: float = 1.0) -> list[Pair]:
        """Return the vectors that each panel shows, in double precision."""
        return list(zip(*(self.values(part.astype("float64") * factor) for part in (u, v)), strict=True))

    def moments(self, data: xr.Dataset, name: str) -> list[str]:
        """Return the time of each panel by a coordinate, empty without it."""
        return [moment(time) for time in self.values(data[name])] if name in data.coords else [""] * len(self.shown)

    def images(self, fields: Sequence[NDArray[Any]], scale: Scale, moving: Sequence[NDArray[np.bool_]]) -> None:
        """Draw a field in each panel, its land and the points without a value, and one colour bar for all."""
        land = hidden = False
        for ax, values, known in zip(self, fields, moving, strict=True):
            land, hidden = land or not known.all(), hidden or bool((known & ~np.isfinite(values)).any())
            mesh = self.canvas.image(ax, scale.convert(values), **scale.style)
            self.canvas.ground(ax, known, np.isfinite(values))
        rows = 1 if self.single else self.result.axs.shape[0]
        fits = self.single or len(scale.label) < LABEL * rows
        label = scale.label if fits else scale.label.replace(" (", "\n(")
        self.shown[0][0].figure.colorbar(mesh, ax=list(self), label=label, shrink=0.85, **scale.bar)
        holder = self.result if self.single else self.result.fig
        explain(holder, land=land, hidden="not observed" if hidden else "")

    def arrows(self, pairs: Sequence[Pair], units: str) -> None:
        """Draw arrows in each panel, of one scale, and their legend."""
        typical = typical_speed(pairs)
        for ax, pair in zip(self, pairs, strict=True):
            arrows = draw_arrows(ax, self.canvas, *pair, typical)
        draw_key(ax, arrows, typical, units, figure=not self.single)

    def titles(self, text: str, times: list[str]) -> None:
        """Set the title of the picture, and the time of each panel."""
        if self.single:
            self.result.set_title(f"{text}\n{times[0]}".strip(), loc="left", fontsize=11)
            return
        self.result.fig.suptitle(text, fontsize=11)
        for ax, time in zip(self, times, strict=True):
            ax.set_title(time, fontsize=9)


def make_panels(
    array: xr.DataArray,
    data: xr.Dataset,
    configuration: Configuration,
    at: dict[str, Any],
    *,
    ax: Axes | None = None,
    col: Hashable | None = None,
    row: Hashable | None = None,
    col_wrap: int | None = None,
    size: float = SIZE,
    coastlines: str | None = None,
) -> Panels:
    """Make the panels of an array (..., y, x) for `ax`, `col`, `row`, `col_wrap` and `size` as of xarray's own plots.

    `at` has the index along the dimensions without panels. Raise InputError if `col` or `row` is no dimension of the
    array or is given beside `ax`, or an index is out of range.
    """
    canvas = make_canvas(array, data, configuration, coastlines)
    others = [dim for dim in array.dims if dim not in canvas.dims]
    facets = [dim for dim in (row, col) if dim is not None]
    for dim in facets:
        if dim not in others:
            known = ", ".join(repr(str(other)) for other in others) or "none"
            fault = Fault(f"{dim!r} to facet over", f"one of {known}", "leave it out", code="unknown-dimension")
            raise InputError(fault)
    if facets and ax is not None:
        fix = "leave ax= out: facets are a figure"
        raise InputError(Fault("ax= beside col= or row=", "one of the two", fix, code="option-conflict"))
    fixed = {dim: check_index(at.get(str(dim), -1), dim, data) for dim in others if dim not in facets}
    if not facets:
        ax = own_axes(ax, canvas)
        canvas.prepare(ax)
        return Panels(canvas, ax, [(ax, fixed)])
    from xarray.plot.facetgrid import FacetGrid

    aspect = float(np.clip(canvas.shape_ratio, 0.4, 2.5))
    style: dict[str, Any] = {"size": size, "aspect": aspect, "subplot_kws": canvas.subplot}
    grid: Any = FacetGrid(array, col=col, row=row, col_wrap=col_wrap, **style)
    grid.fig.set_layout_engine("compressed")
    indices = (dict(zip(facets, index, strict=True)) for index in np.ndindex(*(array.sizes[dim] for dim in facets)))
    shown = [(axes, {**fixed, **index}) for axes, index in zip(grid.axs.flat, indices, strict=False)]
    visible = {axes for axes, _ in shown}
    for (number, column), axes in np.ndenumerate(grid.axs):
        below = number + 1 < len(grid.axs) and grid.axs[number + 1, column] in visible
        axes.set_visible(axes in visible)
        if axes in visible:
            canvas.prepare(axes, left=column == 0, bottom=not below)
            axes.tick_params(labelbottom=not below)
    return Panels(canvas, grid, shown)


def check_index(index: Any, dim: Hashable, data: xr.Dataset) -> int:
    """Return an index, or a time of a window, as an index from 0 up; raise InputError if it is out of range."""
    size = data.sizes.get(dim, 1)
    if dim == "window" and not isinstance(index, (int, np.integer)):
        return _window_at(index, data)
    if not -size <= index < size:
        expected = f"one of the {size}, from {-size} to {size - 1}"
        place: dict[str, Any] = {"dimension": str(dim), "index": index}
        raise InputError(Fault(f"{dim} {index}", expected, f"{dim}=-1", **place, code="index-out-of-range"))
    return int(index) % size


def _window_at(wanted: Any, data: xr.Dataset) -> int:
    """Return the index of the window that ends at a time, or the first that ends after it and holds it."""
    ends = np.atleast_1d(data["forecast_reference_time"].values)
    begins = ends if "step" not in data["time"].dims else data["time"].isel(step=0).values.reshape(ends.shape)
    try:
        moment_wanted = pd.Timestamp(wanted)
        held = np.flatnonzero((begins <= moment_wanted) & (ends >= moment_wanted))
    except (TypeError, ValueError):
        held = np.array([], dtype=int)
    if not held.size:
        expected = f"an index, or a time in a window, from {moment(begins.min())} to {moment(ends.max())}"
        place: dict[str, Any] = {"dimension": "window"}
        raise InputError(Fault(f"window {wanted!r}", expected, "window=-1", **place, code="index-out-of-range"))
    return int(held[np.argmin(ends[held])])


def select(data: xr.Dataset, dim: str, index: Any) -> xr.Dataset:
    """Return one window or member of an output; raise InputError if there is none of that index or time."""
    return data.isel({dim: check_index(index, dim, data)}, missing_dims="ignore")
