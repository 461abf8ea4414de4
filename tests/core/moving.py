"""Images advected by a known motion, linear in space: the pattern at the exact origin of every point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xvar.core.grid import Grid

FRAME = 300.0  # s between frames
WAVES = ((7, 11, 0.3), (13, 9, 1.1), (17, -8, 2.0), (-21, 15, 0.7), (9, -14, 1.9))  # lengths along x, y; phase
STILL = torch.zeros(2, 2, dtype=torch.float64)
ROTATION = 3e-4 * torch.tensor([[0, -1], [1, 0]], dtype=torch.float64)
DEFORMATION = 1e-4 * torch.tensor([[1, 0.5], [0.5, -1]], dtype=torch.float64)


def vector(x: float, y: float) -> Tensor:
    return torch.tensor([x, y], dtype=torch.float64)


def pattern(place: Tensor) -> Tensor:
    """Waves of 7 to 21 units of a place (2, ...), of size about two."""
    x, y = place
    waves = [torch.sin(2 * math.pi * (x / a + y / b) + phase) for a, b, phase in WAVES]
    return torch.stack(waves).sum(0)


def metres(grid: Grid) -> Tensor:
    """Place of every point, (2, y, x), from the middle of the grid."""
    y, x = (
        d * (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) for n, d in zip(grid.shape, grid.spacing, strict=True)
    )
    return torch.stack((x.expand(grid.shape), y[:, None].expand(grid.shape)))


def moving(
    grid: Grid, seconds: Sequence[float], mean: Tensor, rates: Tensor = STILL, unit: float = 1e3
) -> tuple[Tensor, Tensor]:
    """Images (1, frame, y, x), and the velocity w = rates x + mean that carries them, (1, 2, y, x)."""
    generator = torch.zeros(3, 3, dtype=torch.float64)
    generator[:2, :2], generator[:2, 2] = rates, mean
    place = metres(grid)
    images = []
    for time in seconds:
        back = torch.linalg.matrix_exp(-time * generator)
        origin = torch.einsum("ij,jyx->iyx", back[:2, :2], place) + back[:2, 2].view(2, 1, 1)
        images.append(pattern(origin / unit))
    velocity = torch.einsum("ij,jyx->iyx", rates, place) + mean.view(2, 1, 1)
    return torch.stack(images)[None], velocity[None]
