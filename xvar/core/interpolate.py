"""Interpolation of gridded fields between the grid points.

Positions are in grid units: 0 is the first point of an axis, n - 1 the last. Component 0 of a position lies along
x (the last axis), component 1 along y, as the components of a velocity do.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.grid import Edges
from xvar.core.multilinear import multilinear
from xvar.core.scatter import gather, scatter
from xvar.core.transfer import to_device

Sampler = Literal["bilinear", "cubic", "monotone"]

SAMPLERS: tuple[Sampler, ...] = ("bilinear", "cubic", "monotone")

_PADDING: dict[Edges, int] = {"zero": 0, "free": 1, "periodic": 1}  # of `grid_sample`: zeros, border


def sample(field: Tensor, position: Tensor, sampler: Sampler = "bilinear", edges: Edges = "free") -> Tensor:
    """Return a field (window, component, y, x) at positions (window, 2, *points), as (window, component, *points).

    Positions have one or two dimensions of points; one that is not finite gives NaN. Fields on grids of other than two
    axes are interpolated by `multilinear`, at positions (window, axis, point). The sampler ``bilinear`` is second
    order and blurs the shortest waves; ``cubic`` is the convolution of Keys (1981, doi:10.1109/TASSP.1981.1163711) with
    a = -1/2, third order and once differentiable; ``monotone`` is the same limited to the values at the corners of the
    cell, without new extrema (Bermejo and Staniforth 1992, doi:10.1175/1520-0493(1992)120<2622:TCOSLA>2.0.CO;2).
    Values outside the grid are those of the nearest edge (``free``), zeros beyond one ring of cells (``zero``), or
    those of the opposite edge (``periodic``).
    """
    if field.ndim == 4 and position.ndim == 3:
        return sample(field, position[..., None], sampler, edges)[..., 0]
    if field.ndim == 4 and sampler == "bilinear":
        return _bilinear(field, position, edges)
    lost = ~position.isfinite().all(dim=1, keepdim=True)
    position = torch.where(lost, 0.0, position)
    found = multilinear(field, position, edges) if field.ndim != 4 else _cubic(field, position, edges, sampler)
    return torch.where(lost, torch.nan, found)


def identity(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the position of every grid point of a (y, x) grid, Tensor (1, 2, y, x)."""
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) for n in shape)
    return torch.stack((x.expand(shape), y[:, None].expand(shape)))[None]


