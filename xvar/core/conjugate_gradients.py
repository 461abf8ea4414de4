"""Preconditioned conjugate gradients on a batch of windows, each window with its own steps and its own end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]

#: Residual over the right side at which `conjugate_gradients` stops, and the largest that it accepts.
TOLERANCE, ACCEPTED = 1e-14, 1e-8


def conjugate_gradients(operator: Map, right: Tensor, preconditioner: Map, iterations: int = 500) -> Tensor:
    """Solve a symmetric positive system to rounding for each window of the right side (window, ...).

    A window that does not reach a relative residual of `ACCEPTED` is returned as NaN.
    """
    solution, residual = torch.zeros_like(right), right
    size = _dot(right, right).sqrt()
    best, smallest = solution, size.clone()
    direction = preconditioner(residual)
    power = _dot(residual, direction)
    active = size > 0
    for _ in range(iterations):
        image = operator(direction)
        # A window that is not active divides zero by zero; its step is zero.
        step = torch.where(active, power / _dot(direction, image), torch.zeros_like(power))
        solution, residual = solution + step * direction, residual - step * image
        left = _dot(residual, residual).sqrt()
        better = active & (left < smallest)
        best, smallest = torch.where(better, solution, best), torch.where(better, left, smallest)
        active = active & (left > TOLERANCE * size)
        if not bool(active.any()):
            break
        descent = preconditioner(residual)
        next_power = _dot(residual, descent)
        ratio = torch.where(active, next_power / power, torch.zeros_like(power))
        direction = torch.where(active, descent + ratio * direction, direction)
        power = torch.where(active, next_power, power)
    return torch.where(smallest <= ACCEPTED * size, best, torch.full_like(best, torch.nan))


def truncated_conjugate_gradients(
    operator: Map, right: Tensor, preconditioner: Map, tolerance: float | Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Approximate the solution of a symmetric positive system for each window of the right side (window, ...).

    A window stops at :math:`r^T P r` below the share `tolerance` of its first value, with r the residual and P the
    preconditioner, an approximate inverse. Returns the solution (window, ...) and the products of each window
    (window,).
    """
    solution, residual = torch.zeros_like(right), right
    direction = scaled = preconditioner(residual)
    power = first = _dot(residual, scaled)
    products = torch.zeros_like(first, dtype=torch.int64)
    for _ in range(iterations):
        active = power > tolerance * first
        if not bool(active.any()):
            break
        image = operator(direction)
        step = torch.where(active, power / _dot(direction, image), 0.0)
        solution, residual = solution + step * direction, residual - step * image
        scaled = preconditioner(residual)
        next_power = _dot(residual, scaled)
        direction = scaled + torch.where(active, next_power / power, 0.0) * direction
        power = torch.where(active, next_power, power)
        products += active
    return solution, products.flatten()


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Return the scalar product of each window, (window, 1, ...), with the same bits alone or in a batch."""
    return (x * y).flatten(1).sum(1).reshape(-1, *(1,) * (x.ndim - 1))
