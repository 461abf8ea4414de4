"""The one place where labelled arrays become tensors, and back.

The core sees (window, frame, y, x) with both coordinates ascending, in the machine's byte order; users see the order of
the input. A batch of windows is solved from plain arrays alone, so that it may run anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.grid import HorizontalGrid

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.grid import Edges, Grid

Array = NDArray[Any]


def to_tensor(values: Array, *, dtype: str, device: str | None) -> Tensor:
    """Copy an array into storage of torch's own.

    Torch takes no foreign byte order, no negative strides and nothing read-only, and its products have other bits if
    numbers do not begin at a cache line, as they may in an array that came from another process.
    """
    import torch

    values = np.asarray(values)
    tensor = torch.empty(values.shape, dtype=getattr(torch, dtype))
    tensor.numpy()[...] = values
    return tensor.to(device) if device else tensor


def ascending(values: Array, grid: HorizontalGrid) -> Array:
    """Bring the axes of a grid into the order of ascending coordinates; applied twice it restores that of the input."""
    return values[(..., *(slice(None) if up else slice(None, None, -1) for up in grid.ascending))]


@dataclass(frozen=True)
class Bridge:
    """Conversion between the arrays of a call and the tensors of the core."""

    grid: HorizontalGrid
    land: Array | None  # (y, x), points where nothing is observed and nothing moves
    dtype: str
    device: str | None = None
    edges: Edges = "free"  # values beyond the edges of the grid

    def tensor(self, values: Array) -> Tensor:
        """Return fields (..., y, x) in the order of the input as a tensor."""
        return self.numbers(ascending(np.asarray(values), self.grid))

    def numbers(self, values: Array) -> Tensor:
        """Return an array that holds no fields as a tensor."""
        return to_tensor(values, dtype=self.dtype, device=self.device)

    def array(self, tensor: Tensor) -> Array:
        """Return a tensor as an array, its fields in the order of the input, with NaN on land."""
        values = np.asarray(tensor.detach().cpu().numpy())
        if self.is_field(values):
            values = np.ascontiguousarray(ascending(values, self.grid))
        return self.without_land(values)

    def without_land(self, values: Array) -> Array:
        """Set fields to NaN on land; other arrays stay as they are."""
        if self.land is None or not self.is_field(values) or values.dtype.kind != "f":
            return values
        return np.where(self.land, np.asarray(np.nan, dtype=values.dtype), values)

    def is_field(self, values: Array) -> bool:
        """Return whether an array is (window, ..., y, x); a table (window, n) may have as many rows as the grid."""
        axes = len(self.grid.shape)
        return values.ndim > axes and values.shape[-axes:] == self.grid.shape

    def core_grid(self) -> Grid:
        """Return the grid of the core."""
        import torch

        from xvar.core.grid import Grid

        grid, land = self.grid, self.land
        # Shared, since it is as large as four fields; nothing writes to it.
        metric = None if grid.metric is None else torch.from_numpy(np.require(grid.metric, "float64", ["C", "W"]))
        water = None if land is None else torch.from_numpy(np.array(~ascending(land, grid)))
        places = grid.positions
        positions = None if places is None else tuple(to_tensor(part, dtype="float64", device=None) for part in places)
        return Grid(grid.shape, grid.spacing, metric, water, self.edges, positions)
