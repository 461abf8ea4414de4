"""One panel, or one for each window, step, interval or lead time, as xarray facets its own plots."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xvar.errors import Fault, InputError
from xvar.plot.canvas import Canvas, own_axes
from xvar.plot.colours import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from xarray.plot.facetgrid import FacetGrid

SIZE = 3.2  # inches, of the height of a panel
LABEL = 24  # characters beside the colour bar of a row of panels, all in one line


@dataclass(frozen=True)
class Panels:
    """The axes of a picture, each with the place of what it shows.

    Attributes
    ----------
    result : Axes or FacetGrid
        What the user gets.
    shown : list of (Axes, dict)
        Axes, and index of what they show along each dimension but those of the plane.
    """

    result: Any
    shown: list[tuple[Axes, dict[Hashable, int]]]

    @property
    def single(self) -> bool:
        """Whether there is one panel without neighbours."""
        return not hasattr(self.result, "axs")

    def prepare(self, canvas: Canvas) -> None:
        """Limits and labels of all panels, the latter on the outer sides."""
        if self.single:
            canvas.prepare(self.result)
            return
        grid = self.result.axs
        visible = {id(ax) for ax, _ in self.shown}
        for row, column in np.ndindex(grid.shape):
            ax = grid[row, column]
            if id(ax) in visible:
                below = row + 1 < grid.shape[0] and id(grid[row + 1, column]) in visible
                canvas.prepare(ax, left=column == 0, bottom=not below)
            else:
                ax.set_visible(False)

    def bar(self, mesh: Any, scale: Scale) -> None:
        """One colour bar for all panels."""
        axes = self.result if self.single else [ax for ax, _ in self.shown]
        rows = 1 if self.single else self.result.axs.shape[0]
        label = scale.label if self.single or len(scale.label) < LABEL * rows else scale.label.replace(" (", "\n(")
        self.shown[0][0].figure.colorbar(mesh, ax=axes, label=label, shrink=0.85, **scale.bar)

    def title(self, text: str) -> None:
        """What all panels show."""
        if self.single:
            self.result.set_title(text, loc="left", fontsize=11)
        else:
            self.result.fig.suptitle(text, fontsize=11)


def make_panels(
    array: xr.DataArray,
    canvas: Canvas,
    at: dict[str, int],
    *,
    ax: Axes | None = None,
    col: Hashable | None = None,
    row: Hashable | None = None,
    col_wrap: int | None = None,
    size: float = SIZE,
) -> Panels:
    """The panels of an array.

    Parameters
    ----------
    array : DataArray (..., y, x)
        What will be drawn.
    canvas : Canvas
        Its plane.
    at : dict of str to int
        Index along the dimensions that have no panels of their own.
    ax, col, row, col_wrap, size
        As for xarray's own plots.

    Raises
    ------
    InputError
        Where `col` or `row` is no dimension of the array, or stands beside `ax`.
    """
    others = [dim for dim in array.dims if dim not in canvas.dims]
    facets = [dim for dim in (row, col) if dim is not None]
    for dim in facets:
        if dim not in others:
            words = ", ".join(repr(str(known)) for known in others) or "none"
            raise InputError(Fault(f"{dim!r} to facet over", f"one of {words}", "leave it out"))
    if facets and ax is not None:
        raise InputError(Fault("ax= beside col= or row=", "one of the two", "leave ax= out: facets are a figure"))
    fixed = {dim: _index(at.get(str(dim), -1), dim, array) for dim in others if dim not in facets}
    if not facets:
        ax = own_axes(ax, canvas)
        return Panels(ax, [(ax, fixed)])
    grid = _facet_grid(array, canvas, col, row, col_wrap, size)
    shown = [
        (axes, {**fixed, **dict(zip(facets, index, strict=True))})
        for axes, index in zip(grid.axs.flat, np.ndindex(*(array.sizes[dim] for dim in facets)), strict=False)
    ]
    return Panels(grid, shown)


def _facet_grid(
    array: xr.DataArray,
    canvas: Canvas,
    col: Hashable | None,
    row: Hashable | None,
    col_wrap: int | None,
    size: float,
) -> FacetGrid[Any]:
    from xarray.plot.facetgrid import FacetGrid

    grid = FacetGrid(
        array,
        col=col,
        row=row,
        col_wrap=col_wrap,
        size=size,
        aspect=float(np.clip(canvas.shape_ratio, 0.4, 2.5)),
        subplot_kws=canvas.subplot,
    )
    grid.fig.set_layout_engine("compressed")
    return grid


def _index(index: int, dim: Hashable, array: xr.DataArray) -> int:
    size = array.sizes[dim]
    if not -size <= index < size:
        raise InputError(Fault(f"{dim} {index}", f"one of the {size}, from {-size} to {size - 1}", f"{dim}=-1"))
    return index % size


def every(array: xr.DataArray, panels: Panels, canvas: Canvas) -> Iterator[Any]:
    """The fields (y, x) of the panels, computed one at a time."""
    for _, index in panels.shown:
        own = {dim: place for dim, place in index.items() if dim in array.dims}
        yield array.isel(own).transpose(*canvas.dims).values
