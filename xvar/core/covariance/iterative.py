"""Inverses that have no closed form, by conjugate gradients, each window for itself."""

from __future__ import annotations

import torch
from torch import Tensor

from xvar.core.covariance.linear import Map

#: Of the residual over the right side; far below what the operators' inverses are asked for.
TOLERANCE = 1e-14
#: A residual that stops falling above this is a failure.
ACCEPTED = 1e-8


def conjugate_gradients(operator: Map, right: Tensor, preconditioner: Map, iterations: int = 500) -> Tensor:
    """Solve a symmetric positive system for each window of the right side (window, ...).

    A window that has converged keeps its bits while others go on. One that does not reach a relative residual of
    `ACCEPTED` comes back as NaN.
    """

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).flatten(1).sum(1).reshape(-1, *(1,) * (right.ndim - 1))

    solution, residual = torch.zeros_like(right), right
    size = dot(right, right).sqrt()
    best, smallest = solution, size.clone()
    direction = preconditioner(residual)
    power = dot(residual, direction)
    active = size > 0
    for _ in range(iterations):
        image = operator(direction)
        # What is not active divides zero by zero: it takes no step.
        step = torch.where(active, power / dot(direction, image), torch.zeros_like(power))
        solution, residual = solution + step * direction, residual - step * image
        left = dot(residual, residual).sqrt()
        better = active & (left < smallest)
        best, smallest = torch.where(better, solution, best), torch.where(better, left, smallest)
        active = active & (left > TOLERANCE * size)
        if not bool(active.any()):
            break
        descent = preconditioner(residual)
        next_power = dot(residual, descent)
        ratio = torch.where(active, next_power / power, torch.zeros_like(power))
        direction = torch.where(active, descent + ratio * direction, direction)
        power = torch.where(active, next_power, power)
    return torch.where(smallest <= ACCEPTED * size, best, torch.full_like(best, torch.nan))
