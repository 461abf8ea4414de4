"""Interpolation of gridded fields between the grid points.

Positions are in grid units: 0 is the first point of an axis, n - 1 the last. Component 0 of a position lies along
x (the last axis), component 1 along y, as the components of a velocity do.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.grid import Edges
from xvar.core.multilinear import multilinear

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
    if not math.isfinite(position.detach().sum()):  # one pass; an overflowing sum only costs the check below
        # At a NaN `grid_sample` reads, and its adjoint writes, anywhere in memory.
        lost = ~position.isfinite().all(dim=1, keepdim=True)
        return torch.where(lost, torch.nan, sample(field, torch.where(lost, 0.0, position), sampler, edges))
    if field.ndim != 4:
        return multilinear(field, position, edges)
    flat = position.ndim == 3
    if flat:
        position = position[..., None]
    if edges == "periodic":
        field, position = _unrolled(field, position)
    if sampler == "bilinear":
        scale = _half_widths(*field.shape[-2:], field.dtype, field.device)
        sampled: Tensor = _Bilinear.apply(field, position, scale, _PADDING[edges])  # type: ignore[no-untyped-call]
    else:
        sampled = _cubic(field, position, edges, sampler)
    return sampled[..., 0] if flat else sampled


def identity(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the position of every grid point of a (y, x) grid, Tensor (1, 2, y, x)."""
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) for n in shape)
    return torch.stack((x.expand(shape), y[:, None].expand(shape)))[None]


def _unrolled(field: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return a periodic field with a ring of copies, and the positions wrapped into it."""
    ring = 2
    size = torch.tensor(field.shape[:-3:-1], dtype=position.dtype, device=position.device).view(1, 2, 1, 1)
    return pad(field, (ring,) * 4, mode="circular"), torch.remainder(position, size) + ring


@lru_cache(maxsize=64)
def _half_widths(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the factor (1, 2, 1, 1) from grid units to those of `grid_sample`, -1 to 1."""
    with torch.inference_mode(False):
        return torch.tensor([2 / (width - 1), 2 / (height - 1)], dtype=dtype, device=device).view(1, 2, 1, 1)


class _Bilinear(torch.autograd.Function):
    """`grid_sample` with positions (window, 2, y, x) in grid units.

    The two components of the gradient with respect to the position are adjacent in memory; they are separated at once,
    which makes all operations that follow several times faster.
    """

    @staticmethod
    def forward(ctx: Any, field: Tensor, position: Tensor, scale: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(field, position, scale)
        ctx.padding = padding
        grid = (position * scale).sub_(1).permute(0, 2, 3, 1)
        return torch.grid_sampler(field, grid, 0, padding, True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        field, position, scale = ctx.saved_tensors
        grid = (position * scale).sub_(1).permute(0, 2, 3, 1)
        by_field, by_grid = torch.ops.aten.grid_sampler_2d_backward.default(
            gradient, field, grid, 0, ctx.padding, True, ctx.needs_input_grad[:2]
        )
        by_position = by_grid.permute(0, 3, 1, 2).contiguous().mul_(scale) if ctx.needs_input_grad[1] else None
        return (by_field if ctx.needs_input_grad[0] else None), by_position, None, None


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
    windows, components, height, width = field.shape
    if edges == "zero":  # a stencil far outside the grid contains zeros only
        field, position = pad(field, (3,) * 4), position + 3
        height, width = height + 6, width + 6
    limit = position.new_tensor([width - 1, height - 1]).view(1, 2, 1, 1)
    position = position.clamp(torch.zeros_like(limit), limit)  # one clamp: the same gradient on every edge
    first = torch.minimum(position.detach().floor(), limit - 1)
    (along_x, along_y), first = (_weights(part) for part in (position - first).unbind(1)), first.long()
    values = field.flatten(2)

    def tap(row: int, column: int) -> Tensor:
        x, y = first[:, 0] + column, first[:, 1] + row
        index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        taken = values.gather(2, index.flatten(1)[:, None].expand(-1, components, -1))
        return taken.view(windows, components, *x.shape[1:])

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
