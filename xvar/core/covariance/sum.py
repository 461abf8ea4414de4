r"""The sum of two errors that are independent of one another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Penalty, Shape, Specification
from xvar.core.covariance.diagonal import Diagonal
from xvar.core.covariance.iterative import conjugate_gradients
from xvar.core.covariance.linear import linear
from xvar.core.grid import Grid


class SumCovariance(Covariance):
    r""":math:`B = \sum_i f_i^2 B_i`, whose root takes a control for each term side by side.

    The inverse is iterative, in double precision, preconditioned by that of the first term.

    Parameters
    ----------
    parts : sequence of Covariance
        :math:`B_i`.
    factors : sequence of float
        :math:`f_i`.
    shape : tuple of int
        (component, \*grid) of the states.
    """

    def __init__(self, parts: tuple[Covariance, ...], factors: tuple[float, ...], shape: Shape) -> None:
        self._parts, self._factors = parts, factors
        self._shapes = [part.control_shape((1, *shape))[1:] for part in parts]
        self._sizes = [math.prod(each) for each in self._shapes]
        self.dtype, self.device = parts[0].dtype, parts[0].device
        self._precise: SumCovariance | None = None

    def control_shape(self, shape: Shape) -> Shape:
        """One row of numbers for each window: those of the first term, then those of the next."""
        return shape[0], sum(self._sizes)

    def sqrt(self, control: Tensor) -> Tensor:
        r""":math:`\sum_i f_i B_i^{1/2} v_i`."""
        first, *others = (
            factor * part.sqrt(own.reshape(len(control), *shape))
            for part, factor, own, shape in zip(
                self._parts, self._factors, control.split(self._sizes, dim=1), self._shapes, strict=True
            )
        )
        return sum(others, first)

    def sqrt_transpose(self, state: Tensor) -> Tensor:
        """Adjoint of `sqrt`."""
        pairs = zip(self._parts, self._factors, strict=True)
        return torch.cat([factor * part.sqrt_transpose(state).flatten(1) for part, factor in pairs], dim=1)

    def solve(self, state: Tensor) -> Tensor:
        """By conjugate gradients; NaN for a window where they fail."""
        return linear(state, self._solve, self._solve)

    def _solve(self, state: Tensor) -> Tensor:
        operator = self._precise or self
        first, factor = operator._parts[0], operator._factors[0]
        solution = conjugate_gradients(
            operator.apply, state.to(torch.float64), lambda residual: first.solve(residual) / factor**2, 2000
        )
        return solution.to(self.dtype)

    def inverse_hessian(self, curvature: Tensor, shape: Shape) -> Tensor | None:
        """Term by term, as if each were alone."""
        diagonals = []
        for part, factor, own in zip(self._parts, self._factors, self._shapes, strict=True):
            found = part.inverse_hessian(factor**2 * curvature, shape)
            like = torch.ones((), dtype=self.dtype, device=self.device) if found is None else found
            diagonals.append(like.expand(shape[0], *own).flatten(1))
        return torch.cat(diagonals, dim=1)

    def select(self, windows: Tensor) -> SumCovariance:
        """The terms of some windows, where each has its own."""
        part = copy(self)
        part._parts = tuple(each.select(windows) for each in self._parts)
        part._precise = None if self._precise is None else self._precise.select(windows)
        return part


@dataclass(frozen=True, eq=False)
class Sum(Specification):
    r"""Errors that add up and are independent: :math:`B = \sum_i f_i^2 B_i`.

    Parameters
    ----------
    parts : tuple of specification
        :math:`B_i`.
    factors : tuple of float
        :math:`f_i`, by which the standard deviations are multiplied.
    components : int
        Of the state.
    """

    parts: tuple[Specification, ...]
    factors: tuple[float, ...]
    components: int

    def bind(
        self, grid: Grid, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> SumCovariance:
        """Operator on this grid."""
        operator = self._operator(grid, dtype, device)
        if dtype != torch.float64 and operator.device.type != "meta":
            operator._precise = self._operator(grid, torch.float64, device)
        return operator

    def _operator(self, grid: Grid, dtype: torch.dtype, device: torch.device | str | None) -> SumCovariance:
        bound = tuple(part.bind(grid, dtype=dtype, device=device) for part in self.parts)
        return SumCovariance(bound, self.factors, (self.components, *grid.shape))

    def penalties(self, grid: Grid) -> Mapping[str, Penalty]:
        """Refuse what has no exact root: the norm of a sum is not the sum of the norms."""
        for part in self.parts:
            if part.penalties(grid):
                raise ValueError("the sum of a covariance with a penalty of its own has no exact root")
        return {}


def grown(analysis: Specification | None, model: Specification, seconds: float, components: int) -> Specification:
    r"""B grown by the error of a model that runs for some time: :math:`B + T\,Q`.

    Parameters
    ----------
    analysis : specification or None
        B; None where there was no error.
    model : specification
        Q in a second.
    seconds : float
        T.
    components : int
        Of the state.
    """
    if analysis is None:
        return Sum((model,), (math.sqrt(seconds),), components)
    if isinstance(analysis, Diagonal) and isinstance(model, Diagonal):
        one, other = (torch.as_tensor(part.std, dtype=torch.float64) for part in (analysis, model))
        return Diagonal((one.square() + seconds * other.square()).sqrt())
    return Sum((analysis, model), (1.0, math.sqrt(seconds)), components)
