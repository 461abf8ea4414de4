"""The grid as the core sees it: shape, spacing in metres, water, and what lies beyond the edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from xvar.errors import Fault, InputError

Edges = Literal["free", "zero", "periodic"]


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid with coordinates ascending along every axis.

    Parameters
    ----------
    shape : tuple of int
        Points along each axis, in the order (y, x).
    spacing : tuple of float
        Representative distance between neighbours along each axis, in metres, in the order (y, x).
    metric : Tensor, optional
        True local spacing (dy, dx) in metres, shape (2, y, x). None: `spacing` holds everywhere.
    water : Tensor, optional
        Bool (y, x), true where the fields exist. None: everywhere.
    edges : {"free", "zero", "periodic"}
        What lies beyond the edges: nothing that is known, zeros, or the opposite edge.

    Raises
    ------
    InputError
        Where shape, spacing, metric and water do not belong together.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    metric: Tensor | None = None
    water: Tensor | None = None
    edges: Edges = "free"

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.spacing) or any(n < 1 for n in self.shape):
            raise InputError(
                Fault(
                    f"shape {self.shape} and spacing {self.spacing}",
                    "one positive number of points and one spacing for each axis",
                    "give both in the order (y, x)",
                )
            )
        if not all(0 < d < math.inf for d in self.spacing):
            raise InputError(Fault(f"spacing {self.spacing}", "positive finite metres", "give dx and dy in metres"))
        for name, tensor, shape in (("metric", self.metric, (2, *self.shape)), ("water", self.water, self.shape)):
            if tensor is not None and tuple(tensor.shape) != shape:
                raise InputError(Fault(f"{name} of shape {tuple(tensor.shape)}", f"{shape}", "use the grid's own"))
        if self.edges not in ("free", "zero", "periodic"):
            raise InputError(Fault(f"edges {self.edges!r}", "free, zero or periodic", "name one of the three"))

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    def cells_per_metre(self, *, dtype: torch.dtype, device: torch.device | str | None = None) -> Tensor:
        """Grid cells in a metre, along x and along y: (1, 2, 1, 1), or (1, 2, y, x) where the spacing varies."""
        if self.metric is None:
            spacing = torch.tensor(self.spacing[::-1], dtype=torch.float64).view(1, -1, *(1 for _ in self.shape))
        else:
            spacing = self.metric.flip(0)[None].to(torch.float64)
        return (1 / spacing).to(device=device, dtype=dtype)

    def coarsen(self, factor: int) -> Grid:
        """Grid of blocks of `factor` by `factor` points.

        The shape is divided and rounded up, so that the blocks at the far edges may be partly outside; the
        spacing is multiplied. The local spacing of a block is the mean over the points that it holds, times
        `factor`; a block is water where at least half of these points are.

        Parameters
        ----------
        factor : int
            Points of this grid along each side of a block.

        Returns
        -------
        Grid
            The coarse grid, with the same edges.

        Raises
        ------
        InputError
            Where the factor is below 1, or does not divide the shape of a periodic grid, whose length it would change.
        """
        if factor < 1 or (self.edges == "periodic" and any(n % factor for n in self.shape)):
            raise InputError(
                Fault(
                    f"factor {factor} for a {self.edges} grid of shape {self.shape}",
                    "a positive whole number, a divisor of the shape where the edges are periodic",
                    "choose another factor",
                )
            )
        if factor == 1:
            return self
        metric, water = self.metric, self.water
        if metric is not None:
            metric = block_mean(metric, factor) * factor
        if water is not None:
            water = block_mean(water.to(torch.float64)[None], factor)[0] >= 0.5
        shape = tuple(-(-n // factor) for n in self.shape)
        return Grid(shape, tuple(d * factor for d in self.spacing), metric, water, self.edges)


def block_mean(values: Tensor, factor: int) -> Tensor:
    """Mean over blocks of `factor` by `factor` points of (..., y, x); a block at a far edge counts what it has."""
    return avg_pool2d(values, factor, ceil_mode=True, count_include_pad=False)


def prolong(values: Tensor, factor: int, shape: tuple[int, ...]) -> Tensor:
    """Fields of a coarse grid on a finer one: linear between the centres of the blocks."""
    if factor == 1:
        return values
    fine = interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)
    missing = [size - have for size, have in zip(reversed(shape), reversed(fine.shape), strict=False)]
    fine = pad(fine, (0, max(missing[0], 0), 0, max(missing[1], 0)), mode="replicate")
    return fine[..., : shape[0], : shape[1]]


def coarser(values: Tensor, factor: int) -> Tensor:
    """Block means of a field; what is no field, such as a parameter, has the same value on any grid."""
    return block_mean(values, factor) if _is_field(values) else values


def finer(values: Tensor, factor: int, shape: tuple[int, ...]) -> Tensor:
    """A field of a coarse grid on a finer one; what is no field has the same value on any grid."""
    return prolong(values, factor, shape) if _is_field(values) else values


def _is_field(values: Tensor) -> bool:
    return values.ndim > 1 and values.shape[-1] > 1


def bind(specification: Any, grid: Grid, like: Tensor) -> Any:
    """A specification on a grid; what has no ``bind`` is used as it is."""
    if hasattr(specification, "bind"):
        return specification.bind(grid, dtype=like.dtype, device=like.device)
    return specification
