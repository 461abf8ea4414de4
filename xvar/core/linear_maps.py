"""Linear maps of a batch of windows: derivatives by their adjoint, inverses by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]

#: Residual over the right side at which `conjugate_gradients` stops, and the largest that it accepts.
TOLERANCE, ACCEPTED = 1e-14, 1e-8


class _Linear(torch.autograd.Function):
    """No tensor is saved for the backward pass."""

    @staticmethod
    def forward(field: Tensor, forward: Map, adjoint: Map) -> Tensor:  # noqa: ARG004 -- kept by setup_context
        return forward(field)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Map, Map], output: Tensor) -> None:  # noqa: ARG004
        _, ctx.forward_map, ctx.adjoint_map = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return linear(gradient, ctx.adjoint_map, ctx.forward_map), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return linear(tangent, ctx.forward_map, ctx.adjoint_map)


def linear(field: Tensor, forward: Map, adjoint: Map) -> Tensor:
    """Apply a linear map, whose derivatives of any order are computed with itself and its adjoint."""
    if not (torch.is_grad_enabled() and field.requires_grad):
        return forward(field)
    return cast("Tensor", _Linear.apply(field, forward, adjoint))  # type: ignore[no-untyped-call]


def conjugate_gradients(operator: Map, right: Tensor, preconditioner: Map, iterations: int = 500) -> Tensor:
    """Solve a symmetric positive system to rounding, in double precision, for each window of the right side.

    A window that does not reach a relative residual of `ACCEPTED` is returned as NaN.
    """

    def solve(right: Tensor) -> Tensor:
        double = right.to(torch.float64)
        size = _norm(double)
        best, smallest = torch.zeros_like(double), size
        steps = _iterate(operator, double, preconditioner, iterations, lambda left, *_: _norm(left) > TOLERANCE * size)
        for solution, residual, active in steps:
            left = _norm(residual)
            better = active & (left < smallest)
            best, smallest = torch.where(better, solution, best), torch.where(better, left, smallest)
        return torch.where(smallest <= ACCEPTED * size, best, torch.nan).to(right.dtype)

    return linear(right, solve, solve)


def truncated_conjugate_gradients(
    operator: Map, right: Tensor, preconditioner: Map, tolerance: float | Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Approximate the solution of a symmetric positive system for each window of the right side (window, ...).

    A window stops at :math:`r^T P r` below the share `tolerance` of its first value, with r the residual and P the
    preconditioner, an approximate inverse. Returns the solution and the products of each window (window,).
    """
    solution, products = torch.zeros_like(right), torch.zeros(len(right), dtype=torch.int64, device=right.device)
    steps = _iterate(operator, right, preconditioner, iterations, lambda _, power, first: power > tolerance * first)
    for iterate, _, active in steps:
        solution = iterate
        products += active.flatten()
    return solution, products


def inverse_square_root(operator: Map, right: Tensor, iterations: int, change: float) -> Tensor:
    r"""Return :math:`A^{-1/2} z` of a symmetric operator without eigenvalues below one, for each window (window, n).

    By the Lanczos iteration with full reorthogonalisation, :math:`|z| V T^{-1/2} e_1`; it ends as soon as another
    product changes no window by more than the share `change`.
    """
    size = _norm(right)
    basis = [right / size.clamp_min(torch.finfo(right.dtype).tiny)]
    diagonal, beside = list[Tensor](), list[Tensor]()
    weights = right.new_zeros(len(right), 0)
    for _ in range(min(iterations, right.shape[1])):
        image = operator(basis[-1])
        diagonal.append(_dot(basis[-1], image)[:, 0])
        for _ in range(2):
            for vector in basis:
                image = image - _dot(vector, image) * vector
        before, weights = weights, _root_weights(diagonal, beside)
        moved = torch.cat([weights[:, :-1] - before, weights[:, -1:]], dim=1).square().sum(1)
        if bool((moved <= change**2 * weights.square().sum(1)).all()):
            break
        left = _norm(image)
        beside.append(left[:, 0])
        # A window whose space is exhausted goes on with zeros.
        is_open = left > 1e-12 * diagonal[-1].abs()[:, None]
        basis.append(torch.where(is_open, image / left.clamp_min(torch.finfo(right.dtype).tiny), 0.0))
    pairs = zip(weights.unbind(1), basis, strict=False)
    root: Tensor = size * sum((weight[:, None] * vector for weight, vector in pairs), torch.zeros_like(right))
    return root


def _root_weights(diagonal: list[Tensor], beside: list[Tensor]) -> Tensor:
    """Return the first column of the inverse square root of a tridiagonal matrix of each window."""
    matrix = torch.diag_embed(torch.stack(diagonal, dim=1))
    if beside:
        off = torch.diag_embed(torch.stack(beside, dim=1), offset=1)
        matrix = matrix + off + off.mT
    values, vectors = torch.linalg.eigh(matrix.double())
    scaled = vectors * values.clamp_min(1.0).rsqrt()[:, None] * vectors[:, :1]
    column: Tensor = scaled.sum(2)
    return column.to(diagonal[0])


def _iterate(
    operator: Map,
    right: Tensor,
    preconditioner: Map,
    iterations: int,
    is_open: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the solution, its residual r and the windows that moved after each product.

    `is_open` selects the windows (window, 1, ...) that continue, from r, :math:`r^T P r` and the first value of that.
    """
    solution, residual = torch.zeros_like(right), right
    direction = scaled = preconditioner(residual)
    power = first = _dot(residual, scaled)
    for _ in range(iterations):
        active = is_open(residual, power, first)
        if not bool(active.any()):
            break
        image = operator(direction)
        # A window that is not active divides zero by zero; its step is zero.
        step = torch.where(active, power / _dot(direction, image), 0.0)
        solution, residual = solution + step * direction, residual - step * image
        yield solution, residual, active
        scaled = preconditioner(residual)
        next_power = _dot(residual, scaled)
        direction = scaled + torch.where(active, next_power / power, 0.0) * direction
        power = torch.where(active, next_power, power)


def _norm(x: Tensor) -> Tensor:
    return _dot(x, x).sqrt()


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Return the scalar product of each window, (window, 1, ...), with the same bits alone or in a batch."""
    return (x * y).flatten(1).sum(1).reshape(-1, *(1,) * (x.ndim - 1))
