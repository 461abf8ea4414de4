"""One panel, or one for each window, step, interval or lead time, in xarray's FacetGrid."""

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

SIZE = 3.2  # inches, height of a panel
LABEL = 24  # characters beside the colour bar of one row of panels that fit in one line


@dataclass(frozen=True)
class Panels:
    """Axes of a picture: the object for the user, and each panel with the index of its field beside y and x."""

    result: Any  # Axes or FacetGrid
    shown: list[tuple[Axes, dict[Hashable, int]]]

    @property
    def single(self) -> bool:
        """True for one panel without facets."""
        return not hasattr(self.result, "axs")

    def __iter__(self) -> Iterator[Axes]:
        return (ax for ax, _ in self.shown)

    def fields(self, array: xr.DataArray | xr.Dataset) -> Iterator[Any]:
        """Select the part of an array or a Dataset that each panel shows."""
        return (array.isel(index, missing_dims="ignore") for _, index in self.shown)

    def prepare(self, canvas: Canvas) -> None:
        """Set limits and labels of all panels, the latter on the outer sides."""
        if self.single:
            canvas.prepare(self.result)
            return
        grid, visible = self.result.axs, set(self)
        for (row, column), ax in np.ndenumerate(grid):
            below = row + 1 < grid.shape[0] and grid[row + 1, column] in visible
            ax.set_visible(ax in visible)
            if ax in visible:
                canvas.prepare(ax, left=column == 0, bottom=not below)

    def bar(self, mesh: Any, scale: Scale) -> None:
        """Draw one colour bar for all panels."""
        rows = 1 if self.single else self.result.axs.shape[0]
        fits = self.single or len(scale.label) < LABEL * rows
        label = scale.label if fits else scale.label.replace(" (", "\n(")
        self.shown[0][0].figure.colorbar(mesh, ax=list(self), label=label, shrink=0.85, **scale.bar)

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
    canvas: Canvas,
    at: dict[str, int],
    *,
    ax: Axes | None = None,
    col: Hashable | None = None,
    row: Hashable | None = None,
    col_wrap: int | None = None,
    size: float = SIZE,
) -> Panels:
    """Make the panels of an array (..., y, x) for `ax`, `col`, `row`, `col_wrap` and `size` as of xarray's own plots.

    `at` has the index along the dimensions without panels. Raise InputError if `col` or `row` is no dimension of the
    array or is given beside `ax`, or an index is out of range.
    """
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
    fixed = {dim: check_index(at.get(str(dim), -1), dim, array.sizes[dim]) for dim in others if dim not in facets}
    if not facets:
        ax = own_axes(ax, canvas)
        return Panels(ax, [(ax, fixed)])
    from xarray.plot.facetgrid import FacetGrid

    aspect = float(np.clip(canvas.shape_ratio, 0.4, 2.5))
    style: dict[str, Any] = {"size": size, "aspect": aspect, "subplot_kws": canvas.subplot}
    grid: Any = FacetGrid(array, col=col, row=row, col_wrap=col_wrap, **style)
    grid.fig.set_layout_engine("compressed")
    indices = (dict(zip(facets, index, strict=True)) for index in np.ndindex(*(array.sizes[dim] for dim in facets)))
    return Panels(grid, [(axes, {**fixed, **index}) for axes, index in zip(grid.axs.flat, indices, strict=False)])


def check_index(index: int, dim: Hashable, size: int) -> int:
    """Return an index as one from 0 up; raise InputError if it is out of range."""
    if not -size <= index < size:
        expected = f"one of the {size}, from {-size} to {size - 1}"
        place: dict[str, Any] = {"dimension": str(dim), "index": index}
        raise InputError(Fault(f"{dim} {index}", expected, f"{dim}=-1", **place, code="index-out-of-range"))
    return index % size