def _unrolled(field: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return a periodic field with a ring of copies, and the positions wrapped into it."""
    ring = 2
    last, _ = _last_points(*field.shape[-2:], position.dtype, position.device)
    return pad(field, (ring,) * 4, mode="circular"), torch.remainder(position, last + 1) + ring


@lru_cache(maxsize=64)
def _last_points(height: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the last point along x and y, and the factor from grid units to -1 to 1, both (1, 2, 1, 1)."""
    last = width - 1, height - 1
    with torch.inference_mode(False):
        numbers = to_device([last, [2 / max(n, 1) for n in last]], dtype, device)
        return tuple(numbers.view(2, 1, 2, 1, 1))


def _bilinear(field: Tensor, position: Tensor, edges: Edges) -> Tensor:
    if edges == "periodic":
        field, position = _unrolled(field, position)
    _, scale = _last_points(*field.shape[-2:], field.dtype, field.device)
    sampled: Tensor = _Bilinear.apply(field, position, scale, _PADDING[edges])  # type: ignore[no-untyped-call]
    return sampled


class _Bilinear(torch.autograd.Function):
    """`grid_sample` with positions (window, 2, y, x) in grid units.

    The two components of the gradient with respect to the position are adjacent in memory; they are separated at once,
    which makes all operations that follow several times faster. At a NaN `grid_sample` would read, and its adjoint
    write, anywhere in memory: it gets a zero there, and the result the NaN, without a check that waits for the device.
    """

    @staticmethod
    def forward(ctx: Any, field: Tensor, position: Tensor, scale: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(field, position, scale)
        ctx.padding = padding
        grid = (position * scale).sub_(1)
        x, y = grid.unbind(1)
        lost = (x + y)[:, None].mul_(0.0)  # zero, or NaN
        return torch.grid_sampler(field, _finite(grid), 0, padding, True).add_(lost)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        field, position, scale = ctx.saved_tensors
        grid, (by_field, by_position) = _finite((position * scale).sub_(1)), ctx.needs_input_grad[:2]
        # On other devices threads would add to the field in any order.
        in_order = field.device.type == "cpu"
        of_field, of_grid = torch.ops.aten.grid_sampler_2d_backward.default(
            gradient, field, grid, 0, ctx.padding, True, (by_field and in_order, by_position)
        )
        if by_field and not in_order:
            of_field = bilinear_adjoint(gradient, position, tuple(field.shape[2:]), ctx.padding)
        of_position = of_grid.permute(0, 3, 1, 2).contiguous().mul_(scale) if by_position else None
        return (of_field if by_field else None), of_position, None, None


def _finite(grid: Tensor) -> Tensor:
    """Return the positions of `grid_sample` (window, y, x, 2), finite, from those of `_Bilinear`; may change these."""
    return grid.nan_to_num_(0.0).permute(0, 2, 3, 1)


def bilinear_adjoint(gradient: Tensor, position: Tensor, shape: tuple[int, ...], padding: int) -> Tensor:
    """Return the adjoint of `grid_sample` with respect to the field, with the same bits on every run."""
    (height, width), axes = shape, []
    for place, size in zip(position.flatten(2).flip(1).unbind(1), shape, strict=True):
        place = place.clamp(0, size - 1) if padding else place
        first = place.floor()
        axes.append([(first, 1 - (place - first)), (first + 1, place - first)])
    parts, indices = [], []
    for (row, by_row), (column, by_column) in product(*axes):
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        parts.append(torch.where(inside, by_row * by_column, 0.0)[:, None] * gradient.flatten(2))
        indices.append(torch.where(inside, row * width + column, 0.0).long().clamp(0, height * width - 1))
    total = scatter(torch.cat(parts, dim=2), torch.cat(indices, dim=1), height * width)
    return total.reshape(*total.shape[:2], height, width)


def _weights(fraction: Tensor) -> list[Tensor]:
    """Return Keys' weights, a = -1/2, of the four points around a position."""
    f = fraction
    return [
        f * (-0.5 + f * (1 - 0.5 * f)),
        1 + f * f * (1.5 * f - 2.5),
        f * (0.5 + f * (2 - 1.5 * f)),
        f * f * (0.5 * f - 0.5),
    ]


def _cubic(field: Tensor, position: Tensor, edges: Edges, sampler: Sampler) -> Tensor:
    if edges == "periodic":
        field, position = _unrolled(field, position)
    windows, components, height, width = field.shape
    if edges == "zero":  # a stencil far outside the grid contains zeros only
        field, position = pad(field, (3,) * 4), position + 3
        height, width = height + 6, width + 6
    limit, _ = _last_points(height, width, field.dtype, field.device)
    position = position.clamp(torch.zeros_like(limit), limit)  # one clamp: the same gradient on every edge
    first = torch.minimum(position.detach().floor(), limit - 1)
    (along_x, along_y), first = (_weights(part) for part in (position - first).unbind(1)), first.long()
    values = field.flatten(2)

    def tap(row: int, column: int) -> Tensor:
        x, y = first[:, 0] + column, first[:, 1] + row
        index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        return gather(values, index.flatten(1)).view(windows, components, *x.shape[1:])

    result: Tensor = torch.zeros((), dtype=field.dtype, device=field.device)
    corners = []
    for row in range(-1, 3):
        line: Tensor = torch.zeros((), dtype=field.dtype, device=field.device)
        for column in range(-1, 3):
            value = tap(row, column)
            if row in (0, 1) and column in (0, 1):
                corners.append(value)
            line = line + along_x[column + 1][:, None] * value
        result = result + along_y[row + 1][:, None] * line
    if sampler == "monotone":
        low, high = torch.stack(corners).aminmax(dim=0)
        result = torch.minimum(torch.maximum(result, low), high)
    return result
