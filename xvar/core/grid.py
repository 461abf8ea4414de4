"""Grids as the core uses them: shape, spacing in metres, water, and the edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from xvar.errors import Fault, Faults, InputError

Edges = Literal["free", "zero", "periodic"]
Basin = Literal["closed", "periodic", "channel"]
Device = torch.device | str | None
Box = tuple[slice, ...]  #: Part of a grid, along each axis.

EDGES: tuple[Edges, ...] = ("free", "zero", "periodic")
#: Edges of a fluid: walls on all sides; none; walls in the south and the north only.
BASINS: tuple[Basin, ...] = ("closed", "periodic", "channel")


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid with coordinates ascending along every axis; InputError if its parts do not fit each other."""

    shape: tuple[int, ...]  # points along each axis, in the order (y, x)
    spacing: tuple[float, ...]  # representative distance of neighbours along each axis in metres, in the same order
    metric: Tensor | None = (
        None  # true local spacing (dy, dx) of the last two axes in metres, (2, y, x); None: `spacing`
    )
    water: Tensor | None = None  # bool (y, x), true where the fields exist; None: everywhere
    edges: Edges = "free"  # values beyond the edges: unknown, zeros, or those of the opposite edge
    #: Latitude and longitude of the last two axes in degrees, broadcastable to (y, x); None: on a plane.
    positions: tuple[Tensor, ...] | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        if len(self.shape) != len(self.spacing) or any(n < 1 for n in self.shape):
            faults.add(
                code="grid-shape",
                found=f"shape {self.shape} and spacing {self.spacing}",
                expected="one positive number of points and one spacing for each axis",
                fix="Grid(shape=(ny, nx), spacing=(dy, dx))",
            )
        elif not all(0 < d < math.inf for d in self.spacing):
            faults.add(
                code="grid-spacing",
                found=f"spacing {self.spacing}",
                expected="positive finite metres",
                fix="dx and dy in metres",
            )
        for name, tensor, shape in (("metric", self.metric, (2, *self.shape[-2:])), ("water", self.water, self.shape)):
            if tensor is not None and tuple(tensor.shape) != shape:
                faults.add(
                    code="grid-field-shape",
                    found=f"{name} of shape {tuple(tensor.shape)}",
                    expected=f"shape {shape}",
                    fix=f"{name} on the grid itself",
                )
        faults.check_choice("edges", self.edges, EDGES, "free")
        faults.raise_if_any()

    def check_plane(self, faults: Faults) -> None:
        """Add a fault unless the grid has two axes."""
        if len(self.shape) != 2:
            faults.add(
                code="grid-not-2d",
                found=f"a grid of shape {self.shape}",
                expected="two axes (y, x)",
                fix="a grid (y, x); on other grids xvar.covariance.Diagonal(std=1.0)",
            )

    def check_axes(self, faults: Faults) -> None:
        """Add a fault unless the grid has one axis or two."""
        if len(self.shape) not in (1, 2):
            faults.add(
                code="grid-axes",
                found=f"a grid of shape {self.shape}",
                expected="one axis, or two",
                fix="xvar.covariance.Product(first axis, others), each part on its own axes",
            )

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    def cells_per_metre(self, *, dtype: torch.dtype, device: Device = None) -> Tensor:
        """Return grid cells per metre along x and y: (1, 2, 1, 1), or (1, 2, y, x) if the spacing varies."""
        if self.metric is None:
            spacing = torch.tensor(self.spacing[::-1], dtype=torch.float64).view(1, -1, *(1 for _ in self.shape))
        else:
            spacing = self.metric.flip(0)[None].to(torch.float64)
        return (1 / spacing).to(device=device, dtype=dtype)

    def lengths(self) -> tuple[Tensor, Tensor]:
        """Return the local spacing dy and dx in metres, float64 (y, x) on the CPU."""
        if self.metric is None:
            dy, dx = (torch.full(self.shape, d, dtype=torch.float64) for d in self.spacing)
        else:
            dy, dx = self.metric.to("cpu", torch.float64)
        return dy, dx

    def wet(self) -> Tensor:
        """Return 1 on water and 0 on land, float64 (y, x) on the CPU."""
        if self.water is None:
            return torch.ones(self.shape, dtype=torch.float64)
        return self.water.to("cpu", torch.float64)

    def coarsen(self, factor: int) -> Grid:
        """Return the grid of blocks of `factor` by `factor` points, with the same edges.

        The shape is divided and rounded up, so blocks at the far edges may lie partly outside; the spacing is
        multiplied. The local spacing of a block is the mean over its points, times `factor`; a block is water if at
        least half of them are. Raises InputError for a factor below 1, or one that changes the length of a periodic
        grid.
        """
        if factor < 1 or (self.edges == "periodic" and any(n % factor for n in self.shape)):
            found = f"factor {factor} for a {self.edges} grid of shape {self.shape}"
            expected = "a positive whole number, on a periodic grid a divisor of the shape"
            raise InputError(Fault(found, expected, "factor=1", code="grid-factor"))
        if factor == 1:
            return self
        metric, water, positions = self.metric, self.water, self.positions
        if positions is not None:
            mean = block_mean(unit_vectors(positions), factor)
            positions = (torch.atan2(mean[2], torch.hypot(mean[0], mean[1])), torch.atan2(mean[1], mean[0]))
            positions = tuple(torch.rad2deg(part) for part in positions)
        if metric is not None:
            metric = block_mean(metric, factor) * factor
        if water is not None:
            water = block_mean(water.to(torch.float64)[None], factor)[0] >= 0.5
        shape = tuple(-(-n // factor) for n in self.shape)
        return Grid(shape, tuple(d * factor for d in self.spacing), metric, water, self.edges, positions)

    def crop(self, box: Box) -> Grid:
        """Return a part of the grid, whose edges are free."""
        metric, water, positions = self.metric, self.water, self.positions
        return Grid(
            tuple(part.stop - part.start for part in box),
            self.spacing,
            None if metric is None else crop(metric, box),
            None if water is None else crop(water, box),
            positions=None if positions is None else tuple(crop(part, box) for part in positions),
        )


def unit_vectors(positions: Sequence[Tensor]) -> Tensor:
    """Return the vectors (3, y, x) from the centre of the sphere to latitudes and longitudes in degrees."""
    latitude, longitude = (torch.deg2rad(part.to("cpu", torch.float64)) for part in positions)
    cosine, sine = latitude.cos(), latitude.sin()
    return torch.stack(torch.broadcast_tensors(cosine * longitude.cos(), cosine * longitude.sin(), sine))


def block_mean(values: Tensor, factor: int) -> Tensor:
    """Return means over blocks of `factor` by `factor` points of (..., y, x), at far edges over the points there."""
    # Sums of slices: `avg_pool2d` takes twice to four times as long.
    return values if factor == 1 else _means(_means(values, factor, -2), factor, -1)


def _means(values: Tensor, factor: int, axis: int) -> Tensor:
    """Return means over blocks along an axis."""
    blocks, rest = divmod(values.shape[axis], factor)
    whole = values.narrow(axis, 0, blocks * factor)
    first, *others = whole.unflatten(axis, (blocks, factor)).unbind(axis)
    means: Tensor = sum(others, first) / factor
    if not rest:
        return means
    partial = values.narrow(axis, blocks * factor, rest).mean(axis, keepdim=True)
    return torch.cat([means, partial], dim=axis)


def prolong(values: Tensor, factor: int, shape: tuple[int, ...]) -> Tensor:
    """Interpolate fields of a coarse grid to a finer one, linearly between the centres of the blocks."""
    if factor == 1:
        return values
    fine = interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)
    missing = [size - have for size, have in zip(reversed(shape), reversed(fine.shape), strict=False)]
    fine = pad(fine, (0, max(missing[0], 0), 0, max(missing[1], 0)), mode="replicate")
    return fine[..., : shape[0], : shape[1]]


def coarser(values: Tensor, factor: int) -> Tensor:
    """Return block means of a field; a parameter (..., 1, 1) has the same value on any grid."""
    return block_mean(values, factor) if _is_field(values) else values


def finer(values: Tensor, factor: int, shape: tuple[int, ...]) -> Tensor:
    """Interpolate a field of a coarse grid to a finer one; a parameter has the same value on any grid."""
    return prolong(values, factor, shape) if _is_field(values) else values


def crop(values: Tensor, box: Box) -> Tensor:
    """Return the part of a field (..., *grid) in a box; an axis along which it does not vary stays."""
    for axis, part in zip(range(-len(box), 0), box, strict=True):
        if values.shape[axis] > 1:
            values = values.narrow(axis, part.start, part.stop - part.start)
    return values


def _is_field(values: Tensor) -> bool:
    return values.ndim > 1 and values.shape[-1] > 1


def bind(specification: Any, grid: Grid, like: Tensor) -> Any:
    """Bind a specification to a grid; an object without ``bind`` is returned unchanged."""
    if hasattr(specification, "bind"):
        return specification.bind(grid, dtype=like.dtype, device=like.device)
    return specification
