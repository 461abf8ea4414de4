"""Helpers: orders of convergence, Taylor remainders, smooth random fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

DTYPES = (torch.float64, torch.float32)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal random numbers, equal at every precision."""
    return torch.randn(tuple(shape), generator=generator(seed), dtype=torch.float64).to(dtype)


def smooth(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float64, waves: int = 2) -> Tensor:
    """Periodic fields (window, component, y, x) of a few waves, of size one."""
    *batch, height, width = shape
    y, x = torch.arange(height) / height, torch.arange(width) / width
    result = torch.zeros(tuple(shape), dtype=torch.float64)
    weights = random((*batch, 2 * waves + 1, 2 * waves + 1, 2), seed)
    for i in range(-waves, waves + 1):
        for j in range(-waves, waves + 1):
            phase = 2 * math.pi * (i * y[:, None] + j * x).to(torch.float64)
            for part, wave in enumerate((phase.cos(), phase.sin())):
                result += weights[..., i + waves, j + waves, part, None, None] * wave
    return (result / (2 * waves + 1)).to(dtype)


def order(sizes: Sequence[float], errors: Sequence[float]) -> float:
    """The power of the size with which the errors fall, by least squares."""
    x = torch.tensor(sizes, dtype=torch.float64).log()
    y = torch.tensor(errors, dtype=torch.float64).log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def taylor_orders(
    function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor, *, decades: int = 3, largest: float = 0.1
) -> list[float]:
    r"""Orders, a decade each, in which :math:`f(x + hd) - f(x) - h f'(x) d` falls with h, for a scalar f."""
    point = point.detach().clone().requires_grad_()
    value = function(point)
    (gradient,) = torch.autograd.grad(value, point)
    slope = float((gradient * direction).sum())
    with torch.no_grad():
        remainders = []
        for decade in range(decades + 1):
            h = largest * 10.0**-decade
            remainders.append(abs(float(function(point + h * direction) - value) - h * slope))
    return [math.log10(coarse / fine) for coarse, fine in pairwise(remainders)]


def tangent_and_adjoint(
    function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor, dual: Tensor
) -> tuple[Tensor, Tensor]:
    """The tangent linear on a direction (by double backward) and the adjoint on a dual."""
    point = point.detach().clone().requires_grad_()
    value = function(point)
    weight = torch.zeros_like(value, requires_grad=True)
    (pulled,) = torch.autograd.grad(value, point, weight, create_graph=True)
    (tangent,) = torch.autograd.grad(pulled, weight, direction, retain_graph=True)
    (adjoint,) = torch.autograd.grad(value, point, dual)
    return tangent, adjoint


def adjoint_error(function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor, dual: Tensor) -> float:
    """Difference of the two scalar products over the norms of the vectors of the first."""
    tangent, adjoint = tangent_and_adjoint(function, point, direction, dual)
    left = (tangent.double() * dual.double()).sum()
    right = (direction.double() * adjoint.double()).sum()
    return float((left - right).abs() / (tangent.double().norm() * dual.double().norm()))


def difference_error(
    function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor, dual: Tensor, h: float = 1e-5
) -> float:
    """The same with the tangent linear by central differences, which detects a detached part of the graph."""
    _, adjoint = tangent_and_adjoint(function, point, direction, dual)
    with torch.no_grad():
        tangent = (function(point + h * direction) - function(point - h * direction)) / (2 * h)
    left, right = (tangent * dual).sum(), (direction * adjoint).sum()
    return float((left - right).abs() / (tangent.norm() * dual.norm()))


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of the expected value."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())
